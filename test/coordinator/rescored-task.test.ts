/** Answers selected again from rows. */
import { describe, expect, test } from "vitest";
import { parseResult, parseRollout } from "../../services/coordinator/run-rows/stored-row.ts";
import { storedTask } from "../../services/coordinator/run-rows/stored-task.ts";
import { type Rescored, rescoreTask } from "../../services/coordinator/score/rescored-task.ts";
import { NO_USAGE } from "../../services/coordinator/usage.ts";
import type { VerdictResult } from "../../services/queue/job.ts";
import { arm } from "../support/in-process.ts";

interface Given {
  /** The verdict and the answer before, and those now; null now: the verifier could not be asked. */
  readonly before: readonly ["correct" | "incorrect" | null, string | null];
  readonly now: readonly ["correct" | "incorrect", string | null] | null;
  readonly process?: number;
}

function rescored(
  given: readonly Given[],
  result: { readonly selection: string; readonly candidate: number; readonly score: number | null },
) {
  const place = { task: "best-of-n/p", problem: "p", strategy: "best-of-n" };
  const rollouts = given.map(({ before: [verdict, answer], process = null }, i) => {
    const sampled = { ask: `0.${i}/0`, sample: i, parent: null, text: String(i), finish_reason: "stop" };
    const score = verdict === null ? null : Number(verdict === "correct");
    return parseRollout(
      JSON.stringify({ ...place, ...sampled, verdict, answer, score, process_score: process }),
      `rows:${i + 1}`,
    );
  });
  const settled = { ...place, state: "completed", answer: null, verdict: null, usage: NO_USAGE, error: null };
  const stored = parseResult(
    JSON.stringify({ ...settled, ...result, candidate: `0.${result.candidate}/0` }),
    "results:1",
  );
  const task = {
    ...storedTask(rollouts, { id: place.task, strategy: place.strategy, result: stored }),
    result: stored,
  };
  const candidates = rollouts.flatMap((rollout, i): readonly Rescored[] => {
    const now = given[i]?.now ?? null;
    if (rollout.verdict === null) return [];
    if (now === null) return [{ rollout, verdict: null }];
    const [verdict, answer] = now;
    const judged: VerdictResult = {
      kind: "verdict",
      verdict,
      score: Number(verdict === "correct"),
      answer,
      reason: null,
    };
    return [{ rollout, verdict: judged }];
  });
  return rescoreTask(task, candidates, { arm: arm("best-of-n", { n: given.length }), seed: 1 });
}

const WRONG_THEN_RIGHT: Given = { before: ["incorrect", "a"], now: ["correct", "x"] };
const RIGHT_THEN_WRONG: Given = { before: ["correct", "b"], now: ["incorrect", "y"] };

describe("an answer selected again", () => {
  test("by the highest score is the first of the highest now", () => {
    const { result, tally, isSelectedAgain } = rescored(
      [RIGHT_THEN_WRONG, WRONG_THEN_RIGHT, WRONG_THEN_RIGHT],
      {
        selection: "highest-score",
        candidate: 0,
        score: 1,
      },
    );
    expect(isSelectedAgain).toBe(true);
    expect(result).toMatchObject({
      candidate: "0.1/0",
      answer: "x",
      score: 1,
      verdict: "correct",
      error: null,
    });
    expect(tally).toMatchObject({
      isSolved: true,
      isAccurate: true,
      judged: 3,
      correct: 2,
      uniqueTokens: null,
    });
    expect(tally.estimates?.bestOf).toHaveLength(3);
  });

  test("by a majority counts the answers that are read now", () => {
    const votes: readonly Given[] = [
      { before: ["correct", "a"], now: ["correct", "x"] },
      { before: ["incorrect", "b"], now: ["incorrect", "y"] },
      { before: ["incorrect", "c"], now: ["incorrect", "y"] },
    ];
    const { result } = rescored(votes, { selection: "majority", candidate: 0, score: 1 / 3 });
    expect(result).toMatchObject({ candidate: "0.1/0", answer: "y", score: 2 / 3, verdict: "incorrect" });
  });

  test("by a weighted vote weighs what the process verifier had said", () => {
    const votes: readonly Given[] = [
      { before: ["correct", "a"], now: ["correct", "x"], process: 0.2 },
      { before: ["incorrect", "b"], now: ["incorrect", "y"], process: 0.7 },
      { before: ["correct", "a"], now: ["correct", "x"], process: 0.6 },
    ];
    const { result, isSelectedAgain } = rescored(votes, {
      selection: "weighted-vote",
      candidate: 0,
      score: 0.5,
    });
    expect(isSelectedAgain).toBe(true);
    expect(result).toMatchObject({ candidate: "0.0/0", answer: "x", verdict: "correct" });
    expect(result["score"]).toBeCloseTo(0.8 / 1.5, 12);
  });

  test("is kept, with its new verdict, where the rule does not choose what the search chose", () => {
    // A search that ranked by log-probabilities: the highest score would have been the second.
    const { result, isSelectedAgain } = rescored([WRONG_THEN_RIGHT, RIGHT_THEN_WRONG], {
      selection: "highest-score",
      candidate: 0,
      score: -0.3,
    });
    expect(isSelectedAgain).toBe(false);
    expect(result).toMatchObject({ candidate: "0.0/0", answer: "x", score: -0.3, verdict: "correct" });
  });

  test("is kept for a selection that rows do not tell, with the score that was its verdict's", () => {
    const { result } = rescored([WRONG_THEN_RIGHT, RIGHT_THEN_WRONG], {
      selection: "first-correct",
      candidate: 1,
      score: 1,
    });
    expect(result).toMatchObject({ candidate: "0.1/0", answer: "y", score: 0, verdict: "incorrect" });
  });
});

test("a candidate that could not be judged has no verdict, and ranks last", () => {
  const { rollouts, result, tally } = rescored([{ before: ["correct", "a"], now: null }, WRONG_THEN_RIGHT], {
    selection: "highest-score",
    candidate: 0,
    score: 1,
  });
  expect(rollouts[0]).toMatchObject({ verdict: null, score: null, answer: null, text: "0" });
  expect(result).toMatchObject({ candidate: "0.1/0" });
  expect(tally).toMatchObject({ judged: 1, correct: 1 });
});

test("a rollout that was not judged is not judged now", () => {
  const { rollouts, tally } = rescored([{ before: [null, null], now: ["correct", "x"] }, WRONG_THEN_RIGHT], {
    selection: "highest-score",
    candidate: 1,
    score: 0,
  });
  expect(rollouts[0]).toMatchObject({ verdict: null });
  expect(tally).toMatchObject({ judged: 1, rollouts: 2 });
});
