/**
 * A rollout worker: serves one host's lane. It takes jobs, has the driver answer their asks, and reports each as soon as it is
 * finished. Calls the driver, the link and the lanes.
 *
 * Invariants: (1) a delivery resolves only once every report of its job is acknowledged (I2); (2) at most
 * `host.concurrency` asks are with the driver at once; (3) an ask that this worker has reported is not computed again by a
 * retry of its job; (4) while the host is down, nothing is taken and no attempt is spent; (5) a delivery whose signal
 * aborted reports nothing more: the job is somebody else's.
 */
import type { CoordinatorLink, HostFacts, Registration } from "../../services/link/link.ts";
import {
  type AttemptUsage,
  type Report,
  type RolloutAsk,
  type RolloutJob,
  type VerificationAsk,
  type VerificationJob,
  NO_TOKENS,
  UNKNOWN_TOKENS,
} from "../../services/queue/job.ts";
import type { Delivery, LaneConsumer, Lanes } from "../../services/queue/lanes.ts";
import { sleep, type Clock } from "../../services/runtime/clock.ts";
import { asCoppiceError, CoppiceError, messageOf } from "../../services/runtime/errors.ts";
import { silentLog, type Log } from "../../services/runtime/log.ts";
import { createSegmentCache, SEGMENT_CACHE_BYTES_MAX, type SegmentCache } from "../segment-cache.ts";
import { type AskInHand, AsksInHand, type WithdrawalLimits } from "./asks-in-hand.ts";
import type { Driver } from "./driver.ts";
import { failureReason } from "./failure-reason.ts";
import { HostHealth, probeWithin, type HealthLimits } from "./host-health.ts";
import { createJudge } from "./inference/create-judge.ts";
import { Slots } from "./slots.ts";
import { Bounded } from "./bounded.ts";

export interface RolloutWorkerLimits extends HealthLimits, WithdrawalLimits {
  /** How long to wait at the start for a host that is not up yet; 0 fails at once. */
  readonly startWaitMs: number;
  /** Jobs in hand, as a multiple of the host's sequences: above 1, so that a sequence does not idle while a report is on its way. */
  readonly jobsPerSequence: number;
  /** Jobs whose reported asks are remembered between two attempts. */
  readonly rememberedJobsMax: number;
  /** How often one delivery waits for a host that went down under it, before the attempt is spent. */
  readonly recoveriesMax: number;
  /** Memory for segments. */
  readonly segmentBytesMax: number;
}

export const DEFAULT_ROLLOUT_WORKER_LIMITS: RolloutWorkerLimits = {
  startWaitMs: 0,
  jobsPerSequence: 1.5,
  rememberedJobsMax: 1_024,
  withdrawnAsksMax: 16_384,
  withdrawnMs: 5_000,
  recoveriesMax: 3,
  segmentBytesMax: SEGMENT_CACHE_BYTES_MAX,
  probeMs: 60_000,
  downBackoffMs: 1_000,
  downBackoffMaxMs: 30_000,
  downMaxMs: 600_000,
};

export interface RolloutWorkerOptions {
  /** Unique among the workers of a coordinator. */
  readonly id: string;
  readonly hostId: string;
  readonly driver: Driver;
  readonly lanes: Lanes;
  readonly link: CoordinatorLink;
  readonly clock: Clock;
  readonly log?: Log;
  readonly limits?: Partial<RolloutWorkerLimits>;
  /** Gives the start up. */
  readonly signal?: AbortSignal;
}

/** What the worker has done since it started. Token counts are of what was reported; what was not is counted beside (I8). */
export interface RolloutWorkerMetrics {
  readonly jobsInHand: number;
  /** Asks with the driver. */
  readonly inFlight: number;
  /** 1 while the host is up, else 0. */
  readonly hostUp: number;
  readonly rollouts: number;
  readonly verifications: number;
  readonly failures: number;
  readonly cancelled: number;
  /** Deliveries that failed and were left to the lane to retry. */
  readonly retries: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  /** Rollouts whose cached tokens, or completion tokens, are unknown. */
  readonly cachedTokensUnknown: number;
  readonly completionTokensUnknown: number;
}

export interface RolloutWorker {
  readonly host: HostFacts;
  readonly registration: Registration;
  metrics(): RolloutWorkerMetrics;
  /** Takes no more, finishes within `graceMs` or leaves the rest to be redelivered, says goodbye, closes link and driver. */
  drain(graceMs: number): Promise<void>;
  /** Resolves when the worker has left: with null after `drain`, with the error when its host was lost for good. */
  readonly ended: Promise<CoppiceError | null>;
}

/**
 * Probes the host, registers over the link and starts to take jobs. Rejects with what the probe rejects with; the link and
 * the driver are then the caller's to close.
 */
export async function startRolloutWorker(options: RolloutWorkerOptions): Promise<RolloutWorker> {
  const limits: RolloutWorkerLimits = { ...DEFAULT_ROLLOUT_WORKER_LIMITS, ...options.limits };
  const signal = options.signal ?? new AbortController().signal;
  const facts = await firstProbe(options, limits, signal);
  const host: HostFacts = { id: options.hostId, engine: options.driver.engine, ...facts };
  const worker = new Worker(options, host, limits);
  await worker.start(signal);
  return worker;
}

async function firstProbe(options: RolloutWorkerOptions, limits: RolloutWorkerLimits, signal: AbortSignal) {
  const { clock, driver, log = silentLog } = options;
  const untilMs = clock.monotonicMs() + limits.startWaitMs;
  for (let waitMs = limits.downBackoffMs; ; waitMs = Math.min(waitMs * 2, limits.downBackoffMaxMs)) {
    try {
      return await probeWithin(limits.probeMs, clock, signal, (each) => driver.probe(each));
    } catch (error) {
      signal.throwIfAborted();
      const leftMs = untilMs - clock.monotonicMs();
      if (!asCoppiceError(error).isRetryable || leftMs <= 0) throw error;
      log.warn(
        { host: options.hostId, message: messageOf(error), left_ms: Math.round(leftMs) },
        "host_not_up_yet",
      );
      await sleep(clock, Math.min(waitMs, leftMs), signal);
    }
  }
}

interface Answered {
  readonly result: Report["result"];
  readonly usage: AttemptUsage;
}

/** Answers one ask of a job whose texts are fetched. */
type AskServer = (
  ask: RolloutAsk | VerificationAsk,
  hand: AskInHand,
  signal: AbortSignal,
) => Promise<Answered>;

class Worker implements RolloutWorker {
  readonly host: HostFacts;
  readonly ended: Promise<CoppiceError | null>;
  registration: Registration = { lanes: [], leaseMs: 0 };
  readonly #options: RolloutWorkerOptions;
  readonly #limits: RolloutWorkerLimits;
  readonly #log: Log;
  readonly #segments: SegmentCache;
  readonly #slots: Slots;
  readonly #health: HostHealth;
  readonly #stop = new AbortController();
  readonly #inHand: AsksInHand;
  readonly #reported: Bounded<string, Set<string>>;
  readonly #counts = {
    inFlight: 0,
    rollouts: 0,
    verifications: 0,
    failures: 0,
    cancelled: 0,
    retries: 0,
    promptTokens: 0,
    cachedTokens: 0,
    completionTokens: 0,
    cachedTokensUnknown: 0,
    completionTokensUnknown: 0,
  };
  #consumers: readonly LaneConsumer[] = [];
  #leaving: Promise<void> | null = null;
  #end: (why: CoppiceError | null) => void = () => undefined;

  constructor(options: RolloutWorkerOptions, host: HostFacts, limits: RolloutWorkerLimits) {
    this.host = host;
    this.#options = options;
    this.#limits = limits;
    this.#log = (options.log ?? silentLog).child({ worker: options.id, host: host.id });
    this.#segments = createSegmentCache({ link: options.link, bytesMax: limits.segmentBytesMax });
    this.#slots = new Slots(host.concurrency);
    this.#reported = new Bounded(limits.rememberedJobsMax);
    this.#inHand = new AsksInHand(options.clock, limits);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#health = new HostHealth({
      probe: (signal) => this.#probeAgain(signal),
      clock: options.clock,
      log: this.#log,
      limits,
      stop: this.#stop.signal,
    });
  }

  async start(signal: AbortSignal): Promise<void> {
    const { link, lanes, id } = this.#options;
    link.onWithdraw((withdrawal) => this.#inHand.withdraw(withdrawal));
    this.registration = await link.connect({ id, offers: { kind: "rollout", host: this.host } }, signal);
    const concurrency = Math.ceil(this.host.concurrency * this.#limits.jobsPerSequence);
    this.#consumers = this.registration.lanes.map((name) =>
      lanes.consume(name, {
        concurrency,
        handle: (delivery) => this.#handle(delivery),
        onError: (error) => this.#log.warn({ lane: name, message: error.message }, "lane_trouble"),
      }),
    );
    this.#log.info({ ...this.host, lanes: this.registration.lanes }, "rollout_worker_started");
  }

  metrics(): RolloutWorkerMetrics {
    return { ...this.#counts, jobsInHand: this.#inHand.jobs, hostUp: this.#health.isUp ? 1 : 0 };
  }

  drain(graceMs: number): Promise<void> {
    this.#leaving ??= this.#leave(graceMs, null);
    return this.#leaving;
  }

  async #leave(graceMs: number, why: CoppiceError | null): Promise<void> {
    try {
      await Promise.all(this.#consumers.map((consumer) => consumer.drain(graceMs)));
      this.#stop.abort(new CoppiceError("aborted", "the worker has left"));
      await this.#options.link.close();
      await this.#options.driver.close();
    } finally {
      this.#log.info({ ...this.#counts }, "rollout_worker_left");
      this.#end(why);
    }
  }

  /** The lane's handler. Throwing leaves the job to the lane to deliver again. */
  async #handle(delivery: Delivery): Promise<void> {
    const { job } = delivery;
    const reported = this.#reported.get(job.id) ?? new Set<string>();
    const asks = job.asks.filter((ask) => !reported.has(ask.id));
    const hands = this.#inHand.take(job, asks);
    try {
      const serve = await this.#prepare(delivery);
      if (serve === null) return;
      const outcomes = await Promise.allSettled(
        asks.map((ask) => this.#answer(delivery, ask, { hands, serve, reported })),
      );
      const failed = outcomes.find((outcome) => outcome.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      this.#reported.delete(job.id);
    } catch (error) {
      this.#counts.retries += 1;
      if (reported.size > 0) this.#reported.set(job.id, reported);
      this.#log.warn(
        { job: job.id, task: job.task, attempt: delivery.attempt, message: messageOf(error) },
        "delivery_failed",
      );
      throw error;
    } finally {
      this.#inHand.letGo(job, hands);
    }
  }

  /** Fetches the texts that all asks of the job share. Null: the task is over, nobody waits for an answer. */
  async #prepare(delivery: Delivery): Promise<AskServer | null> {
    const { job } = delivery;
    const signal = AbortSignal.any([delivery.signal, this.#stop.signal]);
    try {
      return job.kind === "rollout"
        ? await this.#prepareRollouts(job, signal)
        : await this.#prepareVerifications(job, signal);
    } catch (error) {
      const failure = asCoppiceError(error);
      if (failure.code === "not_found") {
        this.#log.debug(
          { job: job.id, task: job.task, message: failure.message },
          "job_of_a_task_that_is_over",
        );
        return null;
      }
      // A coordinator that is away delays a job and fails none: after the last attempt it puts the job in again.
      if (signal.aborted || failure.isRetryable) throw error;
      const reason = failure.code === "invalid_argument" ? "verifier_invalid" : "segments_unavailable";
      return async () => ({
        result: { kind: "failure", reason, message: failure.message },
        usage: NO_TOKENS,
      });
    }
  }

  async #prepareRollouts(job: RolloutJob, signal: AbortSignal): Promise<AskServer> {
    const pieces = await this.#segments.piecesOf(job.prefix, signal);
    const prefix = job.prefix.at(-1) ?? "";
    const asksById = new Map(job.asks.map((ask) => [ask.id, ask]));
    return async ({ id }, hand, askSignal) => {
      const ask = asksById.get(id);
      if (ask === undefined) throw new CoppiceError("internal", `job ${job.id} has no ask ${id}`);
      return this.#options.driver.sample(
        {
          pieces,
          prefix,
          problem: job.problem,
          sample: ask.sample,
          seed: ask.seed,
          sampling: job.sampling,
          depth: job.depth,
          onUsage: (usage) => {
            hand.usage = usage;
          },
        },
        askSignal,
      );
    };
  }

  async #prepareVerifications(job: VerificationJob, signal: AbortSignal): Promise<AskServer> {
    const [spec, problem] = await Promise.all([
      this.#segments.textOf([job.verifier], signal),
      this.#segments.textOf([job.problemData], signal),
    ]);
    const judge = createJudge({ spec, problem, driver: this.#options.driver });
    const judgings = new Map(
      await Promise.all(
        job.asks.map(async ({ id, candidate, seed }) => {
          return [id, { path: await this.#segments.piecesOf(candidate, signal), seed }] as const;
        }),
      ),
    );
    return async ({ id }, _hand, askSignal) => {
      const judging = judgings.get(id);
      if (judging === undefined) throw new CoppiceError("internal", `job ${job.id} has no ask ${id}`);
      return judge(judging, askSignal);
    };
  }

  /** Answers one ask and reports it; throws to have the job delivered again. */
  async #answer(
    delivery: Delivery,
    ask: RolloutAsk | VerificationAsk,
    {
      hands,
      serve,
      reported,
    }: {
      readonly hands: ReadonlyMap<string, AskInHand>;
      readonly serve: AskServer;
      readonly reported: Set<string>;
    },
  ): Promise<void> {
    const hand = hands.get(ask.id);
    if (hand === undefined) return;
    const lost = AbortSignal.any([delivery.signal, this.#stop.signal]);
    const signal = AbortSignal.any([lost, hand.abort.signal]);
    let answered: Answered;
    try {
      answered = await this.#serve(() => serve(ask, hand, signal), hand, signal);
    } catch (error) {
      lost.throwIfAborted();
      const failure = asCoppiceError(error);
      if (hand.isWithdrawn) answered = { result: { kind: "cancelled" }, usage: hand.usage };
      else if (failure.isRetryable && !delivery.isLast) throw error;
      else {
        const result = { kind: "failure", reason: failureReason(failure), message: failure.message } as const;
        // What is not on record has cost nothing; what any other failure has cost is known as far as the driver told.
        answered = { result, usage: failure.code === "not_found" ? NO_TOKENS : hand.usage };
      }
    }
    lost.throwIfAborted();
    this.#count(answered);
    await this.#options.link.report(this.#reportOf(delivery, ask.id, hand.startedMs, answered));
    // Not a cancelled one: should the ask be wanted again by a later run, it is to be computed.
    if (answered.result.kind !== "cancelled") reported.add(ask.id);
  }

  /** Has the driver do it when a slot is free and the host is up; waits for a host that goes down meanwhile. */
  async #serve(call: () => Promise<Answered>, hand: AskInHand, signal: AbortSignal): Promise<Answered> {
    for (let recoveries = 0; ;) {
      await this.#health.ready(signal);
      await this.#slots.take(signal);
      let failure: CoppiceError;
      try {
        if (!this.#health.isUp) continue;
        this.#counts.inFlight += 1;
        hand.startedMs = this.#options.clock.nowMs();
        hand.usage = UNKNOWN_TOKENS;
        return await call().finally(() => (this.#counts.inFlight -= 1));
      } catch (error) {
        failure = asCoppiceError(error);
        if (signal.aborted || !isHostTrouble(failure)) throw error;
      } finally {
        this.#slots.give();
      }
      if (recoveries >= this.#limits.recoveriesMax || !(await this.#recovered(failure, signal)))
        throw failure;
      recoveries += 1;
    }
  }

  async #recovered(failure: CoppiceError, signal: AbortSignal): Promise<boolean> {
    try {
      return await this.#health.suspect(failure, signal);
    } catch (error) {
      signal.throwIfAborted();
      // The host is lost: leave, so that the coordinator places its jobs elsewhere.
      this.#stop.abort(error);
      if (this.#leaving === null) {
        this.#leaving = this.#leave(0, asCoppiceError(error));
        this.#leaving.catch((trouble: unknown) =>
          this.#log.warn({ message: messageOf(trouble) }, "leaving_failed"),
        );
      }
      throw error;
    }
  }

  async #probeAgain(signal: AbortSignal): Promise<void> {
    const { model } = await this.#options.driver.probe(signal);
    if (model !== this.host.model) {
      throw new CoppiceError(
        "failed_precondition",
        `expected the host to serve ${this.host.model} still, found ${model}`,
      );
    }
  }

  #reportOf(delivery: Delivery, ask: string, startedMs: number, { result, usage }: Answered): Report {
    const { job, attempt } = delivery;
    return {
      sweep: job.sweep,
      task: job.task,
      ask,
      job: job.id,
      attempt,
      worker: this.#options.id,
      host: this.host.id,
      // A cut pair of surrogates would not survive the wire, and rows would differ by the link that carried them (I4).
      result: result.kind === "rollout" ? { ...result, text: result.text.toWellFormed() } : result,
      usage,
      startedMs,
      endedMs: this.#options.clock.nowMs(),
    };
  }

  #count({ result, usage }: Answered): void {
    const counts = this.#counts;
    if (result.kind === "failure") counts.failures += 1;
    else if (result.kind === "cancelled") counts.cancelled += 1;
    else if (result.kind === "verdict") counts.verifications += 1;
    else {
      counts.rollouts += 1;
      counts.promptTokens += usage.promptTokens ?? 0;
      counts.cachedTokens += usage.cachedTokens ?? 0;
      counts.completionTokens += usage.completionTokens ?? 0;
      if (usage.cachedTokens === null) counts.cachedTokensUnknown += 1;
      if (usage.completionTokens === null) counts.completionTokensUnknown += 1;
    }
  }
}

/** Whether the failure may mean that the host is down, rather than that it refused this request. */
function isHostTrouble(error: CoppiceError): boolean {
  return error.code === "unavailable" || error.code === "deadline_exceeded";
}
