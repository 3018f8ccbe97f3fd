/**
 * Admission: how many trees a host works on at once, and how many asks it is given. What the trees at work are expected to need fits
 * into its KV cache together, now and as they grow and end (`forecast.ts`), so that what one of them will ask about is not evicted by
 * another. Two things weigh more than that. A host that would stand idle gets a tree whether it fits or not. And while much of a decoding
 * step passes whatever runs, another tree makes a step worth more than what it evicts costs to compute again. Where the
 * capacity is unknown only the number of asks counts.
 */
import { tokensOf } from "./footprint.ts";
import { Forecast, type NeedAt } from "./forecast.ts";
import type { HostState, TreeState } from "./host-state.ts";
import type { Outlook } from "./outlook.ts";
import type { NodeRef, PrefixTree } from "./prefix-tree.ts";

export interface AdmissionLimits {
  /** Asks given to a host, as a multiple of those that it has at once: so that none of its sequences waits for us. */
  readonly laneDepthFactor: number;
  /** Share of a host's KV cache that the asks in flight there may use. */
  readonly kvInFlightMax: number;
  /** Share of it that the trees which a host works on may be expected to need together. */
  readonly kvAdmittedMax: number;
  /** So many times what trees of its kind were seen to need is a tree expected to need further on than any of them was. */
  readonly growthPrior: number;
  /** Trees that do not fit are admitted while so much of a decoding step, or more, is what a step takes whatever runs. */
  readonly floorShareMin: number;
  /** `kvAdmittedMax` of a host at which nothing runs, because others answer what its trees asked. */
  readonly kvIdleMax: number;
  /** At the tail a tree goes to another host when its home has so many times what that one would have with it. */
  readonly unevenMin: number;
}

export const DEFAULT_ADMISSION_LIMITS: AdmissionLimits = {
  laneDepthFactor: 1.5,
  kvInFlightMax: 0.95,
  kvAdmittedMax: 0.75,
  growthPrior: 1.4,
  floorShareMin: 0.2,
  kvIdleMax: 0.9,
  unevenMin: 5.5,
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
    if (state.use.asked > 0) return this.#hasKv(host, this.#needOf(state));
    const known = this.#prefixes.tokens(next) + state.waiting * this.#outlook.tokensOf(state);
    const { kind, extendsRollouts } = state.tree;
    const goesOn = this.#outlook.habits.goesOn(kind, extendsRollouts);
    return this.#hasKv(host, this.#needOfNew(kind, { known, goesOn }));
  }

  /** Whether nothing runs at the host, and what it works on, but which others answer now, would leave room soon enough. */
  isIdle(host: HostState): boolean {
    if (host.inFlight > 0) return false;
    const { kvCapacityTokens } = host.facts;
    return (
      host.admitted === 0 ||
      kvCapacityTokens === null ||
      this.#forecastOf(host).most() < kvCapacityTokens * this.#limits.kvIdleMax
    );
  }

  /** Whether the host should be given a further tree of this kind, which is not open yet. */
  isHungry(host: HostState, kind: string): boolean {
    const asks = host.inFlight + host.waiting;
    if (asks >= this.depth(host, false)) return false;
    if (asks === 0) return true;
    const goesOn = this.#outlook.habits.goesOn(kind, true);
    return this.#hasKv(host, this.#needOfNew(kind, { known: null, goesOn }));
  }

  /** Whether a tree is between two rounds of asks: nothing of it runs, and it was at work. */
  mayLeave({ inFlight, goesOn }: TreeState): boolean {
    return inFlight === 0 && goesOn;
  }

  /** Whether it should go on at another host, which has far less to do than its home. */
  evensOut(home: HostState, state: TreeState, other: HostState): boolean {
    const far = this.#limits.unevenMin * (other.asksAtOnce + state.asksAtOnce);
    return home.asksAtOnce >= far && this.#hasKv(other, this.#needOf(state));
  }

  /** Asks that the host may be given. At the tail no more than it has at once: what waits in a lane cannot go elsewhere. */
  depth(host: HostState, isTail: boolean): number {
    return isTail ? host.concurrency : Math.ceil(host.concurrency * this.#limits.laneDepthFactor);
  }

  /** Asks on this path that the host's KV cache has room for beside those in flight; one always, where nothing is. */
  kvRoom(host: HostState, state: TreeState, node: NodeRef): number {
    const { kvCapacityTokens } = host.facts;
    if (kvCapacityTokens === null) return Infinity;
    // What the prompts of several trees share is pinned once, and counted with each.
    const shared = Math.max(0, host.flying.size - 1) * this.#outlook.habits.sharedTokens(state.tree.kind);
    const pinned = Math.max(0, this.#prefixes.pinnedTokens(host.id) - shared);
    const free = kvCapacityTokens * this.#limits.kvInFlightMax - pinned;
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
    home.forecast = null;
    home.goingOn -= Number(state.goesOn);
    home.asksAtOnce -= state.asksAtOnce;
    state.asksAtOnce = 0;
    state.needTokens = 0;
    state.goesOn = false;
  }

  /** Counts a tree anew: after each change of what it has in flight, or waiting. */
  count(state: TreeState): void {
    const { home, isAdmitted } = state;
    if (home === null || !isAdmitted) return;
    const { kind, extendsRollouts } = state.tree;
    const goesOn = this.#outlook.habits.goesOn(kind, extendsRollouts);
    home.goingOn += Number(goesOn) - Number(state.goesOn);
    state.goesOn = goesOn;
    const asksAtOnce = goesOn ? state.use.mostAsks : state.inFlight + state.waiting;
    home.asksAtOnce += asksAtOnce - state.asksAtOnce;
    state.asksAtOnce = asksAtOnce;
    const needTokens = this.#tokensNow(state, goesOn);
    if (needTokens !== state.needTokens) home.forecast = null;
    state.needTokens = needTokens;
  }

  #hasKv(host: HostState, need: NeedAt): boolean {
    const { kvCapacityTokens } = host.facts;
    if (kvCapacityTokens === null) return true;
    if (this.#outlook.floorShare(host) >= this.#limits.floorShareMin) return true;
    return this.#forecastOf(host).most(need) <= kvCapacityTokens * this.#limits.kvAdmittedMax;
  }

  #forecastOf(host: HostState): Forecast {
    if (host.forecast !== null) return host.forecast;
    host.forecast = new Forecast(this.#outlook.horizonMs);
    for (const state of host.trees) if (state.isAdmitted) host.forecast.add(this.#needOf(state));
    return host.forecast;
  }

  /** Tokens that a tree has in use; of one that will ask for more, since its last round began. */
  #tokensNow(
    { tree: { kind }, use, pathTokens, inFlight, waiting, tokensMax }: TreeState,
    goesOn: boolean,
  ): number {
    const { habits } = this.#outlook;
    const width = goesOn ? use.width : { pathTokens, asks: inFlight + waiting };
    return Math.max(0, tokensOf(width, habits.tokens(kind, tokensMax)) - habits.sharedTokens(kind));
  }

  /** Of a tree that has sent something. */
  #needOf(state: TreeState): NeedAt {
    const { use, tokensMax } = state;
    const { kind, extendsRollouts } = state.tree;
    const { habits } = this.#outlook;
    const goesOn = habits.goesOn(kind, extendsRollouts);
    const nowTokens = this.#tokensNow(state, goesOn);
    if (!goesOn) return () => nowTokens;
    const each = habits.tokens(kind, tokensMax);
    const offset = use.offset(habits.footprint(kind), each);
    return this.#outlook.need(kind, {
      asked: use.asked,
      each,
      nowTokens,
      offset,
      growth: this.#limits.growthPrior,
    });
  }

  /** Of a tree that has not. @param known Tokens that it asks for first; null: it is not open yet. */
  #needOfNew(
    kind: string,
    { known, goesOn }: { readonly known: number | null; readonly goesOn: boolean },
  ): NeedAt {
    const { habits } = this.#outlook;
    const { growthPrior: growth } = this.#limits;
    const footprint = habits.footprint(kind);
    const shared = habits.sharedTokens(kind);
    if (!footprint.isLearned) {
      const guess = growth * Math.max(habits.firstTokens(kind), known ?? 0) - shared;
      return () => guess;
    }
    const each = habits.tokens(kind);
    const usual = footprint.tokensIn(0, each);
    const first = known ?? usual;
    if (!goesOn) return () => first - shared;
    return this.#outlook.need(kind, {
      asked: 0,
      each,
      nowTokens: first - shared,
      offset: first - usual,
      growth,
    });
  }
}
