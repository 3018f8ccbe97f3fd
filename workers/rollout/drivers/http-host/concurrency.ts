/** How many rollouts a host has at once: what its user says, or what can be told from its size. Pure. */

/** A fixed number, or one that is found while the host works, between 1 and the most that makes sense. */
export type Concurrency = number | "auto";

/** What an adaptive host begins with where it does not say how much it holds. */
const START = 32;
/** It begins with at least so many: few rollouts are as long as the context allows. */
const START_MIN = 8;
/** The most that an adaptive host may have. */
export const CONCURRENCY_MAX = 1_024;
/** The shortest rollout that is thought of, prompt included, when the most is told from the KV cache's size. */
const SHORT_ROLLOUT_TOKENS = 256;

export interface HostSize {
  readonly contextTokens: number | null;
  readonly kvTokens: number | null;
  readonly sequencesMax: number | null;
  readonly hasSlots: boolean;
}

/** A host with slots has never more than these. */
export function concurrencyOf(
  asked: Concurrency,
  { contextTokens, kvTokens, sequencesMax, hasSlots }: HostSize,
): { readonly concurrency: number; readonly concurrencyMax: number } {
  const slots = hasSlots ? sequencesMax : null;
  if (asked !== "auto") {
    const fixed = Math.min(asked, slots ?? asked);
    return { concurrency: fixed, concurrencyMax: fixed };
  }
  if (slots !== null) return { concurrency: slots, concurrencyMax: slots };
  const whole = kvTokens === null || contextTokens === null ? START : Math.floor(kvTokens / contextTokens);
  const short = kvTokens === null ? CONCURRENCY_MAX : Math.floor(kvTokens / SHORT_ROLLOUT_TOKENS);
  const concurrencyMax = Math.max(1, Math.min(CONCURRENCY_MAX, short, sequencesMax ?? CONCURRENCY_MAX));
  const start = Math.min(START, Math.max(START_MIN, whole));
  return { concurrency: Math.min(start, concurrencyMax), concurrencyMax };
}
