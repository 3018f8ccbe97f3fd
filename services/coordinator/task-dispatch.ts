/**
 * Carries the asks of a sweep's tasks to hosts and verifiers: reserve, coalesce siblings into a job, put it into a lane. Which tree goes
 * where and when is the scheduler's to say; this is what it says it to.
 *
 * Invariant I3: no rollout is dispatched without a reservation of its worst case.
 */
import type { Report, RolloutResult } from "../queue/job.ts";
import type { Backlog, OpenAsk } from "./backlog.ts";
import { worstOf } from "./ask-cost.ts";
import { Effort } from "./effort.ts";
import { jobOf } from "./job-of.ts";
import type { Ledger, Shortage } from "./ledger.ts";
import { describeRoute, type HostRoute, type Routes, type VerifierRoute } from "./routes.ts";
import type { Decision } from "./scheduler/decision.ts";
import { type Dispatcher, hostLane, type JobOwner, leafKey, verifierLane } from "./scheduler/dispatcher.ts";
import type { PathPiece } from "./scheduler/prefix-tree.ts";
import type { Leaf, LeafOutcome } from "./scheduler/tree.ts";
import type { TaskRun } from "./task-run.ts";
import { TaskTree, tokensMaxOf, treeKind, type TreeOwner } from "./task-tree.ts";
import { TokenEstimate } from "./token-estimate.ts";

export interface TaskDispatchOptions {
  /** Of the sweep. */
  readonly id: string;
  readonly attempt: number;
  /** Sibling asks in one job. */
  readonly siblingsMax: number;
  readonly dispatcher: Dispatcher;
  readonly ledger: Ledger;
  readonly owner: JobOwner;
  /** Whether asks may be sent at all now. */
  readonly isSending: () => boolean;
  /** The budget has no room for this ask and never will have. */
  readonly outOfBudget: (task: TaskRun, open: OpenAsk, shortage: Shortage) => void;
  /** Told once of each kind of host that asks wait for and nobody offers. */
  readonly onMissing: (message: string) => void;
  /** Told of each thing that was decided about a task's tree, and the asks that were sent by it. */
  readonly onDecision: (tree: TaskTree, decision: Decision, asks: readonly OpenAsk[]) => void;
}

export class TaskDispatch implements TreeOwner {
  readonly #options: TaskDispatchOptions;
  /** What was told to be missing, with whether it is there by now. */
  readonly #missing = new Map<string, () => boolean>();
  readonly #trees = new Map<TaskRun, Map<HostRoute, TaskTree>>();
  /** Tasks with asks that wait for verifiers off the hosts, and how many. */
  readonly #verifying = new Map<TaskRun, number>();
  /** Verifiers that asks have ever waited for. */
  readonly #verifiers = new Set<string>();
  #waitingVerifications = 0;
  /** Those that could not send for want of budget, or since nothing may be sent. */
  readonly #held = new Set<TaskTree>();
  readonly #estimate = new TokenEstimate();

  constructor(options: TaskDispatchOptions) {
    this.#options = options;
  }

  /** Whether a host wants another task of this arm. */
  wants(arm: string, routes: Routes): boolean {
    const { dispatcher, id } = this.#options;
    const route = routes.rollouts;
    if (dispatcher.scheduler.wants(route, treeKind(id, arm, route))) return true;
    this.#miss(() => dispatcher.scheduler.couldServe(route), describeRoute(route));
    return false;
  }

  /** What was told to be missing and still is: for who begins to watch. */
  get missing(): readonly string[] {
    return [...this.#missing].filter(([, isThere]) => !isThere()).map(([what]) => missingText(what));
  }

  /** Verifications that wait for a verifier off the hosts. */
  get waitingVerifications(): number {
    return this.#waitingVerifications;
  }

  /** The task has asks waiting that it had not before. */
  stir(task: TaskRun): void {
    let verifications = 0;
    for (const [route, line] of task.waiting()) {
      if (route.kind === "host") {
        this.#touch(task, route, line);
      } else {
        verifications += line.size;
        this.#verifiers.add(route.verifier);
      }
    }
    this.#setVerifying(task, verifications);
  }

  /** Fills the lanes of verifiers, oldest task first. */
  fillVerifiers(): void {
    if (this.#verifying.size === 0 || !this.#hasVerifierRoom()) return;
    for (const task of [...this.#verifying.keys()].toSorted((a, b) => a.ordinal - b.ordinal)) {
      let left = 0;
      for (const [route, line] of task.waiting()) {
        if (route.kind !== "verifier") continue;
        this.#fillVerifier(task, route, line);
        left += line.size;
      }
      this.#setVerifying(task, left);
      if (!this.#hasVerifierRoom()) return;
    }
  }

  /** One that nobody offers counts as room: whoever waits for it is told so. */
  #hasVerifierRoom(): boolean {
    const { dispatcher } = this.#options;
    for (const verifier of this.#verifiers) {
      const lane = verifierLane(verifier);
      if (dispatcher.room(lane) > 0 || !dispatcher.has(lane)) return true;
    }
    return false;
  }

  #setVerifying(task: TaskRun, count: number): void {
    this.#waitingVerifications += count - (this.#verifying.get(task) ?? 0);
    if (count === 0) this.#verifying.delete(task);
    else this.#verifying.set(task, count);
  }

  /** What was held back may be sent: the budget has room again, or the sweep goes on. */
  release(): void {
    const held = [...this.#held];
    this.#held.clear();
    for (const tree of held) this.#options.dispatcher.scheduler.touched(tree.id);
  }

  /** A host gave the ask back. It waits again: what it had reserved is for whoever can be sent first. */
  cameBack(task: TaskRun, open: OpenAsk): void {
    if (open.reservation !== null) this.#options.ledger.release(open.reservation);
    open.reservation = null;
    task.returned(open);
    this.release();
  }

  /** The task is over. */
  over(task: TaskRun): void {
    for (const tree of this.#trees.get(task)?.values() ?? []) {
      this.#held.delete(tree);
      this.#options.dispatcher.scheduler.fell(tree.id);
    }
    this.#trees.delete(task);
    this.#setVerifying(task, 0);
  }

  /** A worker's word on an ask: its place at the host is free, and the scheduler learns from how it went. */
  answered(task: TaskRun, { ask }: OpenAsk, report: Report): void {
    const { result, usage } = report;
    const outcome = outcomeOf(report);
    if (ask.kind === "sample" && ask.prefix.parent === null && usage.promptTokens !== null)
      this.#estimate.saw(ask.prefix.text.length, usage.promptTokens);
    const output =
      ask.kind === "sample" && result.kind === "rollout" && task.arm.strategy.extendsRollouts
        ? this.#outputOf(task, ask.prefix, result, usage.completionTokens)
        : null;
    this.#options.dispatcher.settled(report.job, report.ask, outcome, output);
  }

  decided(tree: TaskTree, decision: Decision): void {
    this.#options.onDecision(tree, decision, []);
  }

  send(tree: TaskTree, decision: Decision, max: number): readonly Leaf[] {
    const { siblingsMax, isSending, onDecision } = this.#options;
    const { task, line } = tree;
    const fitting = isSending() ? this.#fitting(tree, Math.min(max, siblingsMax)) : 0;
    if (fitting === 0) {
      if (line.size > 0) this.#held.add(tree);
      return [];
    }
    const asks = this.#reserved(tree, line.takeSiblings(fitting));
    const job = this.#dispatch(task, asks, hostLane(decision.host), decision.age);
    for (const { effort } of asks) effort.began(this.#options.dispatcher.gpus, decision.host);
    onDecision(tree, decision, asks);
    return asks.map(({ ask }) => ({
      key: leafKey(job, ask.id),
      path: tree.pathOf(ask),
      tokensMax: tokensMaxOf(task, ask),
    }));
  }

  /** Sends an ask that failed at its host to another one that could serve it. @returns Whether there is one. */
  retry(task: TaskRun, open: OpenAsk): boolean {
    const { dispatcher, isSending, onDecision } = this.#options;
    const tree = open.route.kind === "host" ? this.#trees.get(task)?.get(open.route) : undefined;
    const { job: before } = open;
    if (tree === undefined || before === null || !isSending()) return false;
    return dispatcher.scheduler.retry(leafKey(before, open.ask.id), open.failedAt ?? [], (decision) => {
      const job = this.#dispatch(task, [open], hostLane(decision.host), decision.age);
      open.effort.began(dispatcher.gpus, decision.host);
      onDecision(tree, decision, [open]);
      dispatcher.settled(before, open.ask.id);
      return {
        key: leafKey(job, open.ask.id),
        path: tree.pathOf(open.ask),
        tokensMax: tokensMaxOf(task, open.ask),
      };
    });
  }

  /** Sends an ask that is on its way to a second host too, where one has room and the budget has. @returns Whether it did. */
  hedge(task: TaskRun, open: OpenAsk): boolean {
    const { dispatcher, ledger, isSending, onDecision } = this.#options;
    const tree = open.route.kind === "host" ? this.#trees.get(task)?.get(open.route) : undefined;
    if (tree === undefined || open.job === null || !isSending()) return false;
    return dispatcher.scheduler.hedge(leafKey(open.job, open.ask.id), (decision) => {
      const reservation = ledger.reserve(ledger.accountOf(task.id, task.arm.id), worstOf(task, open));
      if (reservation === null) return null;
      const copy: OpenAsk = { ...open, reservation, isHedge: true, effort: new Effort() };
      copy.effort.began(dispatcher.gpus, decision.host);
      const job = this.#dispatch(task, [copy], hostLane(decision.host), decision.age);
      // The ask itself may be sent again: never as a job of the copy's name.
      open.dispatches = copy.dispatches;
      task.copies.add(copy);
      onDecision(tree, decision, [copy]);
      return {
        key: leafKey(job, open.ask.id),
        path: tree.pathOf(open.ask),
        tokensMax: tokensMaxOf(task, open.ask),
      };
    });
  }

  /**
   * Reserves what the ask may cost, unless that is reserved. What a verifier off the hosts judges costs nothing.
   * @returns Whether the budget has room for it.
   */
  reserve(task: TaskRun, open: OpenAsk): boolean {
    if (open.route.kind === "verifier") return true;
    const { ledger } = this.#options;
    open.reservation ??= ledger.reserve(ledger.accountOf(task.id, task.arm.id), worstOf(task, open));
    return open.reservation !== null;
  }

  #touch(task: TaskRun, route: HostRoute, line: Backlog): void {
    const { dispatcher, id: sweep } = this.#options;
    const { scheduler } = dispatcher;
    let trees = this.#trees.get(task);
    if (trees === undefined) this.#trees.set(task, (trees = new Map()));
    let tree = trees.get(route);
    if (tree === undefined) {
      tree = new TaskTree({ sweep, task, route, line, owner: this, estimate: this.#estimate });
      trees.set(route, tree);
      scheduler.plant(tree);
    }
    scheduler.touched(tree.id);
    this.#miss(() => scheduler.couldServe(route), describeRoute(route));
  }

  /** Asks like the one that goes next for which the budget has room; those for which it never will are lost. */
  #fitting({ task, line }: TaskTree, max: number): number {
    const { ledger, outOfBudget } = this.#options;
    for (let head = line.head(); head !== null; head = line.head()) {
      const account = ledger.accountOf(task.id, task.arm.id);
      const worst = worstOf(task, head);
      const fitting = ledger.fitting(account, worst, max);
      const shortage = fitting > 0 ? null : ledger.shortage(account, worst);
      if (shortage === null) return fitting;
      for (const open of line.takeSiblings(1)) outOfBudget(task, open, shortage);
    }
    return 0;
  }

  /** Those of the asks that have a reservation now, the first at least; verifications of longer paths may need more than it. */
  #reserved({ task, line }: TaskTree, asks: readonly OpenAsk[]): readonly OpenAsk[] {
    return asks.filter((open) => {
      const isReserved = this.reserve(task, open);
      if (!isReserved) line.push(open);
      return isReserved;
    });
  }

  #fillVerifier(task: TaskRun, { verifier }: VerifierRoute, line: Backlog): void {
    const { dispatcher, siblingsMax, isSending } = this.#options;
    const lane = verifierLane(verifier);
    while (line.size > 0 && isSending()) {
      const max = Math.min(dispatcher.room(lane), siblingsMax);
      if (max === 0)
        return this.#miss(() => dispatcher.has(lane), `a verification worker that offers "${verifier}"`);
      this.#dispatch(task, line.takeSiblings(max), lane, task.ordinal);
    }
  }

  /** @returns The job's id. */
  #dispatch(task: TaskRun, asks: readonly OpenAsk[], lane: string, priority: number): string {
    const { id, attempt, dispatcher, owner } = this.#options;
    const job = jobOf(task, asks, { id, attempt, priority });
    for (const open of asks) {
      open.job = job.id;
      open.dispatches += 1;
    }
    dispatcher.dispatch(lane, job, owner);
    return job.id;
  }

  /** What the host holds behind the path now. Its last token was made and never computed. */
  #outputOf(
    task: TaskRun,
    prefix: Parameters<TaskRun["segments"]["of"]>[0],
    result: RolloutResult,
    completionTokens: number | null,
  ): PathPiece {
    const tokens = completionTokens ?? this.#estimate.tokens(result.text);
    const id = task.segments.continuationOf(prefix, result);
    return { id, tokens, isKnown: completionTokens !== null };
  }

  #miss(isThere: () => boolean, what: string): void {
    if (isThere() || this.#missing.has(what)) return;
    this.#missing.set(what, isThere);
    this.#options.onMissing(missingText(what));
  }
}

function missingText(what: string): string {
  return `waiting for ${what}; there is none`;
}

/** null for what ended otherwise than by an answer: nothing is learned from it. */
function outcomeOf({ result, usage, startedMs, firstTokenMs, endedMs }: Report): LeafOutcome | null {
  if (result.kind !== "rollout" && result.kind !== "verdict") return null;
  const first = firstTokenMs ?? null;
  return {
    ...usage,
    firstTokenMs: first === null ? null : first - startedMs,
    decodeMs: first === null ? null : endedMs - first,
  };
}
