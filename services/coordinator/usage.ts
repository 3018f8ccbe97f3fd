/** Token accounts where absent is not zero (I8): a sum with an unknown part is unknown. */
import type { AttemptUsage } from "../queue/job.ts";
import type { Usage } from "./status.ts";

export const NO_USAGE: Usage = {
  prompt_tokens: 0,
  cached_tokens: 0,
  completion_tokens: 0,
  verifier_tokens: 0,
  pruned_tokens: 0,
  cancelled_tokens: 0,
  retried_tokens: 0,
};

/** null is unknown and stays unknown. */
export function addKnown(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a + b;
}

export function addUsage(a: Usage, b: Usage): Usage {
  return {
    prompt_tokens: addKnown(a.prompt_tokens, b.prompt_tokens),
    cached_tokens: addKnown(a.cached_tokens, b.cached_tokens),
    completion_tokens: addKnown(a.completion_tokens, b.completion_tokens),
    verifier_tokens: addKnown(a.verifier_tokens, b.verifier_tokens),
    pruned_tokens: addKnown(a.pruned_tokens, b.pruned_tokens),
    cancelled_tokens: addKnown(a.cancelled_tokens, b.cancelled_tokens),
    retried_tokens: addKnown(a.retried_tokens, b.retried_tokens),
  };
}

/** A rollout that was accepted. What its lost attempts had generated before is not known to anybody. */
export function rolloutUsage(usage: AttemptUsage, attempt: number): Usage {
  return {
    ...NO_USAGE,
    prompt_tokens: usage.promptTokens,
    cached_tokens: usage.cachedTokens,
    completion_tokens: usage.completionTokens,
    retried_tokens: attempt === 1 ? 0 : null,
  };
}

/** A verification. One that used no model reports that it used no tokens. */
export function verificationUsage(usage: AttemptUsage): Usage {
  return { ...NO_USAGE, verifier_tokens: addKnown(usage.promptTokens, usage.completionTokens) };
}

/** A withdrawn ask, as far as it had got. */
export function cancelledUsage(usage: AttemptUsage): Usage {
  return { ...NO_USAGE, cancelled_tokens: usage.completionTokens };
}

/** A lost ask: what its last attempt had generated is of no use to anybody. */
export function lostUsage(usage: AttemptUsage): Usage {
  return { ...NO_USAGE, retried_tokens: usage.completionTokens };
}
