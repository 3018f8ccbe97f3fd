/** Votes over published answers: 100 of GPT-4 to each of 100 puzzles of the Game of 24 (Yao et al. 2023, Tree of Thoughts). */
import { describe, expect, it } from "vitest";
import type { Answer, Ask } from "../../services/search/program.ts";
import { adaptiveConsistency } from "../../services/search/strategies/adaptive-consistency.ts";
import { bestOfN } from "../../services/search/strategies/best-of-n.ts";
import { doublingConsistency } from "../../services/search/strategies/doubling-consistency.ts";
import { earlyStoppingConsistency } from "../../services/search/strategies/early-stopping-consistency.ts";
import { mbr } from "../../services/search/strategies/mbr.ts";
import { selfConsistency } from "../../services/search/strategies/self-consistency.ts";
import { dataLines, NO_DATA } from "../support/data.ts";
import { programOf, rolloutOf, sampledFrom, solve } from "./scripted.ts";

interface PublishedAnswer {
  readonly problem: string;
  readonly sample: number;
  readonly text: string;
  readonly graded: 0 | 1;
}

const ANSWERS = dataLines("game24/gpt4-cot-100.records.jsonl").map(
  (line) => JSON.parse(line) as PublishedAnswer, // A line of the data set, as its page describes it.
);
const PROBLEMS = Map.groupBy(ANSWERS, ({ problem }) => problem);

/** Serves the answers to one problem; an answer's key is its last line as written, its verdict the published grade. */
function served(answers: readonly PublishedAnswer[]): (ask: Ask) => Answer {
  const bySample = new Map(answers.map((answer) => [answer.sample, answer]));
  const byText = new Map(answers.map((answer) => [answer.text, answer]));
  return (ask) => {
    if (ask.kind === "sample") return rolloutOf(bySample.get(ask.sample)?.text ?? "");
    const isCorrect = byText.get(ask.prefix.text)?.graded === 1;
    const verdict = isCorrect ? "correct" : "incorrect";
    const answer = ask.prefix.text.trim().split("\n").at(-1) ?? null;
    return { kind: "verdict", verdict: { verdict, score: null, answer, reason: null } };
  };
}

interface Totals {
  /** Problems of which the chosen answer is correct. */
  readonly correct: number;
  readonly samples: number;
}

function run(program: ReturnType<typeof programOf>): Totals {
  let [correct, samples] = [0, 0];
  for (const answers of PROBLEMS.values()) {
    const { outcome, trace } = solve(program, served(answers));
    correct += Number(outcome.candidate?.verdict?.verdict === "correct");
    samples += sampledFrom(trace).length;
  }
  return { correct, samples };
}

const MISSING = ANSWERS.length === 0 ? ` (${NO_DATA})` : "";

describe.skipIf(MISSING !== "")(`over published answers${MISSING}`, () => {
  it("self-consistency of 100 solves the published 9 %, and best-of-100 the published 49 %", () => {
    expect(run(programOf(selfConsistency, { n: 100 }))).toEqual({ correct: 9, samples: 10_000 });
    expect(run(programOf(bestOfN, { n: 100 }))).toEqual({ correct: 49, samples: 10_000 });
  });

  it("mbr by equal answers chooses as self-consistency does", () => {
    expect(run(programOf(mbr, { n: 100 }))).toEqual({ correct: 9, samples: 10_000 });
  });

  it("adaptive-consistency, doubling and early stopping solve as much with fewer samples", () => {
    expect(run(programOf(adaptiveConsistency, { n: 100, parallel: 1 }))).toEqual({
      correct: 9,
      samples: 7838,
    });
    expect(run(programOf(doublingConsistency, { n: 100 }))).toEqual({ correct: 9, samples: 9216 });
    expect(run(programOf(earlyStoppingConsistency, { n: 100 }))).toEqual({ correct: 9, samples: 9800 });
  });
});
