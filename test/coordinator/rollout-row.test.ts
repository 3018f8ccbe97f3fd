import { describe, expect, test } from "vitest";
import { type RolloutRow, rolloutLine } from "../../services/coordinator/rollout-row.ts";
import { NO_TOKENS } from "../../services/queue/job.ts";
import type { Prefix } from "../../services/search/program.ts";
import { rootPrefix } from "../../services/search/search.ts";
import { amount } from "../support/budget.ts";

const PLACE = { task: "t/p", problem: "p", strategy: "t", seed: 1, prefix: null };

/** The row of a rollout of `prefix` that said "b", judged as the path that `judged` makes of its end. */
function lineOf(prefix: Prefix, judged: (end: Prefix) => Prefix | null, meanLogprob: number | null = null) {
  const result = {
    kind: "rollout",
    text: "b",
    finishReason: "stop",
    stopString: null,
    meanLogprob,
  } as const;
  const row: RolloutRow = {
    issued: 0,
    ask: { kind: "sample", id: "0/1", prefix, options: {}, sample: 0 },
    entry: {
      kind: "answer",
      task: "t/p",
      ask: "0/1",
      result,
      usage: NO_TOKENS,
      charge: amount({ rollouts: 1 }),
      host: "h",
      attempt: 1,
      startedMs: 0,
      endedMs: 0,
    },
    outcome: { kind: "verdict", verdict: "incorrect", score: null, answer: "7", reason: "expected 8" },
    processScore: null,
    judged: judged(prefix.extend("b", "0/1")),
  };
  return rolloutLine(row, PLACE);
}

test("the log-probability of a rollout stands in its row where it is known", () => {
  expect(lineOf(rootPrefix("p"), () => null)).not.toHaveProperty("mean_logprob");
  expect(lineOf(rootPrefix("p"), () => null, -0.25)).toMatchObject({ mean_logprob: -0.25 });
});

describe("the text of a candidate", () => {
  const root = rootPrefix("p");

  test("is left to the rows where they link it", () => {
    const line = lineOf(root.extend("a", "0/0"), (end) => end);
    expect(line).toMatchObject({ parent: "0/0", text: "b", answer: "7" });
    expect(line).not.toHaveProperty("candidate_text");
    expect(lineOf(root, () => null)).not.toHaveProperty("candidate_text");
  });

  test("stands in the row where the program wrote a part of it, or judged another path", () => {
    const written = root.extend("a", "0/0").extend(" because ");
    expect(lineOf(written, (end) => end)).toMatchObject({ candidate_text: "a because b" });
    expect(lineOf(written, (end) => end.extend("!"))).toMatchObject({ candidate_text: "a because b!" });
    expect(lineOf(written, () => root.extend("b", "0/1"))).toMatchObject({ candidate_text: "b" });
  });
});

test("a row says what its verifier read and why it judged so", () => {
  const row = lineOf(rootPrefix("p"), () => null);
  expect(row).toMatchObject({ verdict: "incorrect", score: null, answer: "7", reason: "expected 8" });
});
