import type { Answered } from "./prepared-job.ts";

/** What the worker has done since it started. Token counts are of what was reported; what was not is counted beside (I8). */
export interface RolloutWorkerMetrics {
  readonly jobsInHand: number;
  /** Asks with the driver. */
  readonly inFlight: number;
  /** Asks that the host may have at once now. */
  readonly concurrency: number;
  /** Asks that wait for another to bring their prefix into the host's cache. */
  readonly waitingForLeader: number;
  /** 1 while the host is up, else 0. */
  readonly hostUp: number;
  /** How often the host lost all that it had cached. */
  readonly cacheLosses: number;
  /** Looks at the engine that failed. */
  readonly signalFailures: number;
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
  /** Prompt tokens that the engine says it computed and took from its cache, for other clients too; null: it does not say. */
  readonly enginePromptTokensComputed: number | null;
  readonly enginePromptTokensCached: number | null;
}

const NOTHING = {
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

/** What the worker counts up itself. */
export class WorkerCounts {
  readonly #totals = { ...NOTHING };

  get totals(): Readonly<typeof NOTHING> {
    return this.#totals;
  }

  /** A delivery that failed is left to the lane. */
  retried(): void {
    this.#totals.retries += 1;
  }

  /** An answer that is about to be reported. */
  add({ result, usage }: Answered): void {
    const totals = this.#totals;
    if (result.kind === "failure") totals.failures += 1;
    else if (result.kind === "cancelled") totals.cancelled += 1;
    else if (result.kind === "verdict") totals.verifications += 1;
    else {
      totals.rollouts += 1;
      totals.promptTokens += usage.promptTokens ?? 0;
      totals.cachedTokens += usage.cachedTokens ?? 0;
      totals.completionTokens += usage.completionTokens ?? 0;
      if (usage.cachedTokens === null) totals.cachedTokensUnknown += 1;
      if (usage.completionTokens === null) totals.completionTokensUnknown += 1;
    }
  }
}
