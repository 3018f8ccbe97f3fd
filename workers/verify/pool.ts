/**
 * The verifier pool: every kind that a worker offers behind one interface, whether it judges in a thread of this process
 * or outside of it. Calls `thread-pool.ts` and `outside-pool.ts`.
 *
 * 1. A kind is offered only where it can judge as it should: one that needs a sandbox where the sandbox holds (I9), one that
 *    runs commands of whoever wrote the sweep where the machine's owner allowed that. A kind that is not is `withheld`, with
 *    the reason, and never replaced by something weaker.
 * 2. Only what depends on specification and candidate alone is kept in the memo, never what a kill or a passed time limit
 *    decided: a slow moment is not a fact about the text.
 */
import type { VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import type { Clock } from "../../services/runtime/clock.ts";
import { CoppiceError, messageOf } from "../../services/runtime/errors.ts";
import type { Log } from "../../services/runtime/log.ts";
import { createHistogram, type HistogramReading } from "./histogram.ts";
import type { CommonOptions, Judges, JudgesLoad } from "./judges.ts";
import { OutsidePool, type OutsideLimits } from "./outside-pool.ts";
import type { OutsideParts, OutsideVerifier } from "./outside-verifier.ts";
import { ThreadPool, type ThreadLimits } from "./thread-pool.ts";
import { createVerdictMemo, memoKey } from "./verdict-memo.ts";
import { parseOptions, type Candidate, type DeclaredVerifier, type Verifier } from "./verifier.ts";

export interface PoolLimits extends ThreadLimits, OutsideLimits {
  /** Verifications that wait; one more is refused. */
  readonly waitingMax: number;
  /** Verdicts kept in memory. */
  readonly memoEntriesMax: number;
  /** A kind that does not say within so long whether it can judge here is withheld. */
  readonly probeMs: number;
}

export const DEFAULT_POOL_LIMITS: PoolLimits = {
  waitingMax: 10_000,
  memoEntriesMax: 20_000,
  probeMs: 30_000,
  heapMib: 128,
  stackMib: 4,
  startMs: 30_000,
  startsMax: 3,
  remoteAtOnceMax: 64,
  overrunMs: 30_000,
};

export interface PoolMetrics extends JudgesLoad {
  /** Verdicts asked for, those from the memo included. */
  readonly verifications: number;
  readonly memoHits: number;
  /** Time from taking up a verification to its end, in milliseconds. */
  readonly latencyMs: HistogramReading;
}

/** A kind of the catalogue that is not offered here, and why. */
export interface WithheldKind {
  readonly kind: string;
  readonly reason: string;
}

export interface VerifierPool {
  readonly kinds: readonly string[];
  readonly withheld: readonly WithheldKind[];
  /**
   * Throws CoppiceError "invalid_argument" for a kind that is not here (naming those that are) or bad options, and
   * "failed_precondition" for a kind that is withheld.
   */
  check(spec: VerifierSpec): void;
  /**
   * A verdict; "undecided" with the reason where the verification took too long or what judged died. Rejects with
   * `check`'s error, with the signal's reason, with "resource_exhausted" when too many wait, "unavailable" when the pool
   * is closed and "internal" when no thread starts. An abort frees the caller at once, a thread at its time limit.
   */
  verify(spec: VerifierSpec, candidate: Candidate, signal?: AbortSignal): Promise<VerdictResult>;
  metrics(): PoolMetrics;
  /** Stops everything; what waits or runs rejects with "unavailable". */
  close(): Promise<void>;
}

/** What kinds that judge outside of this process may use. */
export interface Outside {
  readonly env: OutsideParts["env"];
  readonly log: Log;
  /** Whether kinds are offered that run commands of whoever wrote the sweep on this machine. */
  readonly allowsCommands: boolean;
  /** Of the kinds that judge outside only these; all of them when absent. */
  readonly kinds?: readonly string[];
}

export interface VerifierPoolOptions {
  readonly clock: Clock;
  /** Verifications at once: of all kinds in threads together, and of each kind outside. */
  readonly threads: number;
  /** Without it, only kinds that judge in threads are offered. */
  readonly outside?: Outside;
  readonly limits?: Partial<PoolLimits>;
  /** A module that exports `VERIFIERS` and may export `OUTSIDE_VERIFIERS`; the project's own kinds when absent. */
  readonly catalogueUrl?: URL;
}

/**
 * Rejects when the catalogue cannot be loaded. Asks kinds that judge outside whether they can judge here; else nothing is
 * started before it is needed.
 */
export async function createVerifierPool(options: VerifierPoolOptions): Promise<VerifierPool> {
  const catalogueUrl = options.catalogueUrl ?? new URL("./catalogue.ts", import.meta.url);
  const { verifiers, outsideVerifiers } = catalogueIn(await import(catalogueUrl.href), catalogueUrl);
  const { clock, threads, outside } = options;
  const limits = { ...DEFAULT_POOL_LIMITS, ...options.limits };
  const latencyMs = createHistogram();
  const concurrency = Math.max(1, threads);
  const inThreads = new ThreadPool(verifiers, {
    catalogueUrl,
    clock,
    threads: concurrency,
    limits,
    latencyMs,
  });
  if (outside === undefined) return new Verifiers([inThreads], { withheld: [], limits, latencyMs });
  const wanted = outsideVerifiers.filter(({ kind }) => outside.kinds?.includes(kind) ?? true);
  const parts: OutsideParts = { clock, log: outside.log, env: outside.env, concurrency };
  const withheld = await withheldOf(wanted, outside, { parts, probeMs: limits.probeMs });
  const offered = wanted.filter(({ kind }) => !withheld.some((each) => each.kind === kind));
  const around = new OutsidePool(offered, { parts, limits, latencyMs });
  return new Verifiers([inThreads, around], { withheld, limits, latencyMs });
}

/** One line per reason: "does not offer unit-tests, execute: bwrap is not installed". */
export function withheldLines(withheld: readonly WithheldKind[]): readonly string[] {
  const byReason = Map.groupBy(withheld, ({ reason }) => reason);
  return [...byReason].map(
    ([reason, kinds]) => `does not offer ${kinds.map(({ kind }) => kind).join(", ")}: ${reason}`,
  );
}

interface LoadedCatalogue {
  readonly verifiers: readonly Verifier[];
  readonly outsideVerifiers: readonly OutsideVerifier[];
}

function catalogueIn(loaded: unknown, url: URL): LoadedCatalogue {
  const found = listIn(loaded, "VERIFIERS");
  if (found === null) {
    throw new CoppiceError(
      "invalid_argument",
      `expected ${url.href} to export VERIFIERS, a list of verifiers`,
    );
  }
  return {
    // A catalogue is code of ours; its own types were checked there.
    verifiers: found as readonly Verifier[],
    outsideVerifiers: (listIn(loaded, "OUTSIDE_VERIFIERS") ?? []) as readonly OutsideVerifier[],
  };
}

function listIn(loaded: unknown, name: string): readonly unknown[] | null {
  if (typeof loaded !== "object" || loaded === null || !(name in loaded)) return null;
  const value = (loaded as Readonly<Record<string, unknown>>)[name]; // Just seen to be there.
  return Array.isArray(value) ? value : null;
}

/** The kinds that may not be offered here (1). */
async function withheldOf(
  verifiers: readonly OutsideVerifier[],
  { allowsCommands }: Outside,
  { parts, probeMs }: { readonly parts: OutsideParts; readonly probeMs: number },
): Promise<readonly WithheldKind[]> {
  const asked = verifiers.map(async (verifier): Promise<readonly WithheldKind[]> => {
    const { kind } = verifier;
    if (verifier.runsCommands && !allowsCommands) {
      return [
        {
          kind,
          reason: "it runs commands of a sweep on this machine, and that was not allowed (--allow-commands)",
        },
      ];
    }
    const reason = await probe(verifier, parts, probeMs);
    return reason === null ? [] : [{ kind, reason }];
  });
  return (await Promise.all(asked)).flat();
}

async function probe(
  verifier: OutsideVerifier,
  parts: OutsideParts,
  limitMs: number,
): Promise<string | null> {
  if (verifier.probe === undefined) return null;
  const late = new AbortController();
  const expired = new Promise<never>((_, reject) => {
    late.signal.addEventListener("abort", () => reject(late.signal.reason));
  });
  const timer = parts.clock.after(
    limitMs,
    () => late.abort(new CoppiceError("deadline_exceeded", `no answer within ${limitMs} ms`)),
    { keepAlive: true },
  );
  try {
    await Promise.race([verifier.probe(parts, late.signal), expired]);
    return null;
  } catch (error) {
    return messageOf(error);
  } finally {
    timer.cancel();
  }
}

/** The pool: routes by kind, remembers, and refuses what is too much. */
class Verifiers implements VerifierPool {
  readonly kinds: readonly string[];
  readonly withheld: readonly WithheldKind[];
  readonly #byKind: ReadonlyMap<string, { readonly verifier: DeclaredVerifier; readonly judges: Judges }>;
  readonly #parts: readonly Judges[];
  readonly #limits: PoolLimits;
  readonly #latencyMs;
  readonly #memo;
  readonly #counts = { verifications: 0, memoHits: 0 };
  #isClosed = false;

  constructor(
    parts: readonly Judges[],
    options: {
      readonly withheld: readonly WithheldKind[];
      readonly limits: PoolLimits;
      readonly latencyMs: ReturnType<typeof createHistogram>;
    },
  ) {
    this.#parts = parts;
    this.#byKind = new Map(
      parts.flatMap((judges) =>
        judges.verifiers.map((verifier) => [verifier.kind, { verifier, judges }] as const),
      ),
    );
    this.kinds = [...this.#byKind.keys()];
    this.withheld = options.withheld;
    this.#limits = options.limits;
    this.#latencyMs = options.latencyMs;
    this.#memo = createVerdictMemo(options.limits.memoEntriesMax);
  }

  check(spec: VerifierSpec): void {
    this.#route(spec);
  }

  #route(spec: VerifierSpec): { readonly judges: Judges; readonly options: CommonOptions } {
    const found = this.#byKind.get(spec.kind);
    if (found !== undefined) {
      return { judges: found.judges, options: parseOptions(found.verifier, spec) };
    }
    const withheld = this.withheld.find(({ kind }) => kind === spec.kind);
    if (withheld !== undefined) {
      const message = `the verifier ${spec.kind} is not offered here: ${withheld.reason}`;
      throw new CoppiceError("failed_precondition", message);
    }
    throw new CoppiceError(
      "invalid_argument",
      `expected a verifier of kind ${this.kinds.join(", ")}; found ${JSON.stringify(spec.kind)}`,
    );
  }

  async verify(spec: VerifierSpec, candidate: Candidate, signal?: AbortSignal): Promise<VerdictResult> {
    signal?.throwIfAborted();
    const { judges, options } = this.#route(spec);
    this.#refuseWhenFull();
    this.#counts.verifications += 1;
    const key = memoKey(spec, candidate);
    const known = this.#memo.get(key);
    if (known !== undefined) {
      this.#counts.memoHits += 1;
      return known;
    }
    const { verdict, isMemorable } = await judges.judge({ spec, candidate, options }, signal);
    if (isMemorable) this.#memo.put(key, verdict);
    return verdict;
  }

  #refuseWhenFull(): void {
    if (this.#isClosed) throw new CoppiceError("unavailable", "the verifier pool is closed");
    const { waitingMax } = this.#limits;
    if (this.#load().waiting < waitingMax) return;
    throw new CoppiceError(
      "resource_exhausted",
      `expected at most ${waitingMax} verifications to wait, found as many`,
    );
  }

  metrics(): PoolMetrics {
    return { ...this.#counts, ...this.#load(), latencyMs: this.#latencyMs.read() };
  }

  #load(): JudgesLoad {
    const loads = this.#parts.map((part) => part.load());
    const sum = (of: (load: JudgesLoad) => number): number => loads.reduce((all, load) => all + of(load), 0);
    return {
      terminations: sum((load) => load.terminations),
      crashes: sum((load) => load.crashes),
      waiting: sum((load) => load.waiting),
      running: sum((load) => load.running),
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(this.#parts.map((part) => part.close()));
  }
}
