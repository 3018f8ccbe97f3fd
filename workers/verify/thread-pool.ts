/**
 * Threads that verify one candidate each, and that are killed when one takes too long (I5, I7). Calls `thread.ts` only.
 *
 * 1. A thread has at most one verification, so killing it harms no other.
 * 2. A verification ends once: with the thread's verdict, with "undecided" when the thread was killed or died, or with
 *    the caller's abort; whichever is first.
 * 3. A thread that ended is replaced while anything waits; threads that cannot start fail what waits, after a few tries.
 */
import { Worker } from "node:worker_threads";
import type { VerdictResult } from "../../services/queue/job.ts";
import type { Clock, Timer } from "../../services/runtime/clock.ts";
import { CoppiceError, messageOf } from "../../services/runtime/errors.ts";
import type { Histogram } from "./histogram.ts";
import type { Judgement, Judges, JudgesLoad, Verification } from "./judges.ts";
import { limitTime } from "./time-limit.ts";
import type { ThreadData, ThreadMessage, ThreadTask } from "./thread.ts";
import { undecided, type Verifier } from "./verifier.ts";

export interface ThreadLimits {
  /** Heap of one thread in MiB; past it the thread dies and its verdict is undecided. */
  readonly heapMib: number;
  /** Stack of one thread in MiB. */
  readonly stackMib: number;
  /** A thread that is not ready after so long is given up. */
  readonly startMs: number;
  /** Starts in a row that may fail before what waits fails. */
  readonly startsMax: number;
}

interface Held extends ThreadTask {
  readonly timeoutMs: number;
  /** Settles the caller's promise; later calls change nothing. */
  readonly settle: (outcome: Judgement | Error) => void;
}

interface Thread {
  readonly worker: Worker;
  state: "starting" | "idle" | "running" | "ended";
  held: Held | null;
  startedMs: number;
  timer: Timer | null;
}

export interface ThreadPoolOptions {
  /** The module that exports `verifiers` as `VERIFIERS`. */
  readonly catalogueUrl: URL;
  readonly clock: Clock;
  /** Verifications at once. */
  readonly threads: number;
  readonly limits: ThreadLimits;
  /** Time from a thread's taking a verification to its end, in milliseconds. */
  readonly latencyMs: Histogram;
}

/** Threads start when they are first needed. */
export class ThreadPool implements Judges {
  readonly verifiers: readonly Verifier[];
  readonly #options: ThreadPoolOptions;
  readonly #threads = new Set<Thread>();
  readonly #waiting = new Set<Held>();
  readonly #counts = { terminations: 0, crashes: 0 };
  #failedStarts = 0;

  constructor(verifiers: readonly Verifier[], options: ThreadPoolOptions) {
    this.verifiers = verifiers;
    this.#options = options;
  }

  /** An abort frees the caller at once, the thread at its time limit. */
  judge({ spec, candidate, options }: Verification, signal: AbortSignal | undefined): Promise<Judgement> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.delete(held);
        reject(signal?.reason);
      };
      const held: Held = {
        spec,
        candidate,
        timeoutMs: options.timeout_ms,
        settle: (outcome) => {
          signal?.removeEventListener("abort", onAbort);
          if (outcome instanceof Error) reject(outcome);
          else resolve(outcome);
        },
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.add(held);
      this.#dispatch();
    });
  }

  load(): JudgesLoad {
    const running = [...this.#threads].filter((thread) => thread.state === "running").length;
    return { ...this.#counts, waiting: this.#waiting.size, running };
  }

  async close(): Promise<void> {
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
    const room = this.#options.threads - this.#threads.size;
    for (let more = Math.min(room, this.#waiting.size - starting); more > 0; more -= 1) this.#start();
  }

  #give(thread: Thread): void {
    const next = this.#waiting.values().next();
    if (next.done === true) return;
    const held = next.value;
    this.#waiting.delete(held);
    thread.state = "running";
    thread.held = held;
    thread.startedMs = this.#options.clock.monotonicMs();
    thread.timer = limitTime(this.#options.clock, held.timeoutMs, () => this.#overrun(thread));
    const task: ThreadTask = { spec: held.spec, candidate: held.candidate };
    thread.worker.postMessage(task);
  }

  #start(): void {
    const workerData: ThreadData = { catalogueUrl: this.#options.catalogueUrl.href };
    const { heapMib, stackMib } = this.#options.limits;
    const worker = new Worker(new URL("./thread.ts", import.meta.url), {
      workerData,
      env: {},
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: heapMib, stackSizeMb: stackMib },
    });
    const thread: Thread = { worker, state: "starting", held: null, startedMs: 0, timer: null };
    thread.timer = this.#options.clock.after(this.#options.limits.startMs, () => {
      this.#lost(thread, `not ready after ${this.#options.limits.startMs} ms`);
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
      this.#options.latencyMs.observe(this.#options.clock.monotonicMs() - thread.startedMs);
      thread.held?.settle({ verdict: message.verdict, isMemorable: true });
    }
    thread.held = null;
    thread.state = "idle";
    this.#dispatch();
  }

  #overrun(thread: Thread): void {
    const { held } = thread;
    if (thread.state !== "running" || held === null) return;
    this.#counts.terminations += 1;
    this.#end(thread, undecided(null, `took longer than ${held.timeoutMs} ms`));
    void thread.worker.terminate();
    this.#dispatch();
  }

  /** A thread is gone that nobody ended. */
  #lost(thread: Thread, message: string): void {
    if (thread.state === "ended") return;
    if (thread.state === "starting") {
      this.#failedStarts += 1;
      this.#end(thread, null);
      if (this.#failedStarts >= this.#options.limits.startsMax) {
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
    if (thread.state === "running")
      this.#options.latencyMs.observe(this.#options.clock.monotonicMs() - thread.startedMs);
    thread.timer?.cancel();
    thread.state = "ended";
    this.#threads.delete(thread);
    if (outcome instanceof Error) thread.held?.settle(outcome);
    else if (outcome !== null) thread.held?.settle({ verdict: outcome, isMemorable: false });
    thread.held = null;
  }

  #failWaiting(error: Error): void {
    const failed = [...this.#waiting];
    this.#waiting.clear();
    for (const held of failed) held.settle(error);
  }
}
