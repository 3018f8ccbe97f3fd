/**
 * A worker's side of a lane on Redis: a BullMQ Worker told in the words of `lanes.ts`.
 *
 * 1. BullMQ does not abort a job whose lock was lost; `lockRenewalFailed` does it here.
 * 2. BullMQ's loop does not back off on errors that are not the connection's: many errors in a second pause it here.
 * 3. A drain that runs out of grace gives its jobs back at once, so that they need not wait for their locks to expire.
 *    Dying without a drain leaves them to the stall check of the other workers: 1 to 2 times `lockMs`.
 * 4. No error event of BullMQ is left without a listener.
 */
import { Worker } from "bullmq";
import type { Job as BullmqJob } from "bullmq";
import type { Redis } from "ioredis";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Job } from "./job.ts";
import type { ConsumerOptions, LaneConsumer, LaneLimits } from "./lanes.ts";
import { checkConcurrency } from "./names.ts";
import type { StoreLimits } from "./redis-store.ts";

export interface BullmqConsumerContext {
  readonly queueName: string;
  readonly connection: Redis;
  readonly prefix: string;
  readonly limits: LaneLimits;
  readonly store: StoreLimits;
  readonly clock: Clock;
}

/** Seconds that an idle worker waits for a job before it asks again. */
const IDLE_POLL_SECONDS = 5;

/** Different messages remembered for not telling them twice. */
const MESSAGES_MAX = 64;

/** One delivery in this worker's hands. */
interface Hand {
  readonly job: BullmqJob<Job>;
  readonly token: string;
  readonly controller: AbortController;
  /** Rejecting it ends BullMQ's wait for the handler. */
  readonly release: PromiseWithResolvers<never>;
}

export function createBullmqConsumer(
  lane: string,
  options: ConsumerOptions,
  context: BullmqConsumerContext,
): LaneConsumer {
  checkConcurrency(options.concurrency, lane);
  const { limits, store, clock } = context;
  const hands = new Map<string, Hand>();
  let left: Promise<void> | null = null;
  /** Called when the last delivery leaves this worker's hands. */
  let onEmptyHands = (): void => {};
  const tell = createTeller(options.onError, { clock, intervalMs: store.errorIntervalMs });

  const handle = async (job: BullmqJob<Job>, token: string): Promise<void> => {
    const id = job.id ?? job.data.id;
    const hand: Hand = {
      job,
      token,
      controller: new AbortController(),
      release: Promise.withResolvers<never>(),
    };
    hands.get(id)?.controller.abort(lost(id, `it was delivered to this worker again`));
    hands.set(id, hand);
    const delivery = {
      job: job.data,
      attempt: job.attemptsMade + job.stalledCounter + 1,
      workersLost: job.stalledCounter,
      isLast: job.attemptsMade + 1 >= (job.opts.attempts ?? 1),
      signal: hand.controller.signal,
    };
    try {
      await Promise.race([options.handle(delivery), hand.release.promise]);
    } catch (error) {
      // An error of our own kind: BullMQ gives meaning to some names and messages of errors.
      throw new Error(`job ${id} of lane ${lane} failed: ${messageOf(error)}`, { cause: error });
    } finally {
      if (hands.get(id) === hand) hands.delete(id);
      if (hands.size === 0) onEmptyHands();
    }
  };
  const worker = new Worker<Job>(context.queueName, (job, token) => handle(job, token ?? ""), {
    connection: context.connection,
    prefix: context.prefix,
    concurrency: options.concurrency,
    lockDuration: limits.lockMs,
    stalledInterval: Math.ceil(limits.lockMs / 2),
    maxStalledCount: limits.stallsMax,
    drainDelay: IDLE_POLL_SECONDS,
    runRetryDelay: store.reconnectMsMax,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  });
  const breaker = createBreaker(worker, { clock, store });
  worker.on("lockRenewalFailed", (ids) => {
    for (const id of ids) hands.get(id)?.controller.abort(lost(id, `its lock on lane ${lane} was lost`));
  });
  worker.on("error", (error) => {
    if (left !== null) return;
    tell(error);
    breaker.count();
  });

  const giveBack = async (hand: Hand): Promise<void> => {
    const id = hand.job.id ?? hand.job.data.id;
    // First back on the lane, then aborted: a handler that throws upon the abort must not use up an attempt.
    await within(hand.job.moveToWait(hand.token), store.commandMs, clock);
    const reason = lost(id, `the consumer of lane ${lane} left`);
    hand.controller.abort(reason);
    hand.release.reject(reason);
  };
  const leave = async (graceMs: number): Promise<void> => {
    breaker.stop();
    const closed = worker.close();
    // The grace is for deliveries. With none in hand, close waits for the store alone, and that may be away.
    const emptied = hands.size === 0 ? Promise.resolve() : new Promise<void>((done) => (onEmptyHands = done));
    await within(Promise.race([closed, emptied]), graceMs, clock);
    await Promise.all([...hands.values()].map(giveBack));
    await within(closed, store.commandMs, clock);
  };
  return {
    setConcurrency(concurrency) {
      checkConcurrency(concurrency, lane);
      worker.concurrency = concurrency;
    },
    drain(graceMs) {
      left ??= leave(graceMs);
      return left;
    },
  };
}

function lost(jobId: string, reason: string): CoppiceError {
  return new CoppiceError("aborted", `job ${jobId} was taken from this worker: ${reason}`);
}

/** True when `work` settled, in whatever way, within `deadlineMs`. Never rejects. */
function within(work: Promise<unknown>, deadlineMs: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(deadlineMs, () => resolve(false), { keepAlive: true });
    const settle = (): void => {
      timer.cancel();
      resolve(true);
    };
    work.then(settle, settle);
  });
}

/** Tells each message once per interval. */
function createTeller(
  onError: (error: Error) => void,
  options: { readonly clock: Clock; readonly intervalMs: number },
): (error: Error) => void {
  const toldMs = new Map<string, number>();
  return (error) => {
    const message = messageOf(error);
    const nowMs = options.clock.monotonicMs();
    const last = toldMs.get(message);
    if (last !== undefined && nowMs - last < options.intervalMs) return;
    if (toldMs.size >= MESSAGES_MAX) toldMs.clear();
    toldMs.set(message, nowMs);
    onError(error);
  };
}

/** Pauses a worker whose errors come thick and fast; see (2). */
function createBreaker(
  worker: Pick<Worker, "pause" | "resume">,
  options: { readonly clock: Clock; readonly store: StoreLimits },
): { count(): void; stop(): void } {
  const { clock, store } = options;
  let sinceMs = clock.monotonicMs();
  let errors = 0;
  let isPaused = false;
  let isStopped = false;
  return {
    count() {
      const nowMs = clock.monotonicMs();
      if (nowMs - sinceMs > 1_000) {
        sinceMs = nowMs;
        errors = 0;
      }
      errors += 1;
      if (errors < store.errorsPerSecondMax || isPaused || isStopped) return;
      isPaused = true;
      void worker.pause(true).catch(() => {});
      clock.after(store.pauseMs, () => {
        isPaused = false;
        errors = 0;
        if (!isStopped) void worker.resume().catch(() => {});
      });
    },
    stop() {
      isStopped = true;
    },
  };
}
