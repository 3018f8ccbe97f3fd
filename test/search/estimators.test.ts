/** The estimators against counting out every subset. */
import { describe, expect, it } from "vitest";
import { createRandom } from "../../services/runtime/random.ts";
import { bestOfAtK, estimateKs, passAtK, passHatK } from "../../services/search/estimators.ts";
import type { Candidate } from "../../services/search/program.ts";
import { rootPrefix } from "../../services/search/search.ts";
import { byScore, selectByVote, topK } from "../../services/search/selection.ts";
import { type Vote, voteAtKs } from "../../services/search/vote-estimators.ts";

/** Every k-subset of the members, in their order. */
function* subsets<T>(members: readonly T[], k: number): Generator<readonly T[]> {
  if (k === 0) yield [];
  for (const [i, member] of members.entries())
    for (const rest of subsets(members.slice(i + 1), k - 1)) if (k > 0) yield [member, ...rest];
}

/** The mean over every k-subset. */
function mean<T>(members: readonly T[], k: number, valueOf: (subset: readonly T[]) => number): number {
  const values = [...subsets(members, k)].map(valueOf);
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

interface Sample extends Vote {
  readonly index: number;
  readonly score: number | null;
}

const random = createRandom(17);
const pick = <T>(choices: readonly T[]): T => choices[Math.floor(random.next() * choices.length)] as T;

function samples(n: number): readonly Sample[] {
  return Array.from({ length: n }, (_, index) => {
    const answer = pick(["a", "b", "c", null]);
    const score = pick([null, 0, 0.25, 0.5, 1]);
    return { index, answer, score, isCorrect: answer === "a" || pick([true, false]), weight: score ?? 0 };
  });
}

/** 200 problems with up to 7 samples, and every k of each. */
const problems = Array.from({ length: 200 }, () => samples(1 + Math.floor(random.next() * 7)));
const cases = problems.flatMap((members) => members.map((_, i) => ({ members, k: i + 1 })));
const EXACT = { resamples: 1_000, draw: () => 0 };

/** What `selectByVote` chooses is correct. */
function isVoteCorrect(members: readonly Sample[], weightOf: (sample: Sample) => number): number {
  const ballots = members.map((sample) => {
    const { index, answer, isCorrect, score } = sample;
    const verdict = {
      verdict: isCorrect ? ("correct" as const) : ("incorrect" as const),
      score,
      answer,
      reason: null,
    };
    const candidate: Candidate = { index, prefix: rootPrefix("p"), ask: null, verdict, score };
    return { candidate, weight: weightOf(sample) };
  });
  const { answer, candidate } = selectByVote(ballots, "majority");
  return Number(answer !== null && candidate?.verdict?.verdict === "correct");
}

describe("over every subset of k samples", () => {
  it("pass@k is the share with a correct one, pass^k the share with correct ones only", () => {
    for (const { members, k } of cases) {
      const correct = members.filter(({ isCorrect }) => isCorrect).length;
      const some = mean(members, k, (subset) => Number(subset.some(({ isCorrect }) => isCorrect)));
      const every = mean(members, k, (subset) => Number(subset.every(({ isCorrect }) => isCorrect)));
      expect(passAtK(members.length, correct, k)).toBeCloseTo(some, 12);
      expect(passHatK(members.length, correct, k)).toBeCloseTo(every, 12);
    }
  });

  it("best-of-n@k is the share whose highest score is correct, ties to the lowest index, no score last", () => {
    for (const { members, k } of cases) {
      const values = members.toSorted(byScore).map(({ isCorrect }) => Number(isCorrect));
      const best = mean(members, k, (subset) => Number(topK(subset, 1)[0]?.isCorrect));
      expect(bestOfAtK(values, k)).toBeCloseTo(best, 12);
    }
  });

  it("majority@k and weighted@k are the share whose vote is correct", () => {
    for (const { members, k } of cases) {
      const estimates = voteAtKs(members, [k], EXACT);
      const majority = mean(members, k, (subset) => isVoteCorrect(subset, () => 1));
      const weighted = mean(members, k, (subset) => isVoteCorrect(subset, ({ weight }) => weight));
      expect(estimates.majority[0]).toBeCloseTo(majority, 12);
      expect(estimates.weighted[0]).toBeCloseTo(weighted, 12);
    }
  });
});

describe("best-of-n@k", () => {
  it("of values that need not be 0 or 1 is their expected highest-ranked", () => {
    expect(bestOfAtK([3, 2, 1], 2)).toBeCloseTo((3 + 3 + 2) / 3, 12);
  });

  it("stays finite and right for 100,000 samples", () => {
    const n = 100_000;
    const values = Array.from({ length: n }, (_, rank) => Number(rank < 100));
    for (const k of [1, 10, 1_000, 50_000, n])
      expect(bestOfAtK(values, k)).toBeCloseTo(passAtK(n, 100, k), 9);
    expect(bestOfAtK(values.toReversed(), 1_000)).toBe(0);
  });

  it("refuses k above n, and what is not whole", () => {
    expect(() => bestOfAtK([1, 0], 3)).toThrow("found n=2, k=3");
    expect(() => bestOfAtK([1, 0], 0.5)).toThrow(RangeError);
  });
});

describe("a vote over drawn subsets", () => {
  const drawer = (seed: number) => {
    const chance = createRandom(seed);
    return () => chance.next();
  };
  const votes = samples(12);

  it("comes close to the vote over all of them, for every k at once", () => {
    const ks = [2, 5, 8];
    const many = Array.from({ length: 500 }, (_, seed) =>
      voteAtKs(votes, ks, { resamples: 20, draw: drawer(seed) }),
    );
    for (const [i, k] of ks.entries()) {
      const exact = mean(votes, k, (subset) => isVoteCorrect(subset, ({ weight }) => weight));
      const average = many.reduce((sum, { weighted }) => sum + (weighted[i] ?? 0), 0) / many.length;
      // 10,000 subsets in all: three standard errors are below 0.015.
      expect(Math.abs(average - exact)).toBeLessThan(0.015);
    }
  });

  it("is the same under the same seed, and exact at k = 1 and k = n whatever is drawn", () => {
    const estimate = (seed: number) =>
      voteAtKs(votes, [1, 6, 12], { resamples: 5, draw: drawer(seed) }).weighted;
    expect(estimate(3)).toEqual(estimate(3));
    const [one, , all] = estimate(4);
    expect([one, all]).toEqual([estimate(3)[0], estimate(3)[2]]);
    const share = votes.filter(({ answer, isCorrect }) => answer !== null && isCorrect).length / 12;
    expect(one).toBeCloseTo(share, 12);
    expect(all).toBe(isVoteCorrect(votes, ({ weight }) => weight));
  });

  it("draws nothing where all voters are right, or none is", () => {
    const unasked = (): number => {
      throw new Error("nothing should be drawn");
    };
    const right = Array.from({ length: 300 }, (_, i): Vote => {
      return { answer: i < 3 ? String(i) : null, weight: 1, isCorrect: i < 3 };
    });
    const options = { resamples: 10, draw: unasked };
    expect(voteAtKs(right, [100], options).weighted[0]).toBeCloseTo(passAtK(300, 3, 100), 12);
    expect(voteAtKs(right.slice(3), [100], options).majority).toEqual([0]);
  });

  it("refuses k above n", () => {
    expect(() => voteAtKs(votes, [13], EXACT)).toThrow("found n=12, k=13");
  });
});

it("estimates are given for 1, 2, 5, 10, ... and for n itself", () => {
  expect(estimateKs(0)).toEqual([]);
  expect(estimateKs(1)).toEqual([1]);
  expect(estimateKs(256)).toEqual([1, 2, 5, 10, 20, 50, 100, 200, 256]);
  expect(estimateKs(100)).toEqual([1, 2, 5, 10, 20, 50, 100]);
});
