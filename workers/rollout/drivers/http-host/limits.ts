/** How long a host may take, and how much it may say. */
import type { RetryLimits } from "../../../http-retry.ts";

export interface HttpHostLimits extends RetryLimits {
  /** Longest silence of the host within one request, its queue included. */
  readonly idleMs: number;
  /** Longest time of one request. */
  readonly requestMs: number;
  /** Longest time of one question of the probe. */
  readonly probeMs: number;
  /** Longest time of the question how it is doing. */
  readonly signalsMs: number;
  /** Bytes of one answer. */
  readonly answerBytesMax: number;
  /** Longest time of measuring how long its decoding steps take; where they take longer, it is not known. */
  readonly stepsMs: number;
  /** Within so long the host must have stopped a rollout whose connection was closed. */
  readonly abortMs: number;
  /** How often it is asked whether it has. */
  readonly abortPollMs: number;
}

export const DEFAULT_HTTP_HOST_LIMITS: HttpHostLimits = {
  idleMs: 300_000,
  requestMs: 3_600_000,
  probeMs: 15_000,
  signalsMs: 5_000,
  retriesMax: 3,
  backoffMs: 250,
  backoffMaxMs: 8_000,
  retryAfterMaxMs: 30_000,
  answerBytesMax: 64 * 1024 * 1024,
  stepsMs: 5_000,
  abortMs: 5_000,
  abortPollMs: 100,
};
