import { describe, expect, test } from "vitest";
import { NOTHING } from "../../services/coordinator/amount.ts";
import { MeanTotals } from "../../services/coordinator/estimate-totals.ts";
import { Totals, type TaskTally } from "../../services/coordinator/tally.ts";
import { estimateTask } from "../../services/coordinator/task-estimates.ts";
import { addUsage, cancelledUsage, NO_USAGE, rolloutUsage } from "../../services/coordinator/usage.ts";
import type { Candidate, Selection, Verdict } from "../../services/search/program.ts";
import { rootPrefix } from "../../services/search/search.ts";
import { arm, newSweep } from "../support/in-process.ts";
import { NO_CEILINGS, NOTHING_SPENT } from "../support/budget.ts";

const KNOWN = { promptTokens: 10, cachedTokens: 4, completionTokens: 7 };
const RUN = {
  version: "test",
  state: "completed",
  total: 3,
  budget: {
    given: NO_CEILINGS,
    spent: NOTHING_SPENT,
  },
  wallMs: 1,
} as const;

function tally(given: Partial<TaskTally>): TaskTally {
  const { judged = 10, correct = 0 } = given;
  const judgments = Array.from({ length: judged }, (_, i) => candidate(i, i < correct ? "24" : "23"));
  return {
    arm: "best-of-n",
    state: "completed",
    isSolved: false,
    isAccurate: false,
    rollouts: 10,
    verifications: 10,
    losses: 0,
    judged,
    correct,
    estimates: estimateTask(
      { isIndependentSampling: given.arm !== "mcts" },
      { judged: judgments, selection: "highest-score", seed: 1 },
    ),
    usage: { ...NO_USAGE, completion_tokens: 100 },
    charged: NOTHING,
    uniqueTokens: 5,
    ...given,
  };
}

/** Judged: the answer "24" is correct, any other is not. */
function candidate(index: number, answer: string | null, score: number | null = null): Candidate {
  const verdict: Verdict = {
    verdict: answer === "24" ? "correct" : "incorrect",
    score: null,
    answer,
    reason: null,
  };
  const prefix = rootPrefix("p");
  return { index, prefix, ask: `0.${index}/0`, verdict, score: score ?? Number(answer === "24") };
}

describe("usage", () => {
  test("a sum with an unknown part is unknown, never zero (I8)", () => {
    const unknown = rolloutUsage({ ...KNOWN, cachedTokens: null });
    const sum = addUsage(addUsage(NO_USAGE, rolloutUsage(KNOWN)), unknown);
    expect(sum).toMatchObject({
      prompt_tokens: 20,
      cached_tokens: null,
      computed_tokens: null,
      completion_tokens: 14,
    });
  });

  test("what a withdrawn ask had generated is cancelled", () => {
    expect(cancelledUsage(KNOWN)).toMatchObject({ cancelled_tokens: 7, completion_tokens: 0 });
  });
});

describe("a summary", () => {
  test("averages the unbiased pass@k over problems, for each k that every problem has samples for", async () => {
    const totals = new Totals(await newSweep({ arms: [arm("best-of-n")] }));
    totals.add(tally({ correct: 5, isSolved: true, isAccurate: true }));
    totals.add(tally({ correct: 0 }));
    totals.add(tally({ judged: 4, correct: 4, isSolved: true }));
    const { strategies } = totals.summary(RUN);
    const summary = strategies["best-of-n"];
    const passAt = summary?.pass_at_k ?? {};
    expect(Object.keys(passAt)).toEqual(["1", "2"]);
    expect(passAt["1"]).toBeCloseTo((0.5 + 0 + 1) / 3, 12);
    expect(passAt["2"]).toBeCloseTo((1 - 10 / 45 + 0 + 1) / 3, 12);
    expect(summary).toMatchObject({
      problems: 3,
      solved: 2,
      accuracy: 1 / 3,
      rollouts: 30,
      tokens_per_solved: 150,
    });
  });

  test("gives no pass@k and no estimate where rollouts are no independent samples", async () => {
    const totals = new Totals(await newSweep({ arms: [arm("mcts")] }));
    totals.add(tally({ arm: "mcts", correct: 5 }));
    const summary = totals.summary(RUN).strategies["mcts"];
    expect(summary?.pass_at_k).toEqual({});
    expect(Object.values(summary?.estimates ?? {})).toEqual([{}, {}, {}, {}, {}]);
  });

  test("estimates every k up to n, for each k that every problem has samples for, with its interval", async () => {
    const totals = new Totals(await newSweep({ arms: [arm("best-of-n")] }));
    for (const correct of [1, 4, 0, 10, 7]) totals.add(tally({ judged: 20, correct }));
    const before = totals.summary(RUN).strategies["best-of-n"]?.estimates;
    expect(Object.keys(before?.pass_at_k ?? {})).toEqual(["1", "2", "5", "10", "20"]);
    totals.add(tally({ judged: 12, correct: 3 }));
    const estimates = totals.summary(RUN).strategies["best-of-n"]?.estimates;
    expect(Object.keys(estimates?.weighted_at_k ?? {})).toEqual(["1", "2", "5", "10"]);
    const share = (1 + 4 + 0 + 10 + 7) / 120 + 3 / 72;
    for (const byK of Object.values(estimates ?? {})) {
      expect(byK["1"]?.mean).toBeCloseTo(share, 12);
      expect(byK["1"]?.problems).toBe(6);
    }
    // Ranked by what judges them, the best of k is correct where any is; so is a vote that weighs by it.
    expect(estimates?.best_of_at_k["5"]?.mean).toBeCloseTo(estimates?.pass_at_k["5"]?.mean ?? 0, 12);
    expect(estimates?.pass_hat_k["10"]?.mean).toBeCloseTo(1 / 184_756 / 6, 12);
  });

  test("gives no vote where the verifier reads no answers", async () => {
    const totals = new Totals(await newSweep({ arms: [arm("best-of-n")] }));
    const judged = [candidate(0, null), candidate(1, null)];
    const estimates = estimateTask({ isIndependentSampling: true }, { judged, selection: null, seed: 1 });
    totals.add(tally({ judged: 2, correct: 0, estimates }));
    const summary = totals.summary(RUN).strategies["best-of-n"]?.estimates;
    expect(summary?.majority_at_k).toEqual({});
    expect(summary?.best_of_at_k["2"]?.mean).toBe(0);
  });
});

describe("the estimates of a task", () => {
  const of = (judged: readonly Candidate[], selection: Selection | null) =>
    estimateTask({ isIndependentSampling: true }, { judged, selection, seed: 5 });

  test("weigh by the scores that the search ranked by, and by the verdict where it ranked by none", () => {
    const judged = [candidate(0, "24", 0.2), candidate(1, "7", 0.9), candidate(2, "7", 0.1)];
    expect(of(judged, "weighted-vote")).toMatchObject({
      bestOf: [1 / 3, 1 / 3, 0],
      weighted: [1 / 3, 1 / 3, 0],
    });
    expect(of(judged, "mbr")).toMatchObject({ bestOf: [1 / 3, 2 / 3, 1], weighted: [1 / 3, 2 / 3, 1] });
    expect(of(judged, "majority")).toMatchObject({
      majority: [1 / 3, 2 / 3, 0],
      weighted: [1 / 3, 2 / 3, 1],
    });
  });

  test("are the same whatever the order in which candidates finished", () => {
    const judged = Array.from({ length: 40 }, (_, i) => candidate(i, String(20 + (i % 7)), (i % 5) / 5));
    expect(of(judged.toReversed(), "weighted-vote")).toEqual(of(judged, "weighted-vote"));
  });

  test("are a few hundred bytes of the journal, however many the rollouts", () => {
    const judged = Array.from({ length: 10_000 }, (_, i) => candidate(i, String(20 + (i % 7)), (i % 5) / 5));
    expect(JSON.stringify(of(judged, "weighted-vote")).length).toBeLessThan(1_000);
  });
});

describe("a mean's interval", () => {
  const over = (values: readonly number[]) => {
    const totals = new MeanTotals();
    for (const value of values) totals.add(value);
    return totals.estimate();
  };

  test("is Wilson's where every problem is 0, or 1", () => {
    const none = over(Array.from({ length: 10 }, () => 0));
    expect(none).toMatchObject({ mean: 0, low: 0, problems: 10 });
    expect(none.high).toBeCloseTo(0.27753, 5);
    const all = over(Array.from({ length: 10 }, () => 1));
    expect(all).toMatchObject({ mean: 1, high: 1 });
    expect(all.low).toBeCloseTo(1 - 0.27753, 5);
  });

  test("is that of so many yes-or-no problems where problems are yes or no", () => {
    const { mean, low, high } = over(Array.from({ length: 100 }, (_, i) => Number(i < 49)));
    expect(mean).toBeCloseTo(0.49, 12);
    // Wilson for 0.49 of 99: the sample variance takes one from the count.
    expect(low).toBeCloseTo(0.393757, 6);
    expect(high).toBeCloseTo(0.58699, 6);
  });

  test("is close to 1.96 standard errors for many problems, and holds the mean within [0, 1] for few", () => {
    const many = over(Array.from({ length: 10_000 }, (_, i) => (i % 11) / 10));
    expect(many.high - many.low).toBeCloseTo((2 * 1.96 * Math.sqrt(0.1)) / 100, 3);
    for (const values of [[0.5], [0, 1], [1, 1, 0.999_999], [1e-300, 0]]) {
      const { mean, low, high } = over(values);
      expect(0 <= low && low <= mean && mean <= high && high <= 1).toBe(true);
    }
  });
});
