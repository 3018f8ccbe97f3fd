/**
 * Admission: how many trees a host works on at once, and how many asks it is given. The trees at work fit into its KV cache together,
 * each at its widest, so that what one of them will ask about is not evicted by another; and it is kept full: a host that would
 * stand idle gets a tree whether that fits or not. Where the capacity is unknown only the number of asks counts.
 */
import type { HostState, TreeState } from "./host-state.ts";
import type { Outlook } from "./outlook.ts";
import type { NodeRef, PrefixTree } from "./prefix-tree.ts";

export interface AdmissionLimits {
  /** Asks given to a host, as a multiple of those that it has at once: so that none of its sequences waits for us. */
  readonly laneDepthFactor: number;
  /** Share of a host's KV cache that the asks in flight there may use. */
  readonly kvInFlightMax: number;
  /**
   * Share of it that the trees which a host works on may be expected to need, each at its widest. Above 1, since they are not at their
   * widest all at once.
   */
  readonly kvAdmittedMax: number;
}

export const DEFAULT_ADMISSION_LIMITS: AdmissionLimits = {
  laneDepthFactor: 1.5,
  kvInFlightMax: 0.95,
  kvAdmittedMax: 1.4,
};

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #prefixes: PrefixTree;
  readonly #outlook: Outlook;

  constructor(limits: AdmissionLimits, prefixes: PrefixTree, outlook: Outlook) {
    this.#limits = limits;
    this.#prefixes = prefixes;
    this.#outlook = outlook;
  }

  /** Whether a tree that is not admitted yet fits into the host's KV cache beside those that it works on. */
  fits(host: HostState, state: TreeState, next: NodeRef): boolean {
    const asked = this.#prefixes.tokens(next) + state.waiting * this.#outlook.tokensOf(state);
    return this.#hasKv(host, this.#footprint(state, asked));
  }

  /** Whether the host should be given a further tree of this kind, which is not open yet. */
  isHungry(host: HostState, kind: string): boolean {
    const asks = host.inFlight + host.waiting;
    if (asks >= this.depth(host, false)) return false;
    return asks === 0 || this.#hasKv(host, this.#outlook.habits.footprint(kind, 0));
  }

  /** Asks that the host may be given. At the tail no more than it has at once: what waits in a lane cannot go elsewhere. */
  depth(host: HostState, isTail: boolean): number {
    return isTail ? host.concurrency : Math.ceil(host.concurrency * this.#limits.laneDepthFactor);
  }

  /** Asks on this path that the host's KV cache has room for beside those in flight; one always, where nothing is. */
  kvRoom(host: HostState, state: TreeState, node: NodeRef): number {
    const { kvCapacityTokens } = host.facts;
    if (kvCapacityTokens === null) return Infinity;
    const free = kvCapacityTokens * this.#limits.kvInFlightMax - this.#prefixes.pinnedTokens(host.id);
    const each = Math.max(1, this.#outlook.tokensOf(state));
    const count = Math.floor((free - this.#prefixes.pinnedBy(host.id, node)) / each);
    return Math.max(host.inFlight === 0 ? 1 : 0, count);
  }

  #hasKv(host: HostState, more: number): boolean {
    const { kvCapacityTokens } = host.facts;
    if (kvCapacityTokens === null) return true;
    let tokens = more;
    for (const state of host.trees) if (state.isAdmitted) tokens += this.#footprint(state);
    return tokens <= kvCapacityTokens * this.#limits.kvAdmittedMax;
  }

  /** Tokens that the tree is expected to have in use at its widest; `asked`: what it is known to ask for. */
  #footprint({ tree, widest }: TreeState, asked = 0): number {
    return Math.max(widest, this.#outlook.habits.footprint(tree.kind, asked));
  }
}
