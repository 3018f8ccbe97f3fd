/** Votes in rounds: more samples are drawn as long as those of a round disagree. */
import { AnswerCounts, sampleBallot, selectMajority } from "./ballot.ts";
import { graver, openGroup } from "./operations.ts";
import type { Loss, Outcome, Prefix, Program } from "./program.ts";
import type { Ballot } from "./selection.ts";

/** A round adds the samples up to `end`, and ends the search when those from `start` on agree. */
export interface Round {
  readonly start: number;
  readonly end: number;
}

export interface RoundsOptions {
  /** In their order; each ends after the one before it. */
  readonly rounds: Iterable<Round>;
  /** Share in (0, 1] of a round's samples that have to give one answer. */
  readonly agreement: number;
}

/**
 * The majority of all samples drawn until a round agreed, or the rounds were over. A sample that abstains or is lost
 * agrees with none. The next round begins as soon as the one before it cannot agree any more, without waiting for its last
 * samples; so what is asked does not depend on the order in which they arrive.
 */
export function* voteInRounds(prompt: Prefix, { rounds, agreement }: RoundsOptions): Program<Outcome> {
  const group = openGroup<Ballot>();
  const ballots: Ballot[] = [];
  const settled = new Set<number>();
  let lost: Loss | null = null;
  let asked = 0;
  for (const { start, end } of rounds) {
    if (lost?.reason === "budget") break;
    for (; asked < end; asked++) yield* group.add(sampleBallot(prompt, { index: asked }));
    const counts = new AnswerCounts();
    for (const ballot of ballots) if (ballot.candidate.index >= start) counts.add(ballot);
    let open = end - start;
    for (const index of settled) if (index >= start) open--;
    const needed = agreement * (end - start) - ROUNDING;
    while (counts.highest + open >= needed) {
      const member = yield* group.next();
      // All have settled and the round agrees.
      if (member === null) return selectMajority(ballots, lost);
      settled.add(member.index);
      if (member.index >= start) open--;
      if (member.lost !== null) {
        lost = graver(lost, member.lost);
      } else {
        ballots.push(member.value);
        if (member.index >= start) counts.add(member.value);
      }
    }
  }
  for (let member = yield* group.next(); member !== null; member = yield* group.next()) {
    if (member.lost === null) ballots.push(member.value);
    else lost = graver(lost, member.lost);
  }
  return selectMajority(ballots, lost);
}

/** Far below one sample: 0.6 * 5 is not quite 3. */
const ROUNDING = 1e-9;
