/**
 * Lanes: where jobs wait for a worker. One lane per host, one per kind of verifier. Two implementations pass
 * one conformance suite (test/conformance/lanes.ts): `memory-lanes.ts` for one process, `bullmq-lanes.ts` on Redis.
 *
 * The queue owns delivery, locks, stalls, retries and back-off. It promises at-least-once delivery: a job whose
 * worker dies is delivered again. It does not promise that a job survives the loss of the store; the coordinator's
 * rescuer asks `missing` and adds again.
 */
import type { Job } from "./job.ts";

/** Coordinator's side. Every method rejects with CoppiceError "unavailable" while the store cannot be reached. */
export interface Lane {
  readonly name: string;
  /** Adds jobs; one with an id that is already in the lane is ignored. First come, first served. */
  add(jobs: readonly Job[]): Promise<void>;
  /** Takes waiting jobs out, as far as they still wait; jobs that run or are unknown are left alone. */
  remove(jobIds: readonly string[]): Promise<void>;
  /** Of these ids, those that are neither waiting, delayed for a retry, nor running here. */
  missing(jobIds: readonly string[]): Promise<readonly string[]>;
  depth(): Promise<LaneDepth>;
  /** Stops delivery, takes out every job that does not run, forgets the lane; for a lane whose host is gone. */
  evacuate(): Promise<void>;
}

export interface LaneDepth {
  /** Jobs that wait, those delayed for a retry included. */
  readonly waiting: number;
  readonly running: number;
}

/** One try at one job, in a worker's hands. */
export interface Delivery {
  readonly job: Job;
  /** From 1. Deliveries after a lost worker (a stall) count too where the store knows them. */
  readonly attempt: number;
  /** Workers that were not heard of any more with it in hand, where the store knows them. */
  readonly workersLost?: number;
  /** No further attempt will follow a failure: report it instead of throwing. */
  readonly isLast: boolean;
  /** Aborts when this worker lost the job (lock lost, lane evacuated) or the consumer closes hard. */
  readonly signal: AbortSignal;
}

/**
 * Handles a delivery. Resolving completes the job and forgets it; it must resolve only once every report of the job is
 * acknowledged (I2). Throwing retries the job after a back-off, unless `delivery.isLast`, then the job is forgotten.
 */
export type JobHandler = (delivery: Delivery) => Promise<void>;

export interface ConsumerOptions {
  /** Jobs handled at once. */
  readonly concurrency: number;
  readonly handle: JobHandler;
  /** Told of trouble with the store itself (it retries by itself). */
  readonly onError: (error: Error) => void;
}

/** Worker's side of one lane. */
export interface LaneConsumer {
  setConcurrency(concurrency: number): void;
  /** Takes no more jobs; resolves when those in hand are done or `graceMs` is over. What is left will be redelivered. */
  drain(graceMs: number): Promise<void>;
}

/** The queue: hands out lanes. */
export interface Lanes {
  lane(name: string): Lane;
  consume(name: string, options: ConsumerOptions): LaneConsumer;
  /** Resolves when the store answers, rejects with "unavailable" and its address otherwise. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Limits of the queue, with their defaults (I7). */
export interface LaneLimits {
  /** Tries at one job before it is given up, lost workers not counted. */
  readonly attemptsMax: number;
  /** Deliveries lost with their worker before the job is given up (the rescuer will see it missing). */
  readonly stallsMax: number;
  /** First back-off of a retry; doubles each time. */
  readonly backoffMs: number;
  /** A worker that does not renew its lock for so long has lost the job. */
  readonly lockMs: number;
}

export const DEFAULT_LANE_LIMITS: LaneLimits = {
  attemptsMax: 4,
  stallsMax: 16,
  backoffMs: 250,
  lockMs: 5_000,
};
