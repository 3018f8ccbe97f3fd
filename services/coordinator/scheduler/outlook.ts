/**
 * What the scheduler expects: how long an ask would wait at a host, and how long it would compute there what it does not hold.
 * It learns from what came back; until then it reckons with priors. Owns the prefix tree's reader side, the paces and the habits.
 */
import { Habits } from "./habits.ts";
import type { HostState, TreeState } from "./host-state.ts";
import { PrefillPace } from "./prefill-pace.ts";
import type { Candidate } from "./placement.ts";
import type { NodeRef, PrefixTree } from "./prefix-tree.ts";
import type { LeafOutcome } from "./tree.ts";

/** How long an ask takes where none has ended yet. */
const DURATION_PRIOR_MS = 1_000;

export class Outlook {
  readonly habits = new Habits();
  readonly #prefixes: PrefixTree;
  readonly #paces = new Map<string, PrefillPace>();

  constructor(prefixes: PrefixTree) {
    this.#prefixes = prefixes;
  }

  /** A host as a home for a tree, or as a place for its next ask. */
  candidate(host: HostState, state: TreeState, node: NodeRef): Candidate {
    const cachedTokens = this.#prefixes.cached(host.id, node);
    const prefillMs = this.#paceOf(host).prefillMs(this.#prefixes.tokens(node) - cachedTokens);
    return { host: host.id, waitMs: this.waitMs(host, state), prefillMs, cachedTokens, load: host.load };
  }

  /** Until an ask of the tree would begin: those before it end at an even rate. */
  waitMs(host: HostState, state: TreeState): number {
    const others = host.waiting - (state.home === host ? state.waiting : 0);
    return this.#untilMs(host, state.tree.kind, others + 1);
  }

  /** Until the last ask that waits in the tree would begin at home, older trees before it. */
  waitInLineMs(home: HostState, state: TreeState): number {
    let before = 0;
    for (const each of home.line) {
      if (each === state) break;
      before += each.waiting;
    }
    return this.#untilMs(home, state.tree.kind, before + state.waiting);
  }

  /** Until the `place`-th of those that wait begins. A host where asks wait is full with what it has, whatever filled it. */
  #untilMs(host: HostState, kind: string, place: number): number {
    const isFull = host.waiting > 0 || host.inFlight >= host.concurrency;
    const free = isFull ? 0 : host.concurrency - host.inFlight;
    const atOnce = Math.max(1, isFull ? host.inFlight : host.concurrency);
    const durationMs = this.habits.durationMs(kind) ?? DURATION_PRIOR_MS;
    return (Math.max(0, place - free) / atOnce) * durationMs;
  }

  /** Tokens that the tree's next ask will make. */
  tokensOf({ tree }: TreeState): number {
    return this.habits.tokens(tree.kind, tree.peekTokensMax());
  }

  /** The tree has more in use than before. */
  grown(state: TreeState): void {
    const { tree, tokensMax, pathTokens, inFlight: asks } = state;
    const each = this.habits.tokens(tree.kind, tokensMax);
    const tokens = pathTokens + asks * each;
    if (tokens < state.widest.pathTokens + state.widest.asks * each) return;
    state.widest = { pathTokens, asks };
    if (!state.isAnswered) this.habits.begun(tree.kind, tokens);
  }

  /** @param uncachedTokens Of its prompt, as far as is known. */
  learn(
    host: HostState,
    kind: string,
    { outcome, uncachedTokens }: { readonly outcome: LeafOutcome; readonly uncachedTokens: number | null },
  ): void {
    const { firstTokenMs, decodeMs, completionTokens } = outcome;
    if (uncachedTokens !== null && firstTokenMs !== null)
      this.#paceOf(host).prefilled({ tokens: uncachedTokens, ms: firstTokenMs });
    if (completionTokens === null || decodeMs === null) return;
    this.habits.answered(kind, { tokens: completionTokens, durationMs: decodeMs + (firstTokenMs ?? 0) });
  }

  /** Hosts of one engine and model run alike. */
  #paceOf({ facts }: HostState): PrefillPace {
    const key = `${facts.engine} ${facts.model}`;
    let pace = this.#paces.get(key);
    if (pace === undefined) this.#paces.set(key, (pace = new PrefillPace()));
    return pace;
  }
}
