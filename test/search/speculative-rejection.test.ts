import { describe, expect, it } from "vitest";
import type { Answer, Ask } from "../../services/search/program.ts";
import { textOf } from "../../services/search/search.ts";
import { speculativeRejection } from "../../services/search/strategies/speculative-rejection.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { programOf, rolloutOf, sampledFrom, scripted, solve } from "./scripted.ts";

/** The k-th answer grows by `texts[k]`, a piece per rung; the last piece ends it. Scores are those of the last piece. */
function growing(texts: readonly (readonly string[])[]): (ask: Ask) => Answer | null {
  return (ask) => {
    if (ask.kind !== "sample") return null;
    const sofar = textOf(ask.prefix).slice(1);
    const pieces =
      sofar === "" ? texts[ask.sample] : (texts.find((some) => some.join("").startsWith(sofar)) ?? []);
    const next = pieces?.find((_, i) => pieces.slice(0, i).join("") === sofar) ?? "";
    const isWhole = sofar + next === pieces?.join("");
    return rolloutOf(next, { finishReason: isWhole ? "stop" : "length" });
  };
}

describe("speculative-rejection", () => {
  it("drops the worst half at every rung, and goes on where the others stopped", () => {
    const texts = [
      ["d1", "d2"],
      ["b1", "d3", "a2"],
      ["c1", "c2"],
      ["a1", "c3", "b2"],
    ];
    const { outcome, trace } = solve(
      programOf(speculativeRejection, { n: 4, rung_tokens: 7 }),
      scripted([], growing(texts)),
    );
    expect(sampledFrom(trace)).toEqual(["p", "p", "p", "p", "pb1", "pa1", "pa1c3"]);
    expect(trace.asks[0]).toMatchObject({ options: { maxTokens: 7 } });
    expect(outcome).toMatchObject({ candidate: { index: 3 }, score: 0.5, selection: "highest-score" });
  });

  it("takes an answer that ended for a candidate, and does not count it when it drops", () => {
    const texts = [["c"], ["d1", "d2"], ["b1", "b2"], ["a"]];
    const { outcome, trace } = solve(programOf(speculativeRejection, { n: 4 }), scripted([], growing(texts)));
    expect(sampledFrom(trace).slice(4)).toEqual(["pb1"]);
    expect(outcome).toMatchObject({ candidate: { index: 3 }, score: 0.9 });
  });

  it("judges what is still open after the last rung", () => {
    const texts = [
      ["b1", "b2", "b3"],
      ["c1", "c2", "c3"],
    ];
    const { outcome } = solve(
      programOf(speculativeRejection, { n: 2, rungs: 2, reject: 0 }),
      scripted([], growing(texts)),
    );
    expect(outcome.candidate && textOf(outcome.candidate.prefix)).toBe("pb1b2");
  });

  it("costs at most the rungs of its halves", () => {
    const cost = (given: { n: number; reject: number; rungs: number }) =>
      speculativeRejection.cost(withDefaults(speculativeRejection.parameters, given)).rollouts;
    expect(cost({ n: 64, reject: 0.5, rungs: 16 })).toBe(64 + 32 + 16 + 8 + 4 + 2 + 10);
    expect(cost({ n: 5, reject: 0.8, rungs: 2 })).toBe(5 + 1);
    expect(cost({ n: 3, reject: 0, rungs: 4 })).toBe(12);
  });
});
