/**
 * The verification worker: takes verification jobs from the lanes of its kinds, verifies each ask in the pool and reports
 * it as soon as it is settled. Calls the lanes, the link and the pool.
 *
 * 1. A job completes only once each of its asks is acknowledged (I2); until then the lane will deliver it again.
 * 2. A job delivered twice reports twice; the coordinator accepts the first report of an ask (I1).
 * 3. A job whose segments the coordinator no longer holds belongs to a task that is over: it completes in silence.
 * 4. A withdrawn ask is reported as cancelled and nobody waits for its verdict; a lost job is not reported at all.
 */
import type { CoordinatorLink, Registration, Withdrawal } from "../../services/link/link.ts";
import { poisonNote } from "../../services/queue/failure-classes.ts";
import {
  type FailureResult,
  type ProblemData,
  type Report,
  type VerificationAsk,
  type VerdictResult,
  type VerificationJob,
  type VerifierSpec,
  NO_TOKENS,
} from "../../services/queue/job.ts";
import type { Delivery, LaneConsumer, Lanes } from "../../services/queue/lanes.ts";
import type { Clock } from "../../services/runtime/clock.ts";
import { asCoppiceError, CoppiceError, messageOf } from "../../services/runtime/errors.ts";
import { silentLog, type Log } from "../../services/runtime/log.ts";
import { parsedObject } from "../parsed-object.ts";
import { createSegmentCache, SEGMENT_CACHE_BYTES_MAX, type SegmentCache } from "../segment-cache.ts";
import type { HistogramReading } from "./histogram.ts";
import type { VerifierPool } from "./pool.ts";
import { toldOnce } from "./told-once.ts";
import type { Candidate } from "./verifier.ts";

export interface VerificationLimits {
  /** Memory for segments, in bytes. */
  readonly segmentBytesMax: number;
  /** A fetch of segments that takes longer fails the attempt. */
  readonly segmentsMs: number;
}

export const DEFAULT_VERIFICATION_LIMITS: VerificationLimits = {
  segmentBytesMax: SEGMENT_CACHE_BYTES_MAX,
  segmentsMs: 30_000,
};

export interface VerificationMetrics {
  readonly jobs_in_flight: number;
  readonly asks_in_flight: number;
  readonly jobs: number;
  readonly correct: number;
  readonly incorrect: number;
  readonly undecided: number;
  readonly cancelled: number;
  readonly failures: number;
  readonly verifications: number;
  readonly memo_hits: number;
  /** Threads killed because a verification took too long. */
  readonly terminations: number;
  /** Threads that died by themselves. */
  readonly crashes: number;
  readonly waiting: number;
  readonly running: number;
  readonly segment_bytes: number;
  readonly latency_ms: HistogramReading;
}

export interface VerificationWorker {
  readonly registration: Registration;
  /** Takes no more jobs; resolves when those in hand are done or `graceMs` is over. The link and the pool stay open. */
  drain(graceMs: number): Promise<void>;
  metrics(): VerificationMetrics;
}

export interface VerificationWorkerOptions {
  /** Unique among the workers of a coordinator. */
  readonly id: string;
  readonly lanes: Lanes;
  readonly link: CoordinatorLink;
  readonly clock: Clock;
  readonly pool: VerifierPool;
  /** Jobs taken at once, and asks of one job taken up at once; the pool's threads bound what is verified at once. */
  readonly concurrency: number;
  readonly log?: Log;
  /** Told once of each way in which judging fails, whether or not it is tried again; at most of a few. */
  readonly onTrouble?: (message: string) => void;
  readonly limits?: Partial<VerificationLimits>;
  /** Gives up connecting. */
  readonly signal?: AbortSignal;
}

/** Registers and starts to take jobs. Rejects with the signal's reason when it aborts before the coordinator answers. */
export async function startVerificationWorker(
  options: VerificationWorkerOptions,
): Promise<VerificationWorker> {
  const { id, link, lanes, pool, concurrency, log = silentLog } = options;
  const offers = { kind: "verification", verifiers: pool.kinds, concurrency } as const;
  const bench = new Bench(options);
  link.onWithdraw((withdrawal) => bench.withdraw(withdrawal));
  const registration = await link.connect({ id, offers }, options.signal);
  const consumers: readonly LaneConsumer[] = registration.lanes.map((lane) =>
    lanes.consume(lane, {
      concurrency,
      handle: (delivery) => bench.handle(delivery),
      onError: (error) => log.warn({ worker: id, lane, error: error.message }, "lane_trouble"),
    }),
  );
  log.info({ worker: id, lanes: registration.lanes, verifiers: pool.kinds }, "verifier_started");
  return {
    registration,
    drain: async (graceMs) => {
      await Promise.all(consumers.map((consumer) => consumer.drain(graceMs)));
    },
    metrics: () => bench.metrics(),
  };
}

/** What every ask of a job is judged by. */
interface Material {
  readonly spec: VerifierSpec;
  readonly problem: ProblemData;
}

/** A job in hand. */
interface Hand {
  /** Why it is set aside unseen; null: it is not. */
  readonly poison: string | null;
  readonly job: VerificationJob;
  readonly attempt: number;
  readonly isLast: boolean;
  readonly signal: AbortSignal;
  /** By ask; aborting withdraws it. */
  readonly withdrawn: ReadonlyMap<string, AbortController>;
}

const WITHDRAWN = new CoppiceError("cancelled", "the ask was withdrawn");

/** The jobs in hand. */
class Bench {
  readonly #options: VerificationWorkerOptions;
  readonly #limits: VerificationLimits;
  readonly #segments: SegmentCache;
  readonly #hands = new Map<string, Hand>();
  readonly #counts = { jobs: 0, correct: 0, incorrect: 0, undecided: 0, cancelled: 0, failures: 0 };
  readonly #tellTrouble = toldOnce((message) => {
    this.#options.log?.warn({ worker: this.#options.id, message }, "verifier_trouble");
    this.#options.onTrouble?.(message);
  });
  #asksInFlight = 0;

  constructor(options: VerificationWorkerOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_VERIFICATION_LIMITS, ...options.limits };
    this.#segments = createSegmentCache({ link: options.link, bytesMax: this.#limits.segmentBytesMax });
  }

  withdraw(withdrawal: Withdrawal): void {
    const hand = this.#hands.get(withdrawal.job);
    for (const ask of withdrawal.asks) hand?.withdrawn.get(ask)?.abort(WITHDRAWN);
  }

  metrics(): VerificationMetrics {
    const { memoHits, latencyMs, ...pool } = this.#options.pool.metrics();
    return {
      jobs_in_flight: this.#hands.size,
      asks_in_flight: this.#asksInFlight,
      ...this.#counts,
      ...pool,
      memo_hits: memoHits,
      segment_bytes: this.#segments.bytes(),
      latency_ms: latencyMs,
    };
  }

  async handle(delivery: Delivery): Promise<void> {
    const { job, attempt, isLast, signal } = delivery;
    if (job.kind !== "verification") {
      throw new CoppiceError(
        "failed_precondition",
        `expected a verification job on this lane, found rollout job ${job.id}`,
      );
    }
    const hand: Hand = {
      poison: poisonNote(delivery),
      job,
      attempt,
      isLast,
      signal,
      withdrawn: new Map(job.asks.map((ask) => [ask.id, new AbortController()])),
    };
    this.#hands.set(job.id, hand);
    this.#counts.jobs += 1;
    try {
      await this.#work(hand);
    } catch (error) {
      signal.throwIfAborted();
      if (asCoppiceError(error).code === "not_found") return; // 3.
      throw error;
    } finally {
      if (this.#hands.get(job.id) === hand) this.#hands.delete(job.id);
    }
  }

  /** Reports every ask; throws what a later attempt may mend. */
  async #work(hand: Hand): Promise<void> {
    const material: (Material & { readonly kind: "material" }) | FailureResult =
      hand.poison === null
        ? await this.#material(hand)
        : { kind: "failure", reason: "killed_workers", message: hand.poison };
    if (material.kind === "failure") {
      await Promise.all(
        hand.job.asks.map((ask) => this.#report(hand, ask, material, this.#options.clock.nowMs())),
      );
      return;
    }
    const asks = hand.job.asks.values();
    const strands = Math.min(this.#options.concurrency, hand.job.asks.length);
    const strand = async (): Promise<void> => {
      for (const ask of asks) await this.#settle(hand, ask, material);
    };
    const outcomes = await Promise.allSettled(Array.from({ length: strands }, strand));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  /** The specification and the problem; a failure where they are not what the pool can use. */
  async #material(hand: Hand): Promise<(Material & { readonly kind: "material" }) | FailureResult> {
    try {
      const spec = parsedObject<VerifierSpec>(
        await this.#text([hand.job.verifier], hand.signal),
        "a verifier's specification",
      );
      const problem = parsedObject<ProblemData>(
        await this.#text([hand.job.problemData], hand.signal),
        "a problem",
      );
      this.#options.pool.check(spec);
      return { kind: "material", spec, problem };
    } catch (error) {
      hand.signal.throwIfAborted();
      return failureOf(error, hand, "bad_verifier");
    }
  }

  async #settle(hand: Hand, ask: VerificationAsk, material: Material): Promise<void> {
    hand.signal.throwIfAborted();
    const withdrawn = hand.withdrawn.get(ask.id)?.signal ?? hand.signal;
    const startedMs = this.#options.clock.nowMs();
    this.#asksInFlight += 1;
    try {
      const result = await this.#verdict(hand, ask, material, withdrawn);
      await this.#report(hand, ask, result, startedMs);
    } finally {
      this.#asksInFlight -= 1;
    }
  }

  async #judge(spec: VerifierSpec, candidate: Candidate, signal: AbortSignal): Promise<VerdictResult> {
    try {
      return await this.#options.pool.verify(spec, candidate, signal);
    } catch (error) {
      if (!signal.aborted) this.#tellTrouble(`verifier ${spec.kind}: ${messageOf(error)}`);
      throw error;
    }
  }

  async #verdict(
    hand: Hand,
    ask: VerificationAsk,
    { spec, problem }: Material,
    withdrawn: AbortSignal,
  ): Promise<Report["result"]> {
    const signal = AbortSignal.any([hand.signal, withdrawn]);
    try {
      const [root, ...rest] = ask.candidate;
      const prompt = root === undefined ? "" : await this.#text([root], signal);
      const text = await this.#text(rest, signal);
      return await this.#judge(spec, { prompt, text, problem }, signal);
    } catch (error) {
      hand.signal.throwIfAborted();
      if (withdrawn.aborted) return { kind: "cancelled" };
      return failureOf(error, hand, "verifier_crashed");
    }
  }

  #text(ids: readonly string[], signal: AbortSignal): Promise<string> {
    if (ids.length === 0) return Promise.resolve("");
    return withDeadline(this.#options.clock, { limitMs: this.#limits.segmentsMs, signal }, (bounded) =>
      this.#segments.textOf(ids, bounded),
    );
  }

  async #report(
    hand: Hand,
    ask: VerificationAsk,
    result: Report["result"],
    startedMs: number,
  ): Promise<void> {
    hand.signal.throwIfAborted();
    const { job, attempt } = hand;
    this.#count(result);
    const acknowledged = this.#options.link.report({
      sweep: job.sweep,
      task: job.task,
      ask: ask.id,
      job: job.id,
      attempt,
      worker: this.#options.id,
      host: null,
      result,
      usage: NO_TOKENS,
      startedMs,
      endedMs: this.#options.clock.nowMs(),
    });
    await unlessAborted(acknowledged, hand.signal);
  }

  #count(result: Report["result"]): void {
    if (result.kind === "verdict") this.#counts[result.verdict] += 1;
    if (result.kind === "cancelled") this.#counts.cancelled += 1;
    if (result.kind === "failure") this.#counts.failures += 1;
  }
}

/** What to report of an error; throws it where a later delivery may mend it, or where the task is over. */
function failureOf(error: unknown, hand: Hand, reason: string): FailureResult {
  const { code, isRetryable, message } = asCoppiceError(error);
  // A coordinator that is away delays a job and fails none: after the last attempt it puts the job in again.
  if (code === "not_found" || code === "unavailable" || code === "deadline_exceeded") throw error;
  if (code === "invalid_argument")
    return { kind: "failure", reason, message: `job ${hand.job.id}: ${message}` };
  const mayBeMended = isRetryable || code === "internal" || code === "cancelled";
  if (mayBeMended && !hand.isLast) throw error;
  return {
    kind: "failure",
    reason: "verifier_unavailable",
    message: `job ${hand.job.id}, attempt ${hand.attempt}: ${message}`,
  };
}

/** The promise's outcome, or the signal's reason as soon as it aborts. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Runs `work` with a signal that also aborts, with "deadline_exceeded", when `limitMs` is over. */
async function withDeadline<T>(
  clock: Clock,
  options: { readonly limitMs: number; readonly signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const timer = clock.after(options.limitMs, () => {
    deadline.abort(
      new CoppiceError("deadline_exceeded", `expected the segments within ${options.limitMs} ms, found none`),
    );
  });
  try {
    return await work(AbortSignal.any([options.signal, deadline.signal]));
  } finally {
    timer.cancel();
  }
}
