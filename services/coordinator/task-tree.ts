/** The asks of one task that go to hosts of one model, as the scheduler sees them: a tree of prefixes. */
import type { Ask, Prefix } from "../search/program.ts";
import type { Backlog } from "./backlog.ts";
import { completionTokensMax } from "./ask-cost.ts";
import type { HostRoute } from "./routes.ts";
import type { Decision } from "./scheduler/decision.ts";
import type { PathPiece } from "./scheduler/prefix-tree.ts";
import type { Leaf, Tree } from "./scheduler/tree.ts";
import type { TaskRun } from "./task-run.ts";
import { pathOf } from "./task-segments.ts";
import type { TokenEstimate } from "./token-estimate.ts";

/** Who carries out what the scheduler decides about a tree. */
export interface TreeOwner {
  decided(tree: TaskTree, decision: Decision): void;
  send(tree: TaskTree, decision: Decision, max: number): readonly Leaf[];
}

export class TaskTree implements Tree {
  readonly id: string;
  readonly kind: string;
  readonly needs: HostRoute;
  readonly extendsRollouts: boolean;
  readonly revisits: boolean;
  readonly task: TaskRun;
  readonly line: Backlog;
  readonly #owner: TreeOwner;
  readonly #estimate: TokenEstimate;

  constructor(options: {
    /** Of the sweep: tasks of two sweeps may have one name. */
    readonly sweep: string;
    readonly task: TaskRun;
    readonly route: HostRoute;
    readonly line: Backlog;
    readonly owner: TreeOwner;
    readonly estimate: TokenEstimate;
  }) {
    const { sweep, task, route } = options;
    this.id = JSON.stringify([sweep, task.id, route.model]);
    this.kind = treeKind(sweep, task.arm.id, route);
    this.task = task;
    this.needs = route;
    this.extendsRollouts = task.arm.strategy.extendsRollouts;
    this.revisits = task.arm.strategy.revisits ?? false;
    this.line = options.line;
    this.#owner = options.owner;
    this.#estimate = options.estimate;
  }

  waiting(): number {
    return this.line.size;
  }

  peek(): readonly PathPiece[] | null {
    const head = this.line.head();
    return head === null ? null : this.pathOf(head.ask);
  }

  peekTokensMax(): number {
    const head = this.line.head();
    return head === null ? 0 : tokensMaxOf(this.task, head.ask);
  }

  decided(decision: Decision): void {
    this.#owner.decided(this, decision);
  }

  send(decision: Decision, max: number): readonly Leaf[] {
    return this.#owner.send(this, decision, max);
  }

  /** The path of an ask, with the tokens of each piece as far as rollouts have told them. */
  pathOf({ prefix }: Ask): readonly PathPiece[] {
    const ids = this.task.segments.of(prefix);
    return pathOf(prefix).map((node, depth) => ({ id: ids[depth] ?? "", ...this.#tokensOf(node) }));
  }

  #tokensOf(node: Prefix): { readonly tokens: number; readonly isKnown: boolean } {
    const until = this.task.tokensUntil(node);
    const before = node.parent === null ? 0 : this.task.tokensUntil(node.parent);
    if (until !== null && before !== null && until >= before)
      return { tokens: until - before, isKnown: true };
    return { tokens: this.#estimate.tokens(node.text), isKnown: false };
  }
}

/** Trees of one arm at hosts of one model are alike. */
export function treeKind(sweep: string, arm: string, { model }: HostRoute): string {
  return JSON.stringify([sweep, arm, model]);
}

/** A verification makes no text worth counting. */
export function tokensMaxOf(task: TaskRun, ask: Ask): number {
  return Math.max(1, completionTokensMax(task, ask));
}
