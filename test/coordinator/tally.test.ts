import { describe, expect, test } from "vitest";
import { Totals, type TaskTally } from "../../services/coordinator/tally.ts";
import { addUsage, cancelledUsage, NO_USAGE, rolloutUsage } from "../../services/coordinator/usage.ts";
import { arm, newSweep } from "../support/in-process.ts";

const KNOWN = { promptTokens: 10, cachedTokens: 4, completionTokens: 7 };
const RUN = {
  version: "test",
  state: "completed",
  total: 3,
  budget: {
    given: { rollouts: null, completion_tokens: null, wall_ms: null },
    spent: { rollouts: 0, completion_tokens: 0, wall_ms: 0 },
  },
  wallMs: 1,
} as const;

function tally(given: Partial<TaskTally>): TaskTally {
  return {
    arm: "best-of-n",
    state: "completed",
    isSolved: false,
    isAccurate: false,
    rollouts: 10,
    verifications: 10,
    losses: 0,
    judged: 10,
    correct: 0,
    usage: { ...NO_USAGE, completion_tokens: 100 },
    uniqueTokens: 5,
    ...given,
  };
}

describe("usage", () => {
  test("a sum with an unknown part is unknown, never zero (I8)", () => {
    const unknown = rolloutUsage({ ...KNOWN, cachedTokens: null }, 1);
    const sum = addUsage(addUsage(NO_USAGE, rolloutUsage(KNOWN, 1)), unknown);
    expect(sum).toMatchObject({ prompt_tokens: 20, cached_tokens: null, completion_tokens: 14 });
  });

  test("what earlier attempts had generated is unknown, and what a withdrawn ask had is cancelled", () => {
    expect(rolloutUsage(KNOWN, 1).retried_tokens).toBe(0);
    expect(rolloutUsage(KNOWN, 2).retried_tokens).toBeNull();
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

  test("gives no pass@k where rollouts are no independent samples", async () => {
    const totals = new Totals(await newSweep({ arms: [arm("mcts")] }));
    totals.add(tally({ arm: "mcts", correct: 5 }));
    expect(totals.summary(RUN).strategies["mcts"]?.pass_at_k).toEqual({});
  });
});
