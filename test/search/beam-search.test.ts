import { describe, expect, it } from "vitest";
import { textOf } from "../../services/search/search.ts";
import { beamSearch } from "../../services/search/strategies/beam-search.ts";
import { programOf, sampledFrom, scripted, solve } from "./scripted.ts";

const given = { width: 4, expand: 2, max_steps: 3, step_stop: ["\n"] };

describe("beam search with a lookahead", () => {
  it("scores a step by where it leads at temperature 0, and forgets that", () => {
    // The steps look alike; "b1" leads to the best, "b3" to the next.
    const texts = ["b1\n", "b2\n", "b3\n", "b4\n", "a\n", "d\n", "c\n", "d\n", "x", "x", "x", "x"];
    const { trace } = solve(programOf(beamSearch, { ...given, lookahead: 1 }), scripted(texts));
    expect(sampledFrom(trace).slice(4)).toEqual([
      "pb1\n",
      "pb2\n",
      "pb3\n",
      "pb4\n",
      "pb1\n",
      "pb1\n",
      "pb3\n",
      "pb3\n",
    ]);
    const temperatures = trace.asks.flatMap((ask) =>
      ask.kind === "sample" ? [ask.options.temperature] : [],
    );
    expect(temperatures.slice(3, 9)).toEqual([undefined, 0, 0, 0, 0, undefined]);
    const scored = trace.asks.filter((ask) => ask.kind === "verify" && ask.role === "process");
    expect(scored.map((ask) => [textOf(ask.prefix), ask.kind === "verify" && ask.of])).toContainEqual([
      "pb1\na\n",
      "0.0/0",
    ]);
  });

  it("looks ahead of equal steps once, and no further than an end", () => {
    const texts = ["b\n", "b\n", "b\n", "b\n", "a", "x"];
    const { trace } = solve(programOf(beamSearch, { ...given, lookahead: 5 }), scripted(texts));
    expect(sampledFrom(trace).slice(4)).toEqual(["pb\n", "pb\n", "pb\n", "pb\n", "pb\n"]);
  });

  it("scores what was reached when a lookahead is lost", () => {
    const texts = ["b\n", "a\n", "d\n", "c\n", "x"];
    const { trace } = solve(programOf(beamSearch, { ...given, lookahead: 2 }), scripted(texts), {
      lose: (ask) =>
        ask.kind === "sample" && ask.options.temperature === 0 ? { reason: "lost", message: "x" } : null,
    });
    expect(sampledFrom(trace).slice(8)).toEqual(["pa\n", "pa\n", "pb\n", "pb\n"]);
  });
});

describe("beam search", () => {
  it("keeps paths of equal text where told not to filter them", () => {
    const texts = ["b\n", "b\n", "c\n", "d\n", "x"];
    const { trace } = solve(programOf(beamSearch, { ...given, filter_duplicates: "off" }), scripted(texts));
    expect(sampledFrom(trace).slice(4)).toEqual(["pb\n", "pb\n", "pb\n", "pb\n"]);
  });

  it("ranks by the aggregated scores of all steps", () => {
    // Second round: under a (.9) comes c (.3), under d (.1) comes b (.5): products .27 and .05.
    const texts = ["a\n", "d\n", "a\n", "d\n", "c\n", "c\n", "b\n", "b\n", "x"];
    const third = (aggregate: "last" | "prod") =>
      sampledFrom(
        solve(programOf(beamSearch, { ...given, expand: 4, width: 4, aggregate }), scripted(texts)).trace,
      ).slice(8);
    expect(third("last")[0]).toBe("pa\nb\n");
    const wide = (aggregate: "last" | "prod") =>
      sampledFrom(solve(programOf(beamSearch, { ...given, aggregate }), scripted(texts)).trace).slice(8);
    expect(wide("last")).toEqual(["pd\nb\n", "pd\nb\n", "pa\nc\n", "pa\nc\n"]);
    expect(wide("prod")).toEqual(["pa\nc\n", "pa\nc\n", "pd\nb\n", "pd\nb\n"]);
  });
});
