/**
 * Admission: how many trees a host works on at once, and how many asks it is given. What the trees at work are expected to need fits
 * into its KV cache together, so that what one of them will ask about is not evicted by another; and it is kept full: a host that would
 * stand idle gets a tree whether that fits or not. A tree that will ask for more counts at its widest, one that only waits for its
 * last answers with those. Where the capacity is unknown only the number of asks counts.
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
   * Share of it that the trees which a host works on may be expected to need, each at its widest. They are not at their widest all at
   * once: what is left holds what they have made and will ask about next.
   */
  readonly kvAdmittedMax: number;
  /** So many times what it asks at first is a tree expected to be at its widest, before one of its kind is over. */
  readonly growthPrior: number;
  /** The same share for a host at which nothing runs, because others answer what its trees asked. */
  readonly kvIdleMax: number;
  /** At the tail a tree goes to another host when its home has so many times what that one would have with it. */
  readonly unevenMin: number;
}

export const DEFAULT_ADMISSION_LIMITS: AdmissionLimits = {
  laneDepthFactor: 1.5,
  kvInFlightMax: 0.95,
  kvAdmittedMax: 1,
  growthPrior: 1.4,
  kvIdleMax: 1.25,
  unevenMin: 2,
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
    return this.#hasKv(host, this.#width(state.tree.kind, asked));
  }

  /** Whether nothing runs at the host, and what it works on, but which others answer now, would leave room soon enough. */
  isIdle(host: HostState): boolean {
    if (host.inFlight > 0) return false;
    const { kvCapacityTokens } = host.facts;
    return (
      host.admitted === 0 ||
      kvCapacityTokens === null ||
      host.needTokens < kvCapacityTokens * this.#limits.kvIdleMax
    );
  }

  /** Whether the host should be given a further tree of this kind, which is not open yet. */
  isHungry(host: HostState, kind: string): boolean {
    const asks = host.inFlight + host.waiting;
    if (asks >= this.depth(host, false)) return false;
    return asks === 0 || this.#hasKv(host, this.#width(kind, 0));
  }

  /** Whether a tree is between two rounds of asks: nothing of it runs, and it was at work. */
  mayLeave({ inFlight, goesOn }: TreeState): boolean {
    return inFlight === 0 && goesOn;
  }

  /** Whether it should go on at another host, which has far less to do than its home. */
  evensOut(home: HostState, state: TreeState, other: HostState): boolean {
    const far = this.#limits.unevenMin * (other.asksAtOnce + state.asksAtOnce);
    return home.asksAtOnce >= far && this.#hasKv(other, state.needTokens);
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

  /** The host works on this tree of its own from now on. */
  admit(state: TreeState, home: HostState): void {
    if (state.isAdmitted) return;
    state.isAdmitted = true;
    home.admitted += 1;
  }

  /** It no longer does. */
  dismiss(state: TreeState, home: HostState): void {
    if (!state.isAdmitted) return;
    state.isAdmitted = false;
    home.admitted -= 1;
    home.needTokens = home.admitted === 0 ? 0 : home.needTokens - state.needTokens;
    home.goingOn -= Number(state.goesOn);
    home.asksAtOnce -= state.asksAtOnce;
    state.asksAtOnce = 0;
    state.needTokens = 0;
    state.goesOn = false;
  }

  /** Counts a tree anew: after each change of what it has in flight. */
  count(state: TreeState): void {
    const { home, isAdmitted } = state;
    if (home === null || !isAdmitted) return;
    const { kind, extendsRollouts } = state.tree;
    const goesOn = this.#outlook.habits.goesOn(kind, extendsRollouts);
    home.goingOn += Number(goesOn) - Number(state.goesOn);
    state.goesOn = goesOn;
    const asksAtOnce = goesOn ? state.widest.asks : state.inFlight + state.waiting;
    home.asksAtOnce += asksAtOnce - state.asksAtOnce;
    state.asksAtOnce = asksAtOnce;
    const needTokens = this.#need(state);
    home.needTokens += needTokens - state.needTokens;
    state.needTokens = needTokens;
  }

  #hasKv(host: HostState, more: number): boolean {
    const { kvCapacityTokens } = host.facts;
    return (
      kvCapacityTokens === null || host.needTokens + more <= kvCapacityTokens * this.#limits.kvAdmittedMax
    );
  }

  /** Tokens that a tree at work is expected to have in use at its widest from now on. */
  #need({ tree: { kind }, pathTokens, inFlight, waiting, widest, tokensMax, goesOn }: TreeState): number {
    const { habits } = this.#outlook;
    const each = habits.tokens(kind, tokensMax);
    const shared = habits.sharedTokens(kind);
    if (!goesOn) return Math.max(0, pathTokens + (inFlight + waiting) * each - shared);
    return Math.max(widest.pathTokens + widest.asks * each - shared, this.#width(kind, 0));
  }

  /** @param known What the tree asks for now. */
  #width(kind: string, known: number): number {
    return this.#outlook.habits.width(kind, { factor: this.#limits.growthPrior, known });
  }
}
