/**
 * What the scheduler expects: how long an ask would wait at a host, and how long it would compute there what it does not hold.
 * It learns from what came back; until then it reckons with priors. Owns the prefix tree's reader side, the paces and the habits.
 */
import type { NeedAt } from "./forecast.ts";
import { tokensOf } from "./footprint.ts";
import { Habits } from "./habits.ts";
import type { HostState, TreeState } from "./host-state.ts";
import { PrefillPace } from "./prefill-pace.ts";
import type { Candidate } from "./placement.ts";
import type { NodeRef, PrefixTree } from "./prefix-tree.ts";
import { StepPace } from "./step-pace.ts";
import type { LeafOutcome } from "./tree.ts";

/** How long an ask takes where none has ended yet. */
const DURATION_PRIOR_MS = 1_000;
/** An answer of fewer tokens says little of how long a step takes. */
const STEPS_MIN = 8;

/** A tree as far as it has come. */
export interface TreeNow {
  readonly asked: number;
  /** Tokens that an ask of it makes. */
  readonly each: number;
  /** What it needs now, and what it needs more than others of its kind. */
  readonly nowTokens: number;
  readonly offset: number;
  /** `AdmissionLimits.growthPrior`. */
  readonly growth: number;
}

export class Outlook {
  readonly habits = new Habits();
  readonly #prefixes: PrefixTree;
  readonly #paces = new Map<string, { readonly prefill: PrefillPace; readonly step: StepPace }>();

  constructor(prefixes: PrefixTree) {
    this.#prefixes = prefixes;
  }

  /** A host as a home for a tree, or as a place for its next ask. */
  candidate(host: HostState, state: TreeState, node: NodeRef): Candidate {
    const cachedTokens = this.#prefixes.cached(host.id, node);
    const prefillMs = this.#pacesOf(host).prefill.prefillMs(this.#prefixes.tokens(node) - cachedTokens);
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
    return (Math.max(0, place - free) / atOnce) * this.durationMs(kind);
  }

  durationMs(kind: string): number {
    return this.habits.durationMs(kind) ?? DURATION_PRIOR_MS;
  }

  /**
   * To compute at a host (`here`) what it does not hold and the home of the tree does: of the path that its asks are about, and for each
   * further ask as many tokens as the last piece has.
   */
  againMs(
    host: HostState,
    {
      here,
      there,
      node,
      asks,
    }: { readonly here: Candidate; readonly there: Candidate; readonly node: NodeRef; readonly asks: number },
  ): number {
    const again = there.cachedTokens - here.cachedTokens;
    if (again <= 0) return 0;
    return this.#pacesOf(host).prefill.prefillMs(again + (asks - 1) * this.#prefixes.lastTokens(node));
  }

  /** Until a tree that goes on is over: the round that it begins, and those that others of its kind had from there on. */
  leftMs({ tree: { kind }, use }: TreeState): number {
    const rounds = this.habits.footprint(kind).asksLeft(use.asked) / Math.max(1, use.mostAsks);
    return (1 + rounds) * this.durationMs(kind);
  }

  /** Tokens that the tree's next ask will make. */
  tokensOf({ tree }: TreeState): number {
    return this.habits.tokens(tree.kind, tree.peekTokensMax());
  }

  /** The tree has sent one more ask. */
  grown({ tree: { kind }, use, tokensMax, pathTokens, inFlight: asks }: TreeState, newTokens: number): void {
    const each = this.habits.tokens(kind, tokensMax);
    const inUse = { pathTokens, asks };
    if (!use.isAnswered) this.habits.begun(kind, tokensOf(inUse, each));
    use.launched(this.habits.footprint(kind), { inUse, newTokens, each });
  }

  /** The tree is over. */
  over({ tree, use }: TreeState): void {
    use.over(this.habits.footprint(tree.kind));
  }

  /** @param uncachedTokens Of its prompt, as far as is known. */
  learn(
    host: HostState,
    kind: string,
    { outcome, uncachedTokens }: { readonly outcome: LeafOutcome; readonly uncachedTokens: number | null },
  ): void {
    const { firstTokenMs, decodeMs, completionTokens } = outcome;
    if (uncachedTokens !== null && firstTokenMs !== null)
      this.#pacesOf(host).prefill.prefilled({ tokens: uncachedTokens, ms: firstTokenMs });
    if (completionTokens === null || decodeMs === null) return;
    this.habits.answered(kind, { tokens: completionTokens, durationMs: decodeMs + (firstTokenMs ?? 0) });
  }

  /** @param contextTokens Those that were in flight beside it, and with it. */
  stepped(
    host: HostState,
    { outcome, contextTokens }: { readonly outcome: LeafOutcome; readonly contextTokens: number },
  ): void {
    const { completionTokens, decodeMs } = outcome;
    const { stepFloorMs } = host.facts;
    if (
      stepFloorMs === undefined ||
      completionTokens === null ||
      decodeMs === null ||
      completionTokens < STEPS_MIN
    )
      return;
    const aboveMs = decodeMs / (completionTokens - 1) - stepFloorMs;
    this.#pacesOf(host).step.stepped({ aboveMs, contextTokens, weight: 1 / Math.max(1, host.inFlight) });
  }

  /** Of a decoding step at the host, the share that it takes whatever runs; 0 while that is not known. */
  floorShare(host: HostState): number {
    const { facts, contextTokens } = host;
    if (facts.stepFloorMs === undefined || contextTokens <= 0) return 0;
    return this.#pacesOf(host).step.floorShare(facts.stepFloorMs, contextTokens);
  }

  /** What a tree of this kind that goes on is expected to need of a KV cache, without what it shares with others. */
  need(kind: string, { asked, each, nowTokens, offset: own, growth }: TreeNow): NeedAt {
    const footprint = this.habits.footprint(kind);
    if (!footprint.isLearned) return () => growth * nowTokens;
    // Answers may take no time at all: from a record, or in a test.
    const stretchMs = Math.max(1, this.durationMs(kind) * footprint.rounds);
    const from = footprint.stretchOf(asked);
    const offset = own - this.habits.sharedTokens(kind);
    return (ms) => {
      const tokens = footprint.expected(from, from + Math.round(ms / stretchMs), { each, offset, growth });
      return ms === 0 ? Math.max(nowTokens, tokens) : tokens;
    };
  }

  /** How far ahead it is worth looking: as long as the longest trees take that were seen. */
  get horizonMs(): number {
    let ms = 0;
    for (const [kind, footprint] of this.habits.footprints())
      ms = Math.max(ms, this.durationMs(kind) * footprint.rounds * footprint.stretches);
    return ms;
  }

  /** Hosts of one engine and model run alike. */
  #pacesOf({ facts }: HostState): { readonly prefill: PrefillPace; readonly step: StepPace } {
    const key = `${facts.engine} ${facts.model}`;
    let paces = this.#paces.get(key);
    if (paces === undefined)
      this.#paces.set(key, (paces = { prefill: new PrefillPace(), step: new StepPace() }));
    return paces;
  }
}
