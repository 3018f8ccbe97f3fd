/** What is believed of a task's solve rate, the chance that one more rollout of it is correct: a beta distribution. Pure. */
import type { TaskProgress } from "./allocator.ts";

/** Beta(successes, failures). Both infinite in effect where the rate is known: see `knownRate`. */
export interface SolveRate {
  /** Chance that the next rollout is correct. */
  readonly mean: number;
  /** Pseudo-counts behind it; Infinity: the rate is known. */
  readonly strength: number;
}

/** Pairs with more mass on small and on large rates than between are common: strengths from well below 1. */
const STRENGTHS = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64];
const MEANS = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
/** Before anything is known: half, as little as possible behind it (Jeffreys). */
const IGNORANCE: SolveRate = { mean: 0.5, strength: 1 };

/**
 * The prior under which what the tasks have shown is most likely (empirical Bayes): the maximum over a grid of
 * sum_i ln B(a + c_i, b + n_i - c_i) - ln B(a, b). That a task was stopped at its first correct candidate does not change
 * the likelihood.
 */
export function fitSolveRate(tasks: readonly Pick<TaskProgress, "judged" | "correct">[]): SolveRate {
  const seen = Map.groupBy(
    tasks.filter(({ judged }) => judged > 0),
    ({ judged, correct }) => `${correct} of ${judged}`,
  );
  let best = IGNORANCE;
  let highest = -Infinity;
  for (const strength of STRENGTHS) {
    for (const mean of MEANS) {
      let sum = 0;
      for (const alike of seen.values())
        if (alike[0] !== undefined) sum += alike.length * logLikelihood({ mean, strength }, alike[0]);
      if (seen.size > 0 && sum > highest) [best, highest] = [{ mean, strength }, sum];
    }
  }
  return best;
}

/** What is believed once the task's verdicts are known too. */
export function posterior(
  { mean, strength }: SolveRate,
  { judged, correct }: Pick<TaskProgress, "judged" | "correct">,
): SolveRate {
  if (strength === Infinity || judged === 0) return { mean, strength };
  return { mean: (mean * strength + correct) / (strength + judged), strength: strength + judged };
}

/**
 * Chance that of further rollouts the one after `failures` is the first that is correct: E[p (1 - p)^failures]. For a known
 * rate that is Damani's gain, lambda (1 - lambda)^failures. Never rises with `failures`.
 */
export function* gains({ mean, strength }: SolveRate): Generator<number, never> {
  let gain = mean;
  for (let failures = 0; ; failures += 1) {
    yield gain;
    if (strength === Infinity) gain *= 1 - mean;
    else gain *= ((1 - mean) * strength + failures) / (strength + failures + 1);
  }
}

/** ln B(a + c, b + n - c) - ln B(a, b), as a sum over the n verdicts. */
function logLikelihood(
  { mean, strength }: SolveRate,
  { judged, correct }: Pick<TaskProgress, "judged" | "correct">,
): number {
  let sum = 0;
  for (let i = 0; i < correct; i += 1) sum += Math.log((mean * strength + i) / (strength + i));
  for (let i = 0; i < judged - correct; i += 1)
    sum += Math.log(((1 - mean) * strength + i) / (strength + correct + i));
  return sum;
}
