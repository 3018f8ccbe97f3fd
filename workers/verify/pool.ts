/**
 * The verifier pool: threads that verify one candidate each, and that are killed when one takes too long (I5, I7).
 * Calls `thread.ts` only.
 *
 * 1. A thread has at most one verification, so killing it harms no other.
 * 2. A verification ends once: with the thread's verdict, with "undecided" when the thread was killed or died, or with
 *    the caller's abort; whichever is first.
 * 3. A thread that ended is replaced while anything waits; threads that cannot start fail what waits, after a few tries.
 * 4. Only verdicts of verifiers are kept in the memo, never those of a kill: a slow moment is not a fact about the text.
 */
import { Worker } from "node:worker_threads";
import type { VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import type { Clock, Timer } from "../../services/runtime/clock.ts";
import { CoppiceError, messageOf } from "../../services/runtime/errors.ts";
import { createHistogram, type HistogramReading } from "./histogram.ts";
import type { ThreadData, ThreadMessage, ThreadTask } from "./thread.ts";
import { createVerdictMemo, memoKey } from "./verdict-memo.ts";
import { parseOptions, undecided, type Candidate, type Verifier } from "./verifier.ts";

export interface PoolLimits {
  /** Verifications that wait for a thread; one more is refused. */
  readonly waitingMax: number;
  /** Verdicts kept in memory. */
  readonly memoEntriesMax: number;
  /** Heap of one thread in MiB; past it the thread dies and its verdict is undecided. */
  readonly heapMib: number;
  /** Stack of one thread in MiB. */
  readonly stackMib: number;
  /** A thread that is not ready after so long is given up. */
  readonly startMs: number;
  /** Starts in a row that may fail before what waits fails. */
  readonly startsMax: number;
}

export const DEFAULT_POOL_LIMITS: PoolLimits = {
  waitingMax: 10_000,
  memoEntriesMax: 20_000,
  heapMib: 128,
  stackMib: 4,
  startMs: 30_000,
  startsMax: 3,
};

/** A verification's time limit is counted in so many parts. */
const TIMEOUT_PARTS = 4;

export interface PoolMetrics {
  /** Verdicts asked for, those from the memo included. */
  readonly verifications: number;
  readonly memoHits: number;
  /** Threads killed because a verification took too long. */
  readonly terminations: number;
  /** Threads that died by themselves (out of memory, exit). */
  readonly crashes: number;
  readonly waiting: number;
  readonly running: number;
  /** Time from a thread's taking a verification to its end, in milliseconds. */
  readonly latencyMs: HistogramReading;
}

export interface VerifierPool {
  readonly kinds: readonly string[];
  /** Throws CoppiceError "invalid_argument" for a kind that is not here (naming those that are) or bad options. */
  check(spec: VerifierSpec): void;
  /**
   * A verdict; "undecided" with the reason where the verification took too long or its thread died. Rejects with
   * `check`'s error, with the signal's reason, with "resource_exhausted" when too many wait, "unavailable" when the pool
   * is closed and "internal" when no thread starts. An abort frees the caller at once, the thread at its time limit.
   */
  verify(spec: VerifierSpec, candidate: Candidate, signal?: AbortSignal): Promise<VerdictResult>;
  metrics(): PoolMetrics;
  /** Kills every thread; what waits or runs rejects with "unavailable". */
  close(): Promise<void>;
}

interface Verification extends ThreadTask {
  readonly timeoutMs: number;
  /** Settles the caller's promise; later calls change nothing. */
  readonly settle: (outcome: VerdictResult | Error, isMemorable?: "memorable") => void;
}

interface Thread {
  readonly worker: Worker;
  state: "starting" | "idle" | "running" | "ended";
  verification: Verification | null;
  startedMs: number;
  timer: Timer | null;
}

/**
 * @param options.threads Verifications at once.
 * @param options.catalogueUrl A module that exports `VERIFIERS`; the project's own kinds when absent.
 * Rejects when the module cannot be loaded. Threads start when they are first needed.
 */
export async function createVerifierPool(options: {
  readonly clock: Clock;
  readonly threads: number;
  readonly limits?: Partial<PoolLimits>;
  readonly catalogueUrl?: URL;
}): Promise<VerifierPool> {
  const catalogueUrl = options.catalogueUrl ?? new URL("./catalogue.ts", import.meta.url);
  const loaded: unknown = await import(catalogueUrl.href);
  return new ThreadPool(verifiersOf(loaded, catalogueUrl), catalogueUrl, options);
}

function verifiersOf(loaded: unknown, url: URL): readonly Verifier[] {
  if (
    typeof loaded === "object" &&
    loaded !== null &&
    "VERIFIERS" in loaded &&
    Array.isArray(loaded.VERIFIERS)
  ) {
    return loaded.VERIFIERS as readonly Verifier[]; // A catalogue is code of ours; its own types were checked there.
  }
  throw new CoppiceError("invalid_argument", `expected ${url.href} to export VERIFIERS, a list of verifiers`);
}

class ThreadPool implements VerifierPool {
  readonly kinds: readonly string[];
  readonly #verifiers: ReadonlyMap<string, Verifier>;
  readonly #catalogueUrl: URL;
  readonly #clock: Clock;
  readonly #threadsMax: number;
  readonly #limits: PoolLimits;
  readonly #threads = new Set<Thread>();
  readonly #waiting = new Set<Verification>();
  readonly #memo;
  readonly #latencyMs = createHistogram();
  readonly #counts = { verifications: 0, memoHits: 0, terminations: 0, crashes: 0 };
  #failedStarts = 0;
  #isClosed = false;

  constructor(
    verifiers: readonly Verifier[],
    catalogueUrl: URL,
    options: { readonly clock: Clock; readonly threads: number; readonly limits?: Partial<PoolLimits> },
  ) {
    this.#verifiers = new Map(verifiers.map((verifier) => [verifier.kind, verifier]));
    this.kinds = [...this.#verifiers.keys()];
    this.#catalogueUrl = catalogueUrl;
    this.#clock = options.clock;
    this.#threadsMax = Math.max(1, options.threads);
    this.#limits = { ...DEFAULT_POOL_LIMITS, ...options.limits };
    this.#memo = createVerdictMemo(this.#limits.memoEntriesMax);
  }

  check(spec: VerifierSpec): void {
    this.#timeoutMs(spec);
  }

  #timeoutMs(spec: VerifierSpec): number {
    const verifier = this.#verifiers.get(spec.kind);
    if (verifier === undefined) {
      const known = this.kinds.join(", ");
      throw new CoppiceError(
        "invalid_argument",
        `expected a verifier of kind ${known}; found ${JSON.stringify(spec.kind)}`,
      );
    }
    return parseOptions(verifier, spec).timeout_ms;
  }

  async verify(spec: VerifierSpec, candidate: Candidate, signal?: AbortSignal): Promise<VerdictResult> {
    signal?.throwIfAborted();
    const timeoutMs = this.#timeoutMs(spec);
    this.#refuseWhenFull();
    this.#counts.verifications += 1;
    const key = memoKey(spec, candidate);
    const known = this.#memo.get(key);
    if (known !== undefined) {
      this.#counts.memoHits += 1;
      return known;
    }
    return await new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(verification);
        reject(signal?.reason);
      };
      const verification: Verification = {
        spec,
        candidate,
        timeoutMs,
        settle: (outcome, isMemorable) => {
          signal?.removeEventListener("abort", onAbort);
          if (outcome instanceof Error) return reject(outcome);
          if (isMemorable === "memorable") this.#memo.put(key, outcome);
          resolve(outcome);
        },
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(verification);
      this.#dispatch();
    });
  }

  #refuseWhenFull(): void {
    if (this.#isClosed) throw new CoppiceError("unavailable", "the verifier pool is closed");
    if (this.#waiting.size < this.#limits.waitingMax) return;
    throw new CoppiceError(
      "resource_exhausted",
      `expected at most ${this.#limits.waitingMax} verifications to wait, found as many`,
    );
  }

  metrics(): PoolMetrics {
    const running = [...this.#threads].filter((thread) => thread.state === "running").length;
    return { ...this.#counts, waiting: this.#waiting.size, running, latencyMs: this.#latencyMs.read() };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const closed = new CoppiceError("unavailable", "the verifier pool is closed");
    this.#failWaiting(closed);
    const threads = [...this.#threads];
    for (const thread of threads) this.#end(thread, closed);
    await Promise.all(threads.map((thread) => thread.worker.terminate()));
  }

  /** Gives what waits to idle threads, and starts threads for the rest, as far as they may be. */
  #dispatch(): void {
    for (const thread of this.#threads) {
      if (this.#waiting.size === 0) return;
      if (thread.state === "idle") this.#give(thread);
    }
    const starting = [...this.#threads].filter((thread) => thread.state === "starting").length;
    const room = this.#threadsMax - this.#threads.size;
    for (let more = Math.min(room, this.#waiting.size - starting); more > 0; more -= 1) this.#start();
  }

  #give(thread: Thread): void {
    const next = this.#waiting.values().next();
    if (next.done === true) return;
    const verification = next.value;
    this.#waiting.delete(verification);
    thread.state = "running";
    thread.verification = verification;
    thread.startedMs = this.#clock.monotonicMs();
    this.#limitTime(thread, verification.timeoutMs / TIMEOUT_PARTS, TIMEOUT_PARTS);
    const task: ThreadTask = { spec: verification.spec, candidate: verification.candidate };
    thread.worker.postMessage(task);
  }

  #start(): void {
    const workerData: ThreadData = { catalogueUrl: this.#catalogueUrl.href };
    const { heapMib, stackMib } = this.#limits;
    const worker = new Worker(new URL("./thread.ts", import.meta.url), {
      workerData,
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: heapMib, stackSizeMb: stackMib },
    });
    const thread: Thread = { worker, state: "starting", verification: null, startedMs: 0, timer: null };
    thread.timer = this.#clock.after(this.#limits.startMs, () => {
      this.#lost(thread, `not ready after ${this.#limits.startMs} ms`);
      void worker.terminate();
    });
    this.#threads.add(thread);
    worker.on("message", (message: ThreadMessage) => this.#heard(thread, message));
    worker.on("error", (error) => this.#lost(thread, messageOf(error)));
    worker.on("exit", (code) => this.#lost(thread, `exit code ${code}`));
  }

  #heard(thread: Thread, message: ThreadMessage): void {
    if (thread.state === "ended") return;
    thread.timer?.cancel();
    if (message.kind === "ready") {
      this.#failedStarts = 0;
      thread.worker.unref();
    } else {
      this.#latencyMs.observe(this.#clock.monotonicMs() - thread.startedMs);
      thread.verification?.settle(message.verdict, "memorable");
    }
    thread.verification = null;
    thread.state = "idle";
    this.#dispatch();
  }

  /** Counts parts of the time and not time: where this process stands still its threads do too, and one part is lost. */
  #limitTime(thread: Thread, partMs: number, parts: number): void {
    const next = (): void =>
      parts === 1 ? this.#overrun(thread) : this.#limitTime(thread, partMs, parts - 1);
    thread.timer = this.#clock.after(partMs, next, { keepAlive: true });
  }

  #overrun(thread: Thread): void {
    const { verification } = thread;
    if (thread.state !== "running" || verification === null) return;
    this.#counts.terminations += 1;
    this.#end(thread, undecided(null, `took longer than ${verification.timeoutMs} ms`));
    void thread.worker.terminate();
    this.#dispatch();
  }

  /** A thread is gone that nobody ended. */
  #lost(thread: Thread, message: string): void {
    if (thread.state === "ended") return;
    if (thread.state === "starting") {
      this.#failedStarts += 1;
      this.#end(thread, null);
      if (this.#failedStarts >= this.#limits.startsMax) {
        this.#failedStarts = 0;
        this.#failWaiting(new CoppiceError("internal", `a verifier thread does not start: ${message}`));
      }
    } else {
      this.#counts.crashes += 1;
      this.#end(thread, undecided(null, `the verifier's thread died: ${message}`));
    }
    this.#dispatch();
  }

  #end(thread: Thread, outcome: VerdictResult | Error | null): void {
    if (thread.state === "running") this.#latencyMs.observe(this.#clock.monotonicMs() - thread.startedMs);
    thread.timer?.cancel();
    thread.state = "ended";
    this.#threads.delete(thread);
    if (outcome !== null) thread.verification?.settle(outcome);
    thread.verification = null;
  }

  #failWaiting(error: Error): void {
    const failed = [...this.#waiting];
    this.#waiting.clear();
    for (const verification of failed) verification.settle(error);
  }
}
