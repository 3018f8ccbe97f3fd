/** What one task adds to the estimates of its arm: computed once, as it settles, and journaled as a few numbers. */
import { createRandom } from "../runtime/random.ts";
import { bestOfAtK, estimateKs } from "../search/estimators.ts";
import type { Candidate, Selection } from "../search/program.ts";
import { byScore, scoreOf } from "../search/selection.ts";
import { type Vote, voteAtKs } from "../search/vote-estimators.ts";

/** Each list goes with `estimateKs(judged)`. pass@k and pass^k need no more than the tally's `judged` and `correct`. */
export interface TaskEstimates {
  readonly bestOf: readonly number[];
  readonly majority: readonly number[];
  readonly weighted: readonly number[];
  /** Candidates with an answer: where a whole arm has none, its verifier reads none, and votes mean nothing. */
  readonly answers: number;
}

/**
 * Votes drawn for each k. The spread that drawing adds to one problem's estimate is at most 0.5 / sqrt(resamples), in a mean
 * over problems less by the square root of their number.
 */
export const RESAMPLES_MAX = 1_000;
/** Where n is so large that this many would keep the coordinator from its work, fewer are drawn, but never fewer than these. */
export const RESAMPLES_MIN = 200;
/** Votes that are cast for one task before fewer subsets are drawn: about 10 ms. */
export const RESAMPLED_VOTES_MAX = 300_000;

/** The candidates that have a verdict, and how the search chose among them. */
export interface JudgedTask {
  readonly judged: readonly Candidate[];
  /** Null where the search was cut off. */
  readonly selection: Selection | null;
  /** Of the random subsets: derived from names alone, so that the numbers are the same on every run (I4). */
  readonly seed: number;
}

/** Null where rollouts are no independent samples: then k of them are not what a search with k samples would see. */
export function estimateTask(
  strategy: { readonly isIndependentSampling: boolean },
  { judged, selection, seed }: JudgedTask,
): TaskEstimates | null {
  if (!strategy.isIndependentSampling) return null;
  const ks = estimateKs(judged.length);
  const ranked = judged
    .map((candidate) => ({
      index: candidate.index,
      score: rankingScore(candidate, selection),
      weight: voteWeight(candidate, selection),
      isCorrect: candidate.verdict?.verdict === "correct",
      answer: candidate.verdict?.answer ?? null,
    }))
    .toSorted((a, b) => a.index - b.index);
  const values = ranked.toSorted(byScore).map(({ isCorrect }) => Number(isCorrect));
  const resamples = Math.max(
    RESAMPLES_MIN,
    Math.min(RESAMPLES_MAX, Math.floor(RESAMPLED_VOTES_MAX / (judged.length + 1))),
  );
  const votes: readonly Vote[] = ranked;
  const random = createRandom(seed);
  return {
    bestOf: ks.map((k) => bestOfAtK(values, k)),
    ...voteAtKs(votes, ks, { resamples, draw: () => random.next() }),
    answers: ranked.filter(({ answer }) => answer !== null).length,
  };
}

/**
 * A sample's own score where the search ranked by one. Other selections (a majority, MBR, a tournament) score a sample by
 * the others, which k of them would do differently, and a search that was cut off chose by none: there the verdict ranks.
 */
function rankingScore(candidate: Candidate, selection: Selection | null): number | null {
  const isOwn = selection === "highest-score" || selection === "weighted-vote";
  return isOwn ? candidate.score : scoreOf(candidate.verdict);
}

/** What the vote weighed, and where none did what the verdict scores; a weight is not below 0. */
function voteWeight(candidate: Candidate, selection: Selection | null): number {
  const score = selection === "weighted-vote" ? candidate.score : scoreOf(candidate.verdict);
  return Math.max(0, score ?? 0);
}
