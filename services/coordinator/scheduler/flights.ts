/**
 * Leaves on their way: what each adds to what its host and its tree have in use, from its sending to its end, once, and what its end
 * teaches. Pure.
 */
import type { Admission } from "./admission.ts";
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
  /** Tokens of context that it reads as it generates, half of its output among them; 0: it generates nothing. */
  readonly contextTokens: number;
  /** Those of all at its host, with it, when it was sent. */
  readonly contextBeside: number;
}

export class Flights {
  readonly #flights = new Map<string, Flight>();
  readonly #prefixes: PrefixTree;
  readonly #outlook: Outlook;
  readonly #admission: Admission;

  constructor(told: {
    readonly prefixes: PrefixTree;
    readonly outlook: Outlook;
    readonly admission: Admission;
  }) {
    this.#prefixes = told.prefixes;
    this.#outlook = told.outlook;
    this.#admission = told.admission;
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
    const contextTokens = leaf.tokensMax > 1 ? this.#prefixes.tokens(node) + tokens / 2 : 0;
    habits.sent(kind, leaf.tokensMax);
    host.inFlight += 1;
    host.contextTokens += contextTokens;
    host.flying.set(state, (host.flying.get(state) ?? 0) + 1);
    state.inFlight += 1;
    state.tokensMax = leaf.tokensMax;
    state.pathTokens += pathTokens;
    this.#outlook.grown(state, pathTokens);
    if (state.home === host) this.#admission.admit(state, host);
    this.#admission.count(state);
    this.#flights.set(leaf.key, {
      state,
      host,
      node,
      cachedTokens,
      tokens,
      pathTokens,
      contextTokens,
      contextBeside: host.contextTokens,
    });
  }

  /** It has ended; null: nobody knows how. */
  land(
    key: string,
    { state, host, node, tokens, pathTokens, contextTokens }: Flight,
    output: Output | null,
  ): void {
    this.#flights.delete(key);
    host.inFlight -= 1;
    host.contextTokens -= contextTokens;
    const others = (host.flying.get(state) ?? 1) - 1;
    if (others === 0) host.flying.delete(state);
    else host.flying.set(state, others);
    state.inFlight -= 1;
    state.pathTokens -= pathTokens;
    state.use.answered();
    this.#outlook.habits.landed(state.tree.kind);
    this.#admission.count(state);
    this.#prefixes.landed(host.id, node, tokens, output);
  }

  /** All that is on its way to this host is lost. */
  forget(host: HostState): void {
    for (const [key, flight] of this.#flights) if (flight.host === host) this.land(key, flight, null);
  }

  /** Call it before `land`. */
  learn(flight: Flight, outcome: LeafOutcome): void {
    const { state, host, node, cachedTokens: predicted } = flight;
    const { kind } = state.tree;
    const { promptTokens, cachedTokens } = outcome;
    const uncachedTokens = promptTokens === null ? null : promptTokens - (cachedTokens ?? predicted);
    if (!state.use.isAnswered && predicted === 0 && cachedTokens !== null)
      this.#outlook.habits.shared(kind, cachedTokens);
    if (cachedTokens !== null) this.#prefixes.reported(host.id, node, { predicted, cached: cachedTokens });
    this.#outlook.learn(host, kind, { outcome, uncachedTokens });
    if (flight.contextTokens > 0)
      this.#outlook.stepped(host, {
        outcome,
        contextTokens: (flight.contextBeside + host.contextTokens) / 2,
      });
  }
}
