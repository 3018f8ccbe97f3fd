/**
 * A rollout worker: serves one host's lane. It takes jobs, has the driver answer their asks, and reports each as soon as it is
 * finished. Calls the driver, the link and the lanes.
 *
 * Invariants: (1) a delivery resolves only once every report of its job is acknowledged (I2); (2) at most as many asks as
 * the host watcher allows are with the driver at once; (3) an ask that this worker has reported is not computed again by a
 * retry of its job; (4) while the host is down, nothing is taken and no attempt is spent; (5) a delivery whose signal
 * aborted reports nothing more: the job is somebody else's.
 */
import type { CoordinatorLink, HostFacts, Registration } from "../../services/link/link.ts";
import { mayTryAgain, poisonNote } from "../../services/queue/failure-classes.ts";
import { type Report, type RolloutAsk, type VerificationAsk, NO_TOKENS } from "../../services/queue/job.ts";
import type { Delivery, LaneConsumer, Lanes } from "../../services/queue/lanes.ts";
import { sleep, type Clock } from "../../services/runtime/clock.ts";
import { asCoppiceError, CoppiceError, messageOf } from "../../services/runtime/errors.ts";
import { silentLog, type Log } from "../../services/runtime/log.ts";
import { createSegmentCache, SEGMENT_CACHE_BYTES_MAX, type SegmentCache } from "../segment-cache.ts";
import { type AskInHand, AsksInHand, type WithdrawalLimits } from "./asks-in-hand.ts";
import { Bounded } from "./bounded.ts";
import { CacheLosses } from "./cache-losses.ts";
import type { Driver } from "./driver.ts";
import { failureReason } from "./failure-reason.ts";
import { type AccessLimits, HostAccess } from "./host-access.ts";
import { HostHealth, probeWithin, type HealthLimits } from "./host-health.ts";
import { DEFAULT_WATCH_LIMITS, HostWatcher, type WatchLimits } from "./host-watcher.ts";
import { LeaderGate } from "./leader-gate.ts";
import { type Answered, failedJob, prepareJob, type PreparedJob } from "./prepared-job.ts";
import { Slots } from "./slots.ts";
import { WARM_SEGMENTS_MAX, WarmSegments } from "./warm-segments.ts";
import { type RolloutWorkerMetrics, WorkerCounts } from "./worker-metrics.ts";

export type { RolloutWorkerMetrics } from "./worker-metrics.ts";

export interface RolloutWorkerLimits extends HealthLimits, WithdrawalLimits, AccessLimits, WatchLimits {
  /** How long to wait at the start for a host that is not up yet; 0 fails at once. */
  readonly startWaitMs: number;
  /** Jobs in hand, as a multiple of the host's sequences: above 1, so that a sequence does not idle while a report is on its way. */
  readonly jobsPerSequence: number;
  /** Jobs whose reported asks are remembered between two attempts. */
  readonly rememberedJobsMax: number;
  /** Memory for segments. */
  readonly segmentBytesMax: number;
  /** Segments that are known to be in the host's cache. */
  readonly warmSegmentsMax: number;
}

export const DEFAULT_ROLLOUT_WORKER_LIMITS: RolloutWorkerLimits = {
  startWaitMs: 0,
  jobsPerSequence: 1.5,
  rememberedJobsMax: 1_024,
  withdrawnAsksMax: 16_384,
  withdrawnMs: 5_000,
  recoveriesMax: 3,
  leaderTokensMin: 64,
  leaderMs: 30_000,
  segmentBytesMax: SEGMENT_CACHE_BYTES_MAX,
  warmSegmentsMax: WARM_SEGMENTS_MAX,
  probeMs: 60_000,
  downBackoffMs: 1_000,
  downBackoffMaxMs: 30_000,
  downMaxMs: 600_000,
  ...DEFAULT_WATCH_LIMITS,
};

export interface RolloutWorkerOptions {
  /** Unique among the workers of a coordinator. */
  readonly id: string;
  readonly hostId: string;
  /** GPUs that the host runs on. Absent: nobody said. */
  readonly gpus?: number;
  readonly driver: Driver;
  readonly lanes: Lanes;
  readonly link: CoordinatorLink;
  readonly clock: Clock;
  readonly log?: Log;
  readonly limits?: Partial<RolloutWorkerLimits>;
  /** Gives the start up. */
  readonly signal?: AbortSignal;
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
  const { hostId: id, driver, gpus } = options;
  const host: HostFacts = { id, engine: driver.engine, ...(gpus === undefined ? {} : { gpus }), ...facts };
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

class Worker implements RolloutWorker {
  readonly host: HostFacts;
  readonly ended: Promise<CoppiceError | null>;
  registration: Registration = { lanes: [], leaseMs: 0 };
  readonly #options: RolloutWorkerOptions;
  readonly #limits: RolloutWorkerLimits;
  readonly #log: Log;
  readonly #segments: SegmentCache;
  readonly #slots: Slots;
  readonly #gate: LeaderGate;
  readonly #losses: CacheLosses;
  readonly #watcher: HostWatcher;
  readonly #health: HostHealth;
  readonly #access: HostAccess;
  readonly #stop = new AbortController();
  readonly #inHand: AsksInHand;
  readonly #reported: Bounded<string, Set<string>>;
  readonly #counts = new WorkerCounts();
  #consumers: readonly LaneConsumer[] = [];
  #leaving: Promise<void> | null = null;
  #end: (why: CoppiceError | null) => void = () => undefined;

  constructor(options: RolloutWorkerOptions, host: HostFacts, limits: RolloutWorkerLimits) {
    const { clock, driver, link } = options;
    this.host = host;
    this.#options = options;
    this.#limits = limits;
    this.#log = (options.log ?? silentLog).child({ worker: options.id, host: host.id });
    this.#segments = createSegmentCache({ link, bytesMax: limits.segmentBytesMax });
    this.#reported = new Bounded(limits.rememberedJobsMax);
    this.#inHand = new AsksInHand(clock, limits);
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const warm = new WarmSegments({
      segmentsMax: limits.warmSegmentsMax,
      tokensMax: host.kvCapacityTokens ?? Infinity,
    });
    this.#slots = new Slots(host.concurrency);
    this.#gate = new LeaderGate({
      warm,
      leaderTokensMin: host.sharesColdPrefixes ? Infinity : limits.leaderTokensMin,
      onWaiting: () => this.#resizeLanes(),
    });
    this.#losses = new CacheLosses(() => this.#cacheLost(warm));
    const own = { clock, limits, log: this.#log, stop: this.#stop.signal };
    this.#health = new HostHealth({
      ...own,
      probe: (signal) => this.#probeAgain(signal),
      onBack: () => this.#losses.cameBack(),
      onLost: (why) => this.#hostLost(why),
    });
    this.#watcher = new HostWatcher({
      ...own,
      host,
      driver,
      link,
      losses: this.#losses,
      isUp: () => this.#health.isUp,
      onSilence: (why) => this.#suspect(why),
      inFlight: () => this.#slots.taken,
      onConcurrency: (concurrency) => {
        this.#slots.resize(concurrency);
        this.#resizeLanes();
      },
    });
    this.#access = new HostAccess({
      ...own,
      host,
      warm,
      gate: this.#gate,
      slots: this.#slots,
      health: this.#health,
      losses: this.#losses,
      watcher: this.#watcher,
      recovered: (failure, signal) => this.#health.suspect(failure, signal),
    });
  }

  async start(signal: AbortSignal): Promise<void> {
    const { link, lanes, id } = this.#options;
    link.onWithdraw((withdrawal) => this.#inHand.withdraw(withdrawal));
    this.registration = await link.connect({ id, offers: { kind: "rollout", host: this.host } }, signal);
    this.#consumers = this.registration.lanes.map((name) =>
      lanes.consume(name, {
        concurrency: this.#jobsMax(),
        handle: (delivery) => this.#handle(delivery),
        onError: (error) => this.#log.warn({ lane: name, message: error.message }, "lane_trouble"),
      }),
    );
    this.#watcher.start();
    this.#log.info({ ...this.host, lanes: this.registration.lanes }, "rollout_worker_started");
  }

  metrics(): RolloutWorkerMetrics {
    const { signals, failures, concurrency } = this.#watcher;
    return {
      ...this.#counts.totals,
      jobsInHand: this.#inHand.jobs,
      inFlight: this.#access.inFlight,
      concurrency,
      waitingForLeader: this.#gate.waiting,
      hostUp: this.#health.isUp ? 1 : 0,
      cacheLosses: this.#losses.count,
      signalFailures: failures,
      enginePromptTokensComputed: signals?.promptTokensComputed ?? null,
      enginePromptTokensCached: signals?.promptTokensCached ?? null,
    };
  }

  /** Jobs to have in hand: those whose asks wait for a leader leave the host free for others. */
  #jobsMax(): number {
    const { concurrency } = this.#watcher;
    const asks = concurrency + Math.min(this.#gate.waiting, concurrency);
    return Math.ceil(asks * this.#limits.jobsPerSequence);
  }

  #resizeLanes(): void {
    if (this.#leaving !== null) return;
    for (const consumer of this.#consumers) consumer.setConcurrency(this.#jobsMax());
  }

  #cacheLost(warm: WarmSegments): void {
    warm.clear();
    this.#log.info({ cache_losses: this.#losses.count }, "host_cache_lost");
    this.#watcher.tell();
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
      this.#log.info({ ...this.#counts.totals }, "rollout_worker_left");
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
      const prepared = await this.#prepare(delivery);
      if (prepared === null) return;
      const outcomes = await Promise.allSettled(
        asks.map((ask) => this.#answer(delivery, ask, { hands, prepared, reported })),
      );
      const failed = outcomes.find((outcome) => outcome.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      this.#reported.delete(job.id);
    } catch (error) {
      this.#counts.retried();
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
  async #prepare(delivery: Delivery): Promise<PreparedJob | null> {
    const { job } = delivery;
    const signal = AbortSignal.any([delivery.signal, this.#stop.signal]);
    const poison = poisonNote(delivery);
    if (poison !== null) return failedJob("killed_workers", poison);
    try {
      return await prepareJob(job, { segments: this.#segments, driver: this.#options.driver }, signal);
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
      return failedJob(reason, failure.message);
    }
  }

  /** Answers one ask and reports it; throws to have the job delivered again. */
  async #answer(
    delivery: Delivery,
    ask: RolloutAsk | VerificationAsk,
    {
      hands,
      prepared,
      reported,
    }: {
      readonly hands: ReadonlyMap<string, AskInHand>;
      readonly prepared: PreparedJob;
      readonly reported: Set<string>;
    },
  ): Promise<void> {
    const hand = hands.get(ask.id);
    if (hand === undefined) return;
    const lost = AbortSignal.any([delivery.signal, this.#stop.signal]);
    const signal = AbortSignal.any([lost, hand.abort.signal]);
    let answered: Answered;
    try {
      answered = await this.#access.answer(prepared(ask.id), hand, signal);
    } catch (error) {
      lost.throwIfAborted();
      const failure = asCoppiceError(error);
      if (hand.isWithdrawn) answered = { result: { kind: "cancelled" }, usage: hand.usage };
      else if (failure.isRetryable && mayTryAgain(failureReason(failure), delivery)) throw error;
      else {
        const result = { kind: "failure", reason: failureReason(failure), message: failure.message } as const;
        // What is not on record has cost nothing; what any other failure has cost is known as far as the driver told.
        answered = { result, usage: failure.code === "not_found" ? NO_TOKENS : hand.usage };
      }
    }
    lost.throwIfAborted();
    this.#counts.add(answered);
    await this.#options.link.report(this.#reportOf(delivery, ask.id, hand, answered));
    // Not a cancelled one: should the ask be wanted again by a later run, it is to be computed.
    if (answered.result.kind !== "cancelled") reported.add(ask.id);
  }

  /** Nobody waits for what is found: whoever has work asks the health. */
  #suspect(why: CoppiceError): void {
    this.#health.suspect(why, this.#stop.signal).catch(() => undefined);
  }

  /** The host is lost: leave, so that the coordinator places its jobs elsewhere. */
  #hostLost(why: CoppiceError): void {
    this.#stop.abort(why);
    if (this.#leaving !== null) return;
    this.#leaving = this.#leave(0, why);
    this.#leaving.catch((trouble: unknown) =>
      this.#log.warn({ message: messageOf(trouble) }, "leaving_failed"),
    );
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

  #reportOf(delivery: Delivery, ask: string, hand: AskInHand, { result, usage }: Answered): Report {
    const { job, attempt } = delivery;
    return {
      sweep: job.sweep,
      task: job.task,
      ask,
      job: job.id,
      // A host that went down under it and came back has begun it again.
      attempt: attempt + hand.recoveries,
      worker: this.#options.id,
      host: this.host.id,
      // A cut pair of surrogates would not survive the wire, and rows would differ by the link that carried them (I4).
      result: result.kind === "rollout" ? { ...result, text: result.text.toWellFormed() } : result,
      usage,
      startedMs: hand.startedMs,
      endedMs: this.#options.clock.nowMs(),
      ...(hand.firstTokenMs === null ? {} : { firstTokenMs: hand.firstTokenMs }),
    };
  }
}
