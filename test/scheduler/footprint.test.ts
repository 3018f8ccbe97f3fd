/** What trees are expected to need of a KV cache: what was seen of their kind, and what follows from it. */
import { describe, expect, test } from "vitest";
import { Footprint } from "../../services/coordinator/scheduler/footprint.ts";
import { Forecast } from "../../services/coordinator/scheduler/forecast.ts";
import { Habits, KINDS_MAX } from "../../services/coordinator/scheduler/habits.ts";
import { StepPace } from "../../services/coordinator/scheduler/step-pace.ts";
import { TreeUse } from "../../services/coordinator/scheduler/tree-use.ts";

const ROUND = 4;
const EACH_TOKENS = 10;
const plain = { each: EACH_TOKENS, offset: 0, growth: 2 };

/** A tree that has `rounds` rounds of four asks, whose path grows by `step` with each. */
function grow(footprint: Footprint, rounds: number, { step = 10, revisits = false } = {}): TreeUse {
  const use = new TreeUse(revisits);
  for (let round = 0; round < rounds; round++) {
    if (round > 0) use.answered();
    for (let ask = 1; ask <= ROUND; ask++) {
      const inUse = { pathTokens: 100 + round * step, asks: ask };
      use.launched(footprint, { inUse, newTokens: use.asked === 0 ? 100 : 0, each: EACH_TOKENS });
    }
  }
  return use;
}

function over(footprint: Footprint, rounds: number, options = {}): void {
  grow(footprint, rounds, options).over(footprint);
}

describe("a footprint", () => {
  test("learns what trees need round by round, siblings that are answered first included", () => {
    const footprint = new Footprint();
    over(footprint, 3);
    expect([0, 1, 2].map((stretch) => footprint.tokensIn(stretch, EACH_TOKENS))).toEqual([140, 150, 160]);
    expect(footprint.stretches).toBe(3);
    expect(footprint.rounds).toBe(1);
  });

  test("expects of a tree what others needed further on, as far as they came so far", () => {
    const footprint = new Footprint();
    for (const rounds of [2, 2, 4, 4]) over(footprint, rounds);
    expect(footprint.expected(0, 1, plain)).toBe(150);
    // Half of those that were at the second round went on to the third.
    expect(footprint.expected(1, 2, plain)).toBe(80);
    expect(footprint.expected(2, 3, plain)).toBe(170);
    // Nobody came further than the fourth.
    expect(footprint.expected(0, 4, plain)).toBe(0);
  });

  test("is not misled by short trees being over first: those that run count as far as they are", () => {
    const footprint = new Footprint();
    for (let i = 0; i < 9; i++) grow(footprint, 3);
    over(footprint, 2);
    expect(footprint.expected(1, 2, plain)).toBeCloseTo(0.9 * 150);
  });

  test("takes trees to grow so many times further where none has been, a steady kind as it did", () => {
    const footprint = new Footprint();
    grow(footprint, 3);
    // Two rounds were left: the third still runs.
    expect(footprint.expected(0, 2, plain)).toBe(150);
    expect(footprint.expected(0, 3, plain)).toBe(300);
    const steady = new Footprint();
    grow(steady, 4, { revisits: true });
    const seen = steady.tokensIn(2, EACH_TOKENS);
    expect(steady.expected(0, 7, plain)).toBe(2 * seen);
  });

  test("adds what a tree needs more than others of its kind", () => {
    const footprint = new Footprint();
    over(footprint, 3);
    expect(footprint.expected(0, 1, { ...plain, offset: 25 })).toBe(175);
    expect(footprint.expected(0, 1, { ...plain, offset: -1_000 })).toBe(0);
  });

  test("reckons with what asks turn out to make, whatever was expected when they were sent", () => {
    const footprint = new Footprint();
    over(footprint, 1);
    expect(footprint.tokensIn(0, 10)).toBe(140);
    expect(footprint.tokensIn(0, 100)).toBe(500);
  });

  test("follows trees however far they go, with longer stretches", () => {
    const footprint = new Footprint();
    over(footprint, 1_000);
    expect(footprint.stretches).toBeLessThanOrEqual(64);
    expect(footprint.rounds * footprint.stretches).toBeGreaterThanOrEqual(1_000);
    const last = footprint.stretchOf(1_000 * ROUND);
    expect(footprint.tokensIn(last, EACH_TOKENS)).toBeGreaterThan(0.9 * (100 + 999 * 10));
    expect(footprint.expected(0, last, plain)).toBe(footprint.tokensIn(last, EACH_TOKENS));
  });

  test("forgets slowly what trees were like long ago", () => {
    const footprint = new Footprint();
    for (let i = 0; i < 3_000; i++) over(footprint, 2, { step: 10 });
    for (let i = 0; i < 12_000; i++) over(footprint, 2, { step: 110 });
    expect(footprint.tokensIn(1, EACH_TOKENS)).toBeGreaterThan(245);
  });
});

describe("what a tree uses", () => {
  test("is what its latest round had at most, however few of it still run", () => {
    const footprint = new Footprint();
    const use = grow(footprint, 2);
    expect(use.width).toEqual({ pathTokens: 110, asks: ROUND });
    expect(use.mostAsks).toBe(ROUND);
    use.answered();
    expect(use.width).toEqual({ pathTokens: 110, asks: ROUND });
    const inUse = { pathTokens: 80, asks: 1 };
    use.launched(footprint, { inUse, newTokens: 0, each: EACH_TOKENS });
    expect(use.width).toEqual(inUse);
  });

  test("is all that it ever made where it comes back to old nodes", () => {
    const use = grow(new Footprint(), 3, { revisits: true });
    expect(use.width).toEqual({ pathTokens: 100, asks: 3 * ROUND });
  });

  test("of a tree that never asked is nothing to learn from", () => {
    const footprint = new Footprint();
    new TreeUse(false).over(footprint);
    expect(footprint.isLearned).toBe(false);
  });
});

describe("habits", () => {
  test("of the kind met first are forgotten when there are too many, not those of one that is at work", () => {
    const habits = new Habits();
    habits.sent("at work", 100);
    for (let kind = 0; kind < KINDS_MAX; kind++)
      habits.answered(`kind ${kind}`, { tokens: 7, durationMs: 1 });
    habits.answered("at work", { tokens: 50, durationMs: 1 });
    expect([...habits.footprints()].length).toBe(KINDS_MAX);
    expect(habits.durationMs("at work")).toBe(1);
    expect(habits.durationMs("kind 1")).toBe(1);
    expect(habits.durationMs("kind 0")).toBeNull();
  });
});

describe("a forecast", () => {
  test("adds up what trees need at one time, not what each needs at most", () => {
    const forecast = new Forecast(24_000);
    forecast.add((ms) => (ms < 12_000 ? 100 : 0));
    forecast.add((ms) => (ms < 12_000 ? 0 : 80));
    expect(forecast.most()).toBe(100);
    expect(forecast.most((ms) => (ms < 12_000 ? 10 : 50))).toBe(130);
  });

  test("of trees of which nothing is known looks at now only", () => {
    const forecast = new Forecast(0);
    forecast.add(() => 7);
    expect(forecast.most(() => 5)).toBe(12);
  });
});

describe("the pace of steps", () => {
  const stepped = { aboveMs: 12, contextTokens: 100_000, weight: 1 };

  test("says which share of a step passes whatever runs, by the context that the step reads", () => {
    const pace = new StepPace();
    for (let i = 0; i < 8; i++) pace.stepped(stepped);
    expect(pace.floorShare(6, 100_000)).toBeCloseTo(6 / 18);
    expect(pace.floorShare(6, 200_000)).toBeCloseTo(6 / 30);
  });

  test("says nothing before anything was seen, and nothing good of steps as fast as the floor", () => {
    const pace = new StepPace();
    expect(pace.floorShare(6, 100_000)).toBe(0);
    pace.stepped({ ...stepped, weight: 0.5 });
    expect(pace.floorShare(6, 100_000)).toBe(0);
    pace.stepped({ ...stepped, aboveMs: -3 });
    expect(pace.floorShare(6, 100_000)).toBeGreaterThan(0);
  });

  test("follows hosts that become slower", () => {
    const pace = new StepPace();
    for (let i = 0; i < 500; i++) pace.stepped(stepped);
    for (let i = 0; i < 500; i++) pace.stepped({ ...stepped, aboveMs: 48 });
    expect(pace.floorShare(6, 100_000)).toBeCloseTo(6 / 54, 1);
  });
});
