/**
 * Leaves on their way: what each adds to what its host and its tree have in use, from its sending to its end, once, and what its end
 * teaches. Pure.
 */
import type { Admission } from "./admission.ts";
import type { ComputedAgain } from "./computed-again.ts";
import type { HostState, TreeState } from "./host-state.ts";
import type { Outlook } from "./outlook.ts";
import type { NodeRef, Output, PrefixTree } from "./prefix-tree.ts";
import type { Leaf, LeafOutcome } from "./tree.ts";

/** An ask on its way to a host. */
export interface Flight {
  readonly state: TreeState;
  readonly host: HostState;
  readonly node: NodeRef;
  /** Of the path, tokens that the host should hold. */
  readonly cachedTokens: number;
  readonly tokens: number;
  /** What its path added to the tokens in use. */
  readonly pathTokens: number;
}

export class Flights {
  readonly #flights = new Map<string, Flight>();
  readonly #prefixes: PrefixTree;
  readonly #outlook: Outlook;
  readonly #admission: Admission;
  readonly #computedAgain: ComputedAgain;

  constructor(told: {
    readonly prefixes: PrefixTree;
    readonly outlook: Outlook;
    readonly admission: Admission;
    readonly computedAgain: ComputedAgain;
  }) {
    this.#prefixes = told.prefixes;
    this.#outlook = told.outlook;
    this.#admission = told.admission;
    this.#computedAgain = told.computedAgain;
  }

  get(key: string): Flight | undefined {
    return this.#flights.get(key);
  }

  /** @param of Its node is that of the leaf's path, retained by the tree. */
  launch(state: TreeState, host: HostState, of: { readonly leaf: Leaf; readonly node: NodeRef }): void {
    const { node, leaf } = of;
    const { habits } = this.#outlook;
    const { kind } = state.tree;
    const tokens = habits.tokens(kind, leaf.tokensMax);
    const cachedTokens = this.#prefixes.cached(host.id, node);
    const pathTokens = this.#prefixes.pinnedBy(host.id, node);
    this.#prefixes.sent(host.id, node, tokens);
    if (state.widest.asks === 0) habits.opened(kind);
    habits.flying(kind, 1);
    host.inFlight += 1;
    state.inFlight += 1;
    state.asked += 1;
    state.tokensMax = leaf.tokensMax;
    state.pathTokens += pathTokens;
    this.#outlook.grown(state);
    if (state.home === host) this.#admission.admit(state, host);
    this.#admission.count(state);
    this.#flights.set(leaf.key, { state, host, node, cachedTokens, tokens, pathTokens });
  }

  /** It has ended; null: nobody knows how. */
  land(key: string, { state, host, node, tokens, pathTokens }: Flight, output: Output | null): void {
    this.#flights.delete(key);
    host.inFlight -= 1;
    state.inFlight -= 1;
    state.pathTokens -= pathTokens;
    state.isAnswered = true;
    this.#outlook.habits.flying(state.tree.kind, -1);
    this.#admission.count(state);
    this.#prefixes.landed(host.id, node, tokens, output);
  }

  /** All that is on its way to this host is lost. */
  forget(host: HostState): void {
    for (const [key, flight] of this.#flights) if (flight.host === host) this.land(key, flight, null);
  }

  /** Call it before `land`. */
  learn({ state, host, node, cachedTokens: predicted }: Flight, outcome: LeafOutcome): void {
    const { kind } = state.tree;
    const { promptTokens, cachedTokens } = outcome;
    const uncachedTokens = promptTokens === null ? null : promptTokens - (cachedTokens ?? predicted);
    if (!state.isAnswered && predicted === 0 && cachedTokens !== null)
      this.#outlook.habits.shared(kind, cachedTokens);
    if (cachedTokens !== null) this.#prefixes.reported(host.id, node, { predicted, cached: cachedTokens });
    if (uncachedTokens !== null) this.#computedAgain.computed(uncachedTokens);
    this.#outlook.learn(host, kind, { outcome, uncachedTokens });
  }
}
