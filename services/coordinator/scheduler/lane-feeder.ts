/**
 * Adds jobs to one lane, in order, and goes on trying while the store is away: "Redis is down" delays a sweep, it
 * does not fail one. Writing twice is safe: a lane ignores a job id that it holds.
 */
import type { Clock } from "../../runtime/clock.ts";
import { sleep } from "../../runtime/clock.ts";
import { messageOf } from "../../runtime/errors.ts";
import type { Job } from "../../queue/job.ts";
import type { Lane } from "../../queue/lanes.ts";

export interface FeederLimits {
  /** Jobs added in one call. */
  readonly feedBatchMax: number;
  /** First and longest wait after a failed call; doubles between them. */
  readonly feedBackoffMs: number;
  readonly feedBackoffMaxMs: number;
}

export class LaneFeeder {
  readonly #lane: Lane;
  readonly #clock: Clock;
  readonly #limits: FeederLimits;
  readonly #onTrouble: (message: string) => void;
  readonly #closing = new AbortController();
  #jobs: Job[] = [];
  #running: Promise<void> | null = null;

  constructor(
    lane: Lane,
    options: {
      readonly clock: Clock;
      readonly limits: FeederLimits;
      readonly onTrouble: (message: string) => void;
    },
  ) {
    this.#lane = lane;
    this.#clock = options.clock;
    this.#limits = options.limits;
    this.#onTrouble = options.onTrouble;
  }

  push(job: Job): void {
    this.#jobs.push(job);
    this.#running ??= this.#run();
  }

  /** Forgets jobs that were not added yet: their host is gone. */
  clear(): void {
    this.#jobs = [];
  }

  async close(): Promise<void> {
    this.#jobs = [];
    this.#closing.abort(new Error("closed"));
    await this.#running;
  }

  async #run(): Promise<void> {
    // One turn gathers all that a dispatch pass pushes.
    await new Promise((resolve) => setImmediate(resolve));
    let backoffMs = this.#limits.feedBackoffMs;
    while (this.#jobs.length > 0 && !this.#closing.signal.aborted) {
      const batch = this.#jobs.slice(0, this.#limits.feedBatchMax);
      try {
        await this.#lane.add(batch);
        const added = new Set(batch);
        this.#jobs = this.#jobs.filter((job) => !added.has(job));
        backoffMs = this.#limits.feedBackoffMs;
      } catch (error) {
        this.#onTrouble(
          `lane ${this.#lane.name}: cannot add ${batch.length} jobs, will try again: ${messageOf(error)}`,
        );
        await sleep(this.#clock, backoffMs, this.#closing.signal).catch(() => undefined);
        backoffMs = Math.min(backoffMs * 2, this.#limits.feedBackoffMaxMs);
      }
    }
    this.#running = null;
  }
}
