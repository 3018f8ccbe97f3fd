import { describe, expect, it } from "vitest";
import { textOf } from "../../services/search/search.ts";
import { allocate, rebase } from "../../services/search/strategies/rebase.ts";
import { programOf, sampledFrom, scripted, solve } from "./scripted.ts";

describe("REBASE's shares", () => {
  it.each([
    [[0.9, 0.7, 0.5, 0.1], 16, 0.2, [11, 4, 1, 0], [11, 4, 1, 0]],
    [[0.8, 0.8, 0.8], 16, 0.2, [5, 5, 5], [6, 5, 5]],
    [[0.95, 0.9, 0.2, 0.1, 0.05], 16, 0.1, [10, 6, 0, 0, 0], [10, 6, 0, 0, 0]],
    [
      [0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25],
      16,
      0.2,
      [4, 3, 2, 2, 2, 1, 1, 1],
      [5, 3, 3, 2, 2, 1, 0, 0],
    ],
  ])("of %j with B=%i, T_b=%f are %j rounded and %j by ceil", (scores, budget, balance, rounded, ceiled) => {
    expect(allocate(scores, { budget, balance, rounding: "paper" })).toEqual(rounded);
    expect(allocate(scores, { budget, balance, rounding: "ceil" })).toEqual(ceiled);
  });

  it("by ceil sum to the budget, whatever the scores, and go by position, not by rank", () => {
    expect(allocate([0.1, 0.9], { budget: 4, balance: 0.2, rounding: "ceil" })).toEqual([0, 4]);
    for (let n = 1; n <= 40; n++) {
      for (let budget = 1; budget <= 40; budget++) {
        const scores = Array.from({ length: n }, (_, i) => ((i * 7919 + n) % 10) / 10);
        for (const balance of [0.001, 0.2, 1000]) {
          const shares = allocate(scores, { budget, balance, rounding: "ceil" });
          expect(shares.reduce((sum, share) => sum + share, 0)).toBe(budget);
          expect(Math.min(...shares)).toBeGreaterThanOrEqual(0);
        }
      }
    }
  });

  it("are whole where the exact shares are, and never all nothing", () => {
    for (const n of [3, 6, 7, 9, 49]) {
      const scores = Array.from({ length: n }, () => 0.3);
      const even = allocate(scores, { budget: n * 5, balance: 0.1, rounding: "ceil" });
      expect(even).toEqual(scores.map(() => 5));
    }
    expect(allocate([0.2, 0.2, 0.2], { budget: 1, balance: 1, rounding: "paper" })).toEqual([1, 0, 0]);
  });
});

describe("REBASE", () => {
  const given = { width: 4, max_steps: 3, step_stop: ["\n"], balance: 0.2 };

  it("shares out what finished paths leave", () => {
    // Scores by first letter: a .9, b .5, c .3, d .1. Of 4 one path finishes; 3 are shared out over .9 and .1.
    const { trace } = solve(
      programOf(rebase, given),
      scripted(["b", "a\n", "d\n", "d2\n", "x\n", "y\n", "z\n"]),
    );
    expect(sampledFrom(trace).slice(4, 7)).toEqual(["pa\n", "pa\n", "pa\n"]);
  });

  it("ends a path by the tokens along all of it", () => {
    // Each step is one token: the second step reaches the cap of two.
    const { trace } = solve(programOf(rebase, { ...given, max_steps: 9, path_tokens: 2 }), scripted(["a\n"]));
    expect(sampledFrom(trace)).toHaveLength(8);
  });

  it("weighs votes by the aggregated score of the steps", () => {
    // The path over d ends in b: one vote of .5; two paths end in c: .3 each. By the worst step d weighs .1.
    const texts = ["c", "c", "d\n", "b"];
    const run = (aggregate: "last" | "min") =>
      solve(programOf(rebase, { ...given, width: 3, aggregate }), scripted(texts)).outcome;
    expect(run("last")).toMatchObject({ answer: "c", selection: "weighted-vote" });
    expect(run("last").score).toBeCloseTo(0.6 / 1.1, 12);
    expect(run("min").score).toBeCloseTo(0.6 / 0.7, 12);
  });

  it("takes a lost verdict for a score of 0", () => {
    const { trace } = solve(programOf(rebase, given), scripted(["a\n", "d\n", "b\n", "c\n", "d\n"]), {
      lose: (ask) =>
        ask.kind === "verify" && textOf(ask.prefix) === "pa\n" ? { reason: "lost", message: "x" } : null,
    });
    expect(sampledFrom(trace).slice(4, 8)).toEqual(["pb\n", "pb\n", "pb\n", "pc\n"]);
  });
});
