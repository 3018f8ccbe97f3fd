/**
 * Lanes in one process: for the embedded default, the simulator and tests. No store, so nothing survives the process;
 * the coordinator's journal does. Deterministic under a virtual clock and a seeded Random.
 *
 * 1. A job is in exactly one place: waiting, delayed or running (`place`); `gone` once it is forgotten.
 * 2. Only the delivery that an entry points to may settle it: what a released or evacuated handler says later changes
 *    nothing (I1).
 * 3. Handlers never run inside a caller's `add`: deliveries begin in a microtask of their own.
 */
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import type { Random } from "../runtime/random.ts";
import type { Job } from "./job.ts";
import { DEFAULT_LANE_LIMITS } from "./lanes.ts";
import type { ConsumerOptions, Delivery, Lane, LaneConsumer, LaneLimits, Lanes } from "./lanes.ts";
import { checkConcurrency, checkJobId, checkLaneName } from "./names.ts";

/** The part of a back-off that chance may take off, so that retries of siblings do not march in step. */
export const BACKOFF_JITTER = 0.5;

export interface MemoryLanesOptions {
  readonly clock: Clock;
  /** For the jitter of back-offs. */
  readonly random: Random;
  readonly limits?: LaneLimits;
}

interface Entry {
  readonly job: Job;
  place: "waiting" | "delayed" | "running" | "gone";
  /** Attempts that failed. */
  failures: number;
  /** Deliveries lost because their consumer left. */
  stalls: number;
  timer: Timer | null;
  hand: Hand | null;
}

/** One delivery in a consumer's hands. */
interface Hand {
  readonly controller: AbortController;
  readonly consumer: Consumer;
}

interface Consumer {
  concurrency: number;
  readonly handle: ConsumerOptions["handle"];
  readonly inHand: Set<Entry>;
  /** Handlers that have not returned yet, the released ones included: they still take up room. */
  busy: number;
  isLeaving: boolean;
  /** Told whenever a handler returned. */
  onReturn: (() => void) | null;
}

interface LaneState {
  readonly name: string;
  readonly entries: Map<string, Entry>;
  /** First come, first served; may hold entries that no longer wait, which are skipped. */
  queue: Entry[];
  head: number;
  readonly consumers: Set<Consumer>;
  isPumpDue: boolean;
}

/** @returns Lanes whose coordinator's and worker's sides are this one object. */
export function createMemoryLanes(options: MemoryLanesOptions): Lanes {
  const limits = options.limits ?? DEFAULT_LANE_LIMITS;
  const lanes = new Map<string, LaneState>();
  const leave: (() => Promise<void>)[] = [];
  let isClosed = false;

  const stateOf = (name: string): LaneState => {
    checkLaneName(name);
    const found = lanes.get(name);
    if (found !== undefined) return found;
    const made: LaneState = {
      name,
      entries: new Map(),
      queue: [],
      head: 0,
      consumers: new Set(),
      isPumpDue: false,
    };
    lanes.set(name, made);
    return made;
  };
  const assertOpen = (): void => {
    if (isClosed) throw new CoppiceError("failed_precondition", "these lanes are closed");
  };
  return {
    lane(name) {
      assertOpen();
      return createLane(stateOf(name), { options, limits, assertOpen });
    },
    consume(name, consumerOptions) {
      assertOpen();
      const consumer = createConsumer(stateOf(name), consumerOptions, { options, limits });
      leave.push(() => consumer.drain(0));
      return consumer;
    },
    ping: () => Promise.resolve(),
    async close() {
      if (isClosed) return;
      isClosed = true;
      await Promise.all(leave.map((drain) => drain()));
      for (const state of lanes.values()) forgetAll(state, "the lanes were closed");
      lanes.clear();
    },
  };
}

interface Shared {
  readonly options: MemoryLanesOptions;
  readonly limits: LaneLimits;
}

function createLane(state: LaneState, shared: Shared & { readonly assertOpen: () => void }): Lane {
  return {
    name: state.name,
    async add(jobs) {
      shared.assertOpen();
      for (const job of jobs) checkJobId(job.id, state.name);
      for (const job of jobs) {
        if (state.entries.has(job.id)) continue;
        const entry: Entry = { job, place: "waiting", failures: 0, stalls: 0, timer: null, hand: null };
        state.entries.set(job.id, entry);
        state.queue.push(entry);
      }
      pumpSoon(state, shared);
    },
    async remove(jobIds) {
      shared.assertOpen();
      for (const id of jobIds) {
        const entry = state.entries.get(id);
        if (entry !== undefined && entry.place !== "running") forget(state, entry);
      }
    },
    async missing(jobIds) {
      shared.assertOpen();
      return jobIds.filter((id) => !state.entries.has(id));
    },
    async depth() {
      shared.assertOpen();
      let running = 0;
      for (const entry of state.entries.values()) if (entry.place === "running") running += 1;
      return { waiting: state.entries.size - running, running };
    },
    async evacuate() {
      shared.assertOpen();
      forgetAll(state, `lane ${state.name} was evacuated`);
    },
  };
}

function createConsumer(state: LaneState, options: ConsumerOptions, shared: Shared): LaneConsumer {
  checkConcurrency(options.concurrency, state.name);
  const consumer: Consumer = {
    concurrency: options.concurrency,
    handle: options.handle,
    inHand: new Set(),
    busy: 0,
    isLeaving: false,
    onReturn: null,
  };
  state.consumers.add(consumer);
  pumpSoon(state, shared);
  let left: Promise<void> | null = null;
  return {
    setConcurrency(concurrency) {
      checkConcurrency(concurrency, state.name);
      consumer.concurrency = concurrency;
      pumpSoon(state, shared);
    },
    drain(graceMs) {
      consumer.isLeaving = true;
      left ??= handsEmpty(consumer, graceMs, shared.options.clock).then(() => {
        state.consumers.delete(consumer);
        for (const entry of [...consumer.inHand].toReversed()) release(state, entry, shared);
        pumpSoon(state, shared);
      });
      return left;
    },
  };
}

/** Resolves when the consumer holds nothing more, or after `graceMs`. */
function handsEmpty(consumer: Consumer, graceMs: number, clock: Clock): Promise<void> {
  if (consumer.inHand.size === 0 || graceMs <= 0) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = clock.after(graceMs, resolve, { keepAlive: true });
    consumer.onReturn = () => {
      if (consumer.inHand.size > 0) return;
      timer.cancel();
      resolve();
    };
  });
}

function pumpSoon(state: LaneState, shared: Shared): void {
  if (state.isPumpDue) return;
  state.isPumpDue = true;
  queueMicrotask(() => {
    state.isPumpDue = false;
    for (;;) {
      const consumer = idlest(state.consumers);
      const entry = consumer === null ? null : nextWaiting(state);
      if (consumer === null || entry === null) return;
      deliver(state, entry, { ...shared, consumer });
    }
  });
}

/** The consumer with the smallest share of its room in use; null when all are full. Ties go to the one that came first. */
function idlest(consumers: ReadonlySet<Consumer>): Consumer | null {
  let best: Consumer | null = null;
  for (const consumer of consumers) {
    if (consumer.isLeaving || consumer.busy >= consumer.concurrency) continue;
    if (best === null || consumer.busy / consumer.concurrency < best.busy / best.concurrency) best = consumer;
  }
  return best;
}

/** Takes the first entry that still waits. Amortised constant time: the spent head is cut off once it is half of all. */
function nextWaiting(state: LaneState): Entry | null {
  for (;;) {
    const entry = state.queue[state.head];
    if (entry === undefined) {
      state.queue = [];
      state.head = 0;
      return null;
    }
    state.head += 1;
    if (state.head > 1024 && state.head * 2 > state.queue.length) {
      state.queue = state.queue.slice(state.head);
      state.head = 0;
    }
    if (entry.place === "waiting") return entry;
  }
}

function deliver(state: LaneState, entry: Entry, at: Shared & { readonly consumer: Consumer }): void {
  const hand: Hand = { controller: new AbortController(), consumer: at.consumer };
  entry.place = "running";
  entry.hand = hand;
  at.consumer.inHand.add(entry);
  at.consumer.busy += 1;
  const delivery: Delivery = {
    job: entry.job,
    attempt: entry.failures + entry.stalls + 1,
    isLast: entry.failures + 1 >= at.limits.attemptsMax,
    signal: hand.controller.signal,
  };
  const settle = (isDone: boolean): void => {
    at.consumer.busy -= 1;
    if (entry.hand === hand) {
      if (isDone || delivery.isLast) forget(state, entry);
      else retryLater(state, entry, at);
    }
    at.consumer.onReturn?.();
    pumpSoon(state, at);
  };
  void invoke(at.consumer.handle, delivery).then(settle);
}

/** True when the handler resolved, false when it threw in whatever way. */
async function invoke(handle: ConsumerOptions["handle"], delivery: Delivery): Promise<boolean> {
  try {
    await handle(delivery);
    return true;
  } catch {
    return false;
  }
}

function retryLater(state: LaneState, entry: Entry, shared: Shared): void {
  leaveHand(entry);
  entry.place = "delayed";
  const fullMs = shared.limits.backoffMs * 2 ** entry.failures;
  const delayMs = Math.floor(
    fullMs * (1 - BACKOFF_JITTER) + shared.options.random.next() * fullMs * BACKOFF_JITTER,
  );
  entry.failures += 1;
  entry.timer = shared.options.clock.after(
    delayMs,
    () => {
      entry.timer = null;
      entry.place = "waiting";
      state.queue.push(entry);
      pumpSoon(state, shared);
    },
    { keepAlive: true },
  );
}

/** Gives a job back that its consumer did not finish: first in line, unless it was lost too often. */
function release(state: LaneState, entry: Entry, shared: Shared): void {
  const controller = entry.hand?.controller;
  leaveHand(entry);
  entry.stalls += 1;
  if (entry.stalls > shared.limits.stallsMax) {
    forget(state, entry);
  } else {
    entry.place = "waiting";
    state.queue.splice(0, state.head, entry);
    state.head = 0;
  }
  controller?.abort(lost(entry, `the consumer of lane ${state.name} left`));
}

function forget(state: LaneState, entry: Entry): void {
  entry.timer?.cancel();
  entry.timer = null;
  leaveHand(entry);
  entry.place = "gone";
  state.entries.delete(entry.job.id);
}

function forgetAll(state: LaneState, reason: string): void {
  for (const entry of state.entries.values()) {
    const controller = entry.hand?.controller;
    const consumer = entry.hand?.consumer;
    forget(state, entry);
    controller?.abort(lost(entry, reason));
    consumer?.onReturn?.();
  }
  state.queue = [];
  state.head = 0;
}

function leaveHand(entry: Entry): void {
  entry.hand?.consumer.inHand.delete(entry);
  entry.hand = null;
}

function lost(entry: Entry, reason: unknown): CoppiceError {
  return new CoppiceError("aborted", `job ${entry.job.id} was taken from this worker: ${messageOf(reason)}`);
}
