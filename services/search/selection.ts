/**
 * How one answer is chosen from candidates. Ties go to the lowest index, never to the first to arrive (I4).
 */
import { LostError } from "./program.ts";
import type { Candidate, Loss, Outcome, Selection, Verdict } from "./program.ts";

/**
 * What a verdict ranks by: its score; without one, correct is 1, incorrect is 0 and undecided is null. A
 * score that is not a finite number ranks nothing and is null.
 */
export function scoreOf(verdict: Verdict | null): number | null {
  if (verdict === null) return null;
  if (verdict.score !== null) return Number.isFinite(verdict.score) ? verdict.score : null;
  return verdict.verdict === "undecided" ? null : Number(verdict.verdict === "correct");
}

interface Ranked {
  readonly index: number;
  readonly score: number | null;
}

/** For `sort`: the highest score first, null last, ties by the lowest index. */
export function byScore(a: Ranked, b: Ranked): number {
  if (a.score === b.score) return a.index - b.index;
  if (a.score === null) return 1;
  return b.score === null ? -1 : b.score - a.score;
}

/** The first `k` by score, best first. */
export function topK<R extends Ranked>(ranked: readonly R[], k: number): readonly R[] {
  return ranked.toSorted(byScore).slice(0, k);
}

/** An outcome that is this one candidate. */
export function outcomeOf(candidate: Candidate, selection: Selection): Outcome {
  return { candidate, answer: candidate.verdict?.answer ?? null, score: candidate.score, selection };
}

/** argmax over the candidates' scores. Where none finished it throws what was lost, if anything was. */
export function selectHighest(candidates: readonly Candidate[], lost: Loss | null): Outcome {
  const [best] = topK(candidates, 1);
  if (best !== undefined) return outcomeOf(best, "highest-score");
  if (lost !== null) throw new LostError(lost);
  return { candidate: null, answer: null, score: null, selection: "highest-score" };
}

/** A candidate that votes for the answer of its verdict; without an answer it abstains. */
export interface Ballot {
  readonly candidate: Candidate;
  /** Of its vote; 1 for a majority. Not below 0. */
  readonly weight: number;
}

/**
 * argmax over answers a of the summed weights of the ballots for a. Ties go to the answer of the lowest
 * candidate index. The outcome's candidate is the first one with that answer, its score the answer's share of
 * the weight cast.
 */
export function selectByVote(ballots: readonly Ballot[], selection: Selection): Outcome {
  const ordered = ballots.toSorted((a, b) => a.candidate.index - b.candidate.index);
  const tally = new Map<string, { readonly first: Candidate; weight: number }>();
  let cast = 0;
  let abstentions = 0;
  for (const { candidate, weight } of ordered) {
    const answer = candidate.verdict?.answer ?? null;
    if (answer === null) {
      abstentions++;
      continue;
    }
    cast += weight;
    const votes = tally.get(answer);
    if (votes === undefined) tally.set(answer, { first: candidate, weight });
    else votes.weight += weight;
  }
  const abstained = ordered.length === 0 ? 0 : abstentions / ordered.length;
  let winner: { readonly first: Candidate; readonly weight: number } | null = null;
  for (const votes of tally.values()) if (winner === null || votes.weight > winner.weight) winner = votes;
  if (winner === null) {
    return { candidate: ordered[0]?.candidate ?? null, answer: null, score: null, selection, abstained };
  }
  const answer = winner.first.verdict?.answer ?? null;
  return {
    candidate: winner.first,
    answer,
    score: cast > 0 ? winner.weight / cast : null,
    selection,
    abstained,
  };
}

/** The strategies' parameter that says how one of several answers is chosen. */
export const SELECT = {
  type: "choice",
  default: "verifier",
  choices: ["verifier", "majority"],
  about: "verifier: the answer with the highest score; majority: the answer that most agree on.",
} as const;

/** Chooses as the parameter `SELECT` says. Where none finished it throws what was lost, if anything was. */
export function selectBy(
  select: (typeof SELECT.choices)[number],
  candidates: readonly Candidate[],
  lost: Loss | null,
): Outcome {
  if (select === "verifier" || candidates.length === 0) return selectHighest(candidates, lost);
  return selectByVote(
    candidates.map((candidate) => ({ candidate, weight: 1 })),
    "majority",
  );
}

/**
 * The revision with the highest score, not the last: a loop can make answers worse. Only where no revision
 * has a score it is the one that the first chain ended with. `length`: indexes per chain, which are numbered
 * chain by chain.
 */
export function selectRevision(
  revisions: readonly Candidate[],
  { length, lost }: { readonly length: number; readonly lost: Loss | null },
): Outcome {
  const chainOf = ({ index }: Candidate): number => Math.floor(index / length);
  const ordered = revisions.toSorted((a, b) => a.index - b.index);
  const ended = ordered.findLast((one) => ordered[0] !== undefined && chainOf(one) === chainOf(ordered[0]));
  const isScored = revisions.some(({ score }) => score !== null);
  return ended === undefined || isScored ? selectHighest(revisions, lost) : outcomeOf(ended, "last");
}
