/** What the scheduler keeps of one host and of one tree, and the line of trees that wait at a host. */
import type { HostFacts } from "../../link/link.ts";
import type { Forecast } from "./forecast.ts";
import { isFit, type PlacementNeeds } from "./placement.ts";
import type { NodeRef } from "./prefix-tree.ts";
import type { Tree } from "./tree.ts";
import { TreeUse } from "./tree-use.ts";

export class TreeState {
  readonly tree: Tree;
  /** The how-manieth tree it is: less is older. */
  readonly age: number;
  home: HostState | null = null;
  /** Whether it may use its home's KV cache; one that may not waits until others are over. */
  isAdmitted = false;
  /** Asks that wait and may be sent; none while it could send none (no budget, its sweep is paused). */
  waiting = 0;
  inFlight = 0;
  /** Tokens that one of them may make at most. */
  tokensMax = 0;
  /** Tokens of KV cache that the paths of its asks in flight use. */
  pathTokens = 0;
  /** What it needs of a KV cache as it goes on, and what it asked. */
  readonly use: TreeUse;
  /** While it is admitted: what it counts for at its home now, and whether it is expected to ask for more. */
  needTokens = 0;
  goesOn = false;
  /** Asks that it is expected to have at once there. */
  asksAtOnce = 0;
  /** Every path that it asked about: retained until it falls. */
  readonly nodes = new Set<NodeRef>();

  constructor(tree: Tree, age: number) {
    this.tree = tree;
    this.age = age;
    this.use = new TreeUse(tree.revisits);
  }
}

/** A host as the outside sees it. */
export interface HostLoad {
  readonly facts: HostFacts;
  readonly isReady: boolean;
  readonly isUp: boolean;
  readonly openTrees: number;
  readonly concurrency: number;
  readonly inFlight: number;
}

export class HostState implements HostLoad {
  facts: HostFacts;
  /** Whether its worker is heard from and its lane may be filled. */
  isReady = false;
  /** Whether it answers: nothing more goes to one that does not. */
  isUp = true;
  /** Asks that it may have at once now. */
  concurrency: number;
  cacheLosses = 0;
  inFlight = 0;
  /** Asks that wait in the trees that live here. */
  waiting = 0;
  /** Trees that it works on, and what they are expected to need of its KV cache together; null: to be reckoned anew. */
  admitted = 0;
  forecast: Forecast | null = null;
  /** Asks on their way here, by their trees. */
  readonly flying = new Map<TreeState, number>();
  /** Tokens of context that those which generate read. */
  contextTokens = 0;
  /** Those of them that are expected to ask for more. */
  goingOn = 0;
  /** Asks that the trees which it works on are expected to have at once, together. */
  asksAtOnce = 0;
  readonly trees = new Set<TreeState>();
  readonly #line: TreeState[] = [];

  constructor(facts: HostFacts) {
    this.facts = facts;
    this.concurrency = facts.concurrency;
  }

  /** Whether nothing waits here, and nothing is about to: one that has most of what it may have will be asked again in a moment. */
  isDry(inFlightShareMax: number): boolean {
    if (this.waiting > 0) return false;
    return this.goingOn === 0 || this.inFlight <= this.concurrency * inFlightShareMax;
  }

  get openTrees(): number {
    return this.trees.size;
  }

  get id(): string {
    return this.facts.id;
  }

  /** Asks here for each that it may have at once. */
  get load(): number {
    return (this.inFlight + this.waiting) / this.concurrency;
  }

  /** Trees with asks that wait and may be sent, oldest first. */
  get line(): readonly TreeState[] {
    return this.#line;
  }

  /** Of the trees at work in the line that will ask again, the one that has furthest to go. */
  get leastAsked(): TreeState | null {
    let least: TreeState | null = null;
    for (const state of this.#line)
      if (state.isAdmitted && state.goesOn && (least === null || state.use.asked < least.use.asked))
        least = state;
    return least;
  }

  enqueue(state: TreeState): void {
    const at = this.#position(state);
    if (this.#line[at] !== state) this.#line.splice(at, 0, state);
  }

  dequeue(state: TreeState): void {
    const at = this.#position(state);
    if (this.#line[at] === state) this.#line.splice(at, 1);
  }

  /** Where it stands or would stand. */
  #position({ age }: TreeState): number {
    let low = 0;
    let high = this.#line.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#line[middle]?.age ?? Infinity) < age) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Whether anything may go to it now. */
export function canTake(host: HostState, needs: PlacementNeeds): boolean {
  return host.isReady && host.isUp && isFit(host.facts, needs);
}
