import { describe, expect, it } from "vitest";
import { drawIndex } from "../../services/search/chance.ts";
import { rootPrefix, Search, textOf } from "../../services/search/search.ts";
import { logit, particleFiltering } from "../../services/search/strategies/particle-filtering.ts";
import { drive } from "./drive.ts";
import { programOf, sampledFrom, scripted } from "./scripted.ts";

type Given = Parameters<typeof programOf<typeof particleFiltering>>[1];

function run(given: Given, texts: readonly string[], draws: readonly number[]) {
  let drawn = 0;
  const search = new Search(() => programOf(particleFiltering, given)(rootPrefix("p")), {
    draw: () => draws[drawn++] ?? 0,
  });
  const trace = drive(search, { answer: scripted(texts) });
  return { trace, search, drawn };
}

describe("particle filtering", () => {
  const given = { particles: 4, max_steps: 2, step_stop: ["\n"] } as const;
  /** Odds: a .9 is 9, b .5 is 1, c .3 is 3/7, d .1 is 1/9; shares in this order .8539, .0949, .0407, .0105. */
  const texts = ["a\n", "b\n", "c\n", "d\n"];

  it("draws particles in proportion to the odds of their scores", () => {
    const { trace, drawn } = run(given, texts, [0.85, 0.86, 0.94, 0.95]);
    expect(sampledFrom(trace).slice(4)).toEqual(["pa\n", "pb\n", "pb\n", "pc\n"]);
    expect(drawn).toBe(4);
  });

  it("draws once where told to draw systematically", () => {
    const { trace, drawn } = run({ ...given, resample: "systematic" }, texts, [0.5]);
    // At .125, .375, .625 and .875.
    expect(sampledFrom(trace).slice(4)).toEqual(["pa\n", "pa\n", "pa\n", "pb\n"]);
    expect(drawn).toBe(1);
  });

  it("leaves a stopped particle its weight, and does not extend or judge it again", () => {
    const { trace, search } = run(given, ["a", "b\n", "b\n", "b\n", "c"], [0.1, 0.2, 0.3, 0.9]);
    expect(sampledFrom(trace).slice(4)).toEqual(["pb\n"]);
    expect(search.candidates.map(({ prefix }) => textOf(prefix))).toEqual(["pa", "pb\nc"]);
    expect(search.outcome).toMatchObject({ answer: "a", selection: "highest-score" });
  });

  it("chooses by weight or by chance, where told to", () => {
    const last = { ...given, max_steps: 1 };
    const heaviest = run({ ...last, select: "highest-weight" }, texts, []);
    expect(heaviest.search.outcome).toMatchObject({ candidate: { index: 0 } });
    const drawn = run({ ...last, select: "drawn" }, texts, [0.86]);
    expect(drawn.search.outcome).toMatchObject({ candidate: { index: 1 }, selection: "drawn" });
  });

  it("clips a score before it takes its logit", () => {
    expect(logit(0.5)).toBe(0);
    expect(logit(0.9)).toBeCloseTo(Math.log(9), 12);
    expect(logit(1)).toBeCloseTo(-logit(0), 6);
    expect(logit(2)).toBe(logit(1));
    expect(logit(0)).toBeCloseTo(Math.log(1e-7), 6);
  });
});

describe("an index drawn by weight", () => {
  it("falls in proportion, and never on a weight of 0", () => {
    const weights = [0, 1, 0, 3, 0];
    const hits = Array.from({ length: 1000 }, (_, i) => drawIndex(weights, i / 1000));
    expect(hits.filter((hit) => hit === 1)).toHaveLength(250);
    expect(hits.filter((hit) => hit === 3)).toHaveLength(750);
    expect(drawIndex(weights, 1 - Number.EPSILON / 2)).toBe(3);
  });

  it("is even where no weight is above 0, and none of nothing", () => {
    expect([0, 0.4, 0.99].map((at) => drawIndex([0, -1, 0], at))).toEqual([0, 1, 2]);
    expect(drawIndex([], 0.5)).toBe(-1);
  });
});
