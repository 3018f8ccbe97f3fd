/** Accounts of what was used, where absent is not zero (I8): a sum with an unknown part is unknown. */
import type { AttemptUsage } from "../queue/job.ts";
import type { Usage } from "./status.ts";

export const USAGE_KEYS = [
  "prompt_tokens",
  "cached_tokens",
  "computed_tokens",
  "completion_tokens",
  "verifier_tokens",
  "pruned_tokens",
  "cancelled_tokens",
  "retried_tokens",
  "gpu_seconds",
  "flops",
] as const satisfies readonly (keyof Usage)[];

export const NO_USAGE: Usage = usageOf(() => 0);

/** null is unknown and stays unknown. */
export function addKnown(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b;
}

export function addUsage(a: Usage, b: Usage): Usage {
  return usageOf((key) => addKnown(a[key], b[key]));
}

function usageOf(of: (key: keyof Usage) => number | null): Usage {
  const made: Partial<Record<keyof Usage, number | null>> = {};
  for (const key of USAGE_KEYS) made[key] = of(key);
  // Every key has its value now.
  return made as Usage;
}

/** A rollout that was accepted. */
export function rolloutUsage(usage: AttemptUsage): Usage {
  return {
    ...NO_USAGE,
    prompt_tokens: usage.promptTokens,
    cached_tokens: usage.cachedTokens,
    computed_tokens: computedTokens(usage),
    completion_tokens: usage.completionTokens,
  };
}

/** A verification. One that used no model reports that it used no tokens. */
export function verificationUsage(usage: AttemptUsage): Usage {
  return { ...NO_USAGE, verifier_tokens: addKnown(usage.promptTokens, usage.completionTokens) };
}

/** An ask that was withdrawn, as far as it had got. */
export function cancelledUsage(usage: AttemptUsage): Usage {
  return { ...NO_USAGE, cancelled_tokens: usage.completionTokens };
}

/** An ask that was lost: what its last attempt had generated is of no use to anybody. */
export function lostUsage(usage: AttemptUsage): Usage {
  return { ...NO_USAGE, retried_tokens: usage.completionTokens };
}

/** Prompt tokens that the host did not take from its cache. */
function computedTokens({ promptTokens, cachedTokens }: AttemptUsage): number | null {
  return promptTokens === null || cachedTokens === null ? null : promptTokens - cachedTokens;
}

/**
 * Of a forward pass over the tokens that were computed, prompt and completion: 2 for each parameter and token (Kaplan et al. 2020,
 * "Scaling Laws for Neural Language Models", section 2.1: C = 2N, a multiplication and an addition by each weight; attention over
 * the context, 2 * layers * context * width for each token, is left out as there).
 */
export function flopsOf(usage: AttemptUsage, parameters: number | null): number | null {
  const tokens = addKnown(computedTokens(usage), usage.completionTokens);
  return tokens === 0 ? 0 : tokens === null || parameters === null ? null : 2 * parameters * tokens;
}
