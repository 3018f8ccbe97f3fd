/** Tries again after a failed exchange where the same question may be answered soon. */
import { sleep, type Clock } from "../services/runtime/clock.ts";
import { asCoppiceError, type CoppiceError } from "../services/runtime/errors.ts";
import type { Random } from "../services/runtime/random.ts";
import { refusalOf } from "./http-exchange.ts";

export interface RetryLimits {
  /** Tries again, here, before the failure goes to the lane. */
  readonly retriesMax: number;
  /** First back-off; doubles each time, up to `backoffMaxMs`; half of it is chance. */
  readonly backoffMs: number;
  readonly backoffMaxMs: number;
  /** A host that asks by Retry-After for more than this is left to the lane's back-off. */
  readonly retryAfterMaxMs: number;
}

export interface RetryOptions {
  readonly clock: Clock;
  /** For the jitter of back-offs. */
  readonly random: Random;
  readonly limits: RetryLimits;
  readonly signal: AbortSignal;
}

/** Rejects with the last attempt's error, or with the signal's reason as soon as it aborts. */
export async function retryExchange<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, signal } = options;
  for (let retry = 0; ; retry += 1) {
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      const waitMs = waitBeforeRetryMs(asCoppiceError(error), retry, options);
      if (waitMs === null) throw error;
      await sleep(clock, waitMs, signal);
    }
  }
}

/** Null: do not try again here. Rubbish is left to the lane: a host that sends it sends it again at once. */
function waitBeforeRetryMs(
  error: CoppiceError,
  retry: number,
  { limits, random }: RetryOptions,
): number | null {
  const isWorthIt = error.code === "unavailable" || error.code === "resource_exhausted";
  if (!error.isRetryable || !isWorthIt || retry >= limits.retriesMax) return null;
  const asked = refusalOf(error)?.retryAfterMs ?? null;
  if (asked !== null && asked > limits.retryAfterMaxMs) return null;
  const backoffMs = Math.min(limits.backoffMs * 2 ** retry, limits.backoffMaxMs);
  return Math.max(asked ?? 0, backoffMs * (0.5 + random.next() / 2));
}
