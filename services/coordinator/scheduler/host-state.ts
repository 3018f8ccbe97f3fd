/** What the scheduler keeps of one host and of one tree, and the line of trees that wait at a host. */
import type { HostFacts } from "../../link/link.ts";
import { isFit, type PlacementNeeds } from "./placement.ts";
import type { NodeRef } from "./prefix-tree.ts";
import type { Tree } from "./tree.ts";

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
  /** Tokens of KV cache that its asks in flight use, and the most that ever were. */
  pinned = 0;
  widest = 0;
  /** Every path that it asked about: retained until it falls. */
  readonly nodes = new Set<NodeRef>();

  constructor(tree: Tree, age: number) {
    this.tree = tree;
    this.age = age;
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
  readonly trees = new Set<TreeState>();
  readonly #line: TreeState[] = [];

  constructor(facts: HostFacts) {
    this.facts = facts;
    this.concurrency = facts.concurrency;
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

/** An ask on its way to a host. */
export interface Flight {
  readonly state: TreeState;
  readonly host: HostState;
  readonly node: NodeRef;
  /** Of the path, tokens that the host should hold. */
  readonly cachedTokens: number;
  readonly tokens: number;
  /** What it added to the tokens in use. */
  readonly pinned: number;
}

/** Whether anything may go to it now. */
export function canTake(host: HostState, needs: PlacementNeeds): boolean {
  return host.isReady && host.isUp && isFit(host.facts, needs);
}
