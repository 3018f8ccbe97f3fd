/** Votes: what they weigh, and when no more of them are needed. */
import { describe, expect, it } from "vitest";
import type { Answer, Ask } from "../../services/search/program.ts";
import { rootPrefix, Search } from "../../services/search/search.ts";
import {
  adaptiveConsistency,
  betaConfidence,
} from "../../services/search/strategies/adaptive-consistency.ts";
import { bestOfN } from "../../services/search/strategies/best-of-n.ts";
import { doublingConsistency } from "../../services/search/strategies/doubling-consistency.ts";
import { earlyStoppingConsistency } from "../../services/search/strategies/early-stopping-consistency.ts";
import { selfConsistency } from "../../services/search/strategies/self-consistency.ts";
import { drive } from "./drive.ts";
import type { Trace } from "./drive.ts";
import { programOf, rolloutOf, sampledFrom, scripted, solve } from "./scripted.ts";

const samplesOf = (trace: Trace): number => sampledFrom(trace).length;

describe("the confidence of adaptive consistency", () => {
  it.each([
    [1, 0, 0.75],
    [3, 0, 0.9375],
    [4, 0, 0.96875],
    [5, 1, 0.9375],
    [6, 1, 0.964844],
    [8, 2, 0.967285],
    [10, 3, 0.971313],
    [20, 10, 0.964622],
  ])("of %i against %i is %f", (v1, v2, expected) => {
    expect(betaConfidence(v1, v2)).toBeCloseTo(expected, 6);
  });

  it("is a half for a tie, and stays a number for counts whose binomials overflow", () => {
    for (const v of [0, 1, 7, 600, 5000]) expect(betaConfidence(v, v)).toBeCloseTo(0.5, 9);
    expect(betaConfidence(9000, 1000)).toBe(1);
  });

  it("needs 4, 6, 8, 9, 11, 12, 14, 15 votes against 0..7 to reach 0.95", () => {
    const fewest = [0, 1, 2, 3, 4, 5, 6, 7].map((v2) => {
      let v1 = v2;
      while (betaConfidence(v1, v2) < 0.95) v1++;
      return v1;
    });
    expect(fewest).toEqual([4, 6, 8, 9, 11, 12, 14, 15]);
  });
});

describe("adaptive-consistency", () => {
  it("one at a time, stops at the fourth of four equal answers", () => {
    const { trace, outcome } = solve(programOf(adaptiveConsistency, { parallel: 1 }), scripted(["a"]));
    expect(samplesOf(trace)).toBe(4);
    expect(outcome).toMatchObject({ answer: "a", score: 1, selection: "majority" });
  });

  it("with one answer against it, stops at the sixth", () => {
    const { trace } = solve(programOf(adaptiveConsistency, { parallel: 1 }), scripted(["b", "a"]));
    expect(samplesOf(trace)).toBe(1 + 6);
  });

  it("withdraws what is in flight when it stops", () => {
    const { trace, outcome } = solve(programOf(adaptiveConsistency, { parallel: 8 }), scripted(["a"]));
    expect(outcome.candidate?.index).toBe(0);
    expect(trace.withdrawn.length).toBeGreaterThanOrEqual(4);
  });

  it("draws n where the answers stay apart, and keeps the first of the most frequent", () => {
    const texts = Array.from({ length: 10 }, (_, i) => "dcba"[i % 4] ?? "");
    const { trace, outcome } = solve(programOf(adaptiveConsistency, { n: 10 }), scripted(texts));
    expect(samplesOf(trace)).toBe(10);
    expect(outcome).toMatchObject({ answer: "d", score: 0.3 });
  });

  it.each(["majority", "entropy"] as const)(
    "by %s does not stop on fewer answers than it may",
    (criterion) => {
      const given = { criterion, confidence: 0.8, answers_min: 5, parallel: 1 };
      const { trace } = solve(programOf(adaptiveConsistency, given), scripted(["a"]));
      expect(samplesOf(trace)).toBe(5);
    },
  );

  it("by entropy stops at 9 of 10, where H = 0.325 and log 10 = 2.303", () => {
    const given = { criterion: "entropy", confidence: 0.85, answers_min: 2, parallel: 1 } as const;
    const { trace } = solve(programOf(adaptiveConsistency, given), scripted(["b", "a"]));
    expect(samplesOf(trace)).toBe(10);
  });

  it("replaces a sample that is lost", () => {
    const { trace } = solve(programOf(adaptiveConsistency, { parallel: 1 }), scripted(["a"]), {
      lose: (_, settled) => (settled === 0 ? { reason: "lost", message: "host gone" } : null),
    });
    expect(samplesOf(trace)).toBe(5);
  });
});

describe("early-stopping-consistency", () => {
  const given = { n: 9, window: 3 };

  it("stops at the first window that agrees, and votes over all", () => {
    const { trace, outcome } = solve(
      programOf(earlyStoppingConsistency, given),
      scripted(["b", "b", "a", "a", "a", "a"]),
    );
    expect(samplesOf(trace)).toBe(6);
    expect(outcome).toMatchObject({ answer: "a", score: 4 / 6 });
  });

  it("does not take samples of two windows for one", () => {
    const { trace } = solve(programOf(earlyStoppingConsistency, given), scripted(["b", "a", "a", "a", "b"]));
    expect(samplesOf(trace)).toBe(9);
  });

  it("begins the next window once one cannot agree, before it is complete", () => {
    const search = new Search(() => programOf(earlyStoppingConsistency, given)(rootPrefix("p")));
    // Three rollouts and the first two verdicts: the third is open.
    const trace = drive(search, { answer: scripted(["b", "a", "a"]), answersMax: 5 });
    expect(samplesOf(trace)).toBe(6);
    expect(search.openAsks).toBe(1 + 3);
  });

  it("takes a lost sample, or one without an answer, for disagreement", () => {
    const lossy = solve(programOf(earlyStoppingConsistency, given), scripted(["a"]), {
      lose: (ask) => (ask.id === "0.1/0" ? { reason: "lost", message: "host gone" } : null),
    });
    expect(samplesOf(lossy.trace)).toBe(6);
    const mute = solve(programOf(earlyStoppingConsistency, given), scripted(["a"], abstaining));
    expect(samplesOf(mute.trace)).toBe(9);
    expect(mute.outcome).toMatchObject({ answer: null, abstained: 1 });
  });
});

describe("doubling-consistency", () => {
  it("stops at two that agree", () => {
    expect(samplesOf(solve(programOf(doublingConsistency), scripted(["a"])).trace)).toBe(2);
  });

  it("counts all samples so far: 6 of 8 agree where 5 of the last 6 do", () => {
    const texts = ["b", "a", "a", "b", "a", "a", "a", "a", "c"];
    const { trace, outcome } = solve(programOf(doublingConsistency), scripted(texts));
    expect(samplesOf(trace)).toBe(8);
    expect(outcome).toMatchObject({ answer: "a", score: 0.75 });
  });

  it("ends at n, be it no power of two", () => {
    const texts = ["a", "b", "c", "d", "a", "b", "c", "d", "a", "b"];
    expect(samplesOf(solve(programOf(doublingConsistency, { n: 10 }), scripted(texts)).trace)).toBe(10);
  });
});

describe("self-consistency weighted by the outcome verifier", () => {
  it("is weighted best-of-n, and a negative score weighs nothing", () => {
    const scores: Readonly<Record<string, number>> = { a: -3, b: 0.2, c: 0.5 };
    const reply = (ask: Ask): Answer | null => {
      if (ask.kind === "sample") return null;
      const letter = ask.prefix.text.charAt(0);
      const score = scores[letter] ?? 0;
      return { kind: "verdict", verdict: { verdict: "undecided", score, answer: letter, reason: null } };
    };
    const given = { n: 6, vote: "weighted", weight_by: "outcome" } as const;
    const { outcome, trace } = solve(
      programOf(selfConsistency, given),
      scripted(["a", "a", "b", "b", "b", "c"], reply),
    );
    expect(outcome.answer).toBe("b");
    expect(outcome.score).toBeCloseTo(0.6 / 1.1, 12);
    expect(trace.asks.filter((ask) => ask.kind === "verify")).toHaveLength(6);
  });
});

describe("best-of-n by log-probability", () => {
  const rollouts = [
    { text: "a", meanLogprob: -0.5, completionTokens: 10 },
    { text: "b", meanLogprob: -0.9, completionTokens: 2 },
    { text: "c", meanLogprob: -0.1, completionTokens: null },
    { text: "d", meanLogprob: null, completionTokens: 1 },
  ];
  const answer = scripted([], (ask) => {
    if (ask.kind !== "sample") return null;
    const { text, ...rest } = rollouts[ask.sample] ?? { text: "" };
    return rolloutOf(text, rest);
  });

  it("per token takes the likeliest token by token, in all the likeliest text; unknown ranks last", () => {
    const best = (by: "mean-logprob" | "sum-logprob") =>
      solve(programOf(bestOfN, { n: 4, by }), answer).outcome;
    expect(best("mean-logprob")).toMatchObject({ score: -0.1, answer: "c" });
    expect(best("sum-logprob")).toMatchObject({ score: -1.8, answer: "b" });
  });

  it("still asks for the verdict, which selects nothing", () => {
    const { outcome } = solve(programOf(bestOfN, { n: 1, by: "mean-logprob" }), answer);
    expect(outcome.candidate?.verdict).toMatchObject({ verdict: "incorrect", score: 0.9 });
  });
});

function abstaining(ask: Ask): Answer | null {
  if (ask.kind === "sample") return null;
  return { kind: "verdict", verdict: { verdict: "undecided", score: null, answer: null, reason: null } };
}
