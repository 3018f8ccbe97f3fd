/** Samples that vote for their answers, and how far they agree. */
import { all, consider, judge, sample } from "./operations.ts";
import { LostError } from "./program.ts";
import type { Loss, Outcome, Prefix, Program, Verdict } from "./program.ts";
import { scoreOf, selectByVote } from "./selection.ts";
import type { Ballot } from "./selection.ts";

/**
 * What a vote weighs: 1, or the score that a verifier gives the whole answer. A negative score weighs 0, and so does an
 * absent one: weights are summed, so they may not be below 0.
 */
export type Weight = "one" | "process" | "outcome";

export interface BallotOptions {
  readonly index: number;
  readonly weight?: Weight;
}

/**
 * One whole rollout of the prompt that votes for the answer which the outcome verifier reads in it. Without one it
 * abstains, and so it does where that verdict is lost.
 */
export function* sampleBallot(
  prompt: Prefix,
  { index, weight: weigh = "one" }: BallotOptions,
): Program<Ballot> {
  const { text, ask } = yield* sample(prompt);
  const prefix = prompt.extend(text, ask);
  const judged = [judge({ role: "outcome", prefix, of: ask })];
  if (weigh === "process") judged.push(judge({ role: "process", prefix, of: ask }));
  const [verdict = null, process = null] = yield* all(judged);
  const weight = weigh === "one" ? 1 : weightOf(weigh === "process" ? process : verdict);
  const hasAnswer = (verdict?.answer ?? null) !== null;
  const candidate = { index, prefix, ask, verdict, score: hasAnswer ? weight : null };
  yield* consider(candidate);
  return { candidate, weight };
}

function weightOf(verdict: Verdict | null): number {
  return Math.max(0, scoreOf(verdict) ?? 0);
}

/** The majority of ballots. Where there are none it throws what was lost, if anything was. */
export function selectMajority(ballots: readonly Ballot[], lost: Loss | null): Outcome {
  if (ballots.length === 0 && lost !== null) throw new LostError(lost);
  return selectByVote(ballots, "majority");
}

/** How often each answer was given; who abstains gives none. */
export class AnswerCounts {
  readonly #counts = new Map<string, number>();
  /** Answers given in all. */
  total = 0;

  add({ candidate }: Ballot): void {
    const answer = candidate.verdict?.answer ?? null;
    if (answer === null) return;
    this.total++;
    this.#counts.set(answer, (this.#counts.get(answer) ?? 0) + 1);
  }

  /** Of each answer, the most frequent one first. */
  get counts(): readonly number[] {
    return [...this.#counts.values()].toSorted((a, b) => b - a);
  }

  /** Of the most frequent answer; 0 when none was given. */
  get highest(): number {
    let highest = 0;
    for (const count of this.#counts.values()) highest = Math.max(highest, count);
    return highest;
  }
}
