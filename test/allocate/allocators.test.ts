import { describe, expect, test } from "vitest";
import { agreement } from "../../services/coordinator/allocate/agreement.ts";
import type { TaskProgress } from "../../services/coordinator/allocate/allocator.ts";
import { ALLOCATORS, createAllocator, findAllocator } from "../../services/coordinator/allocate/catalogue.ts";
import { computeOptimal } from "../../services/coordinator/allocate/compute-optimal.ts";
import { halving } from "../../services/coordinator/allocate/halving.ts";
import { marginal, planGreedily } from "../../services/coordinator/allocate/marginal.ts";
import { shareEqually } from "../../services/coordinator/allocate/shares.ts";
import { fitSolveRate, gains, posterior } from "../../services/coordinator/allocate/solve-rate.ts";
import { stopOnVerified } from "../../services/coordinator/allocate/stop-on-verified.ts";
import { uniform } from "../../services/coordinator/allocate/uniform.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { allocatorConformance, play } from "../conformance/allocator.ts";

for (const kind of ALLOCATORS) allocatorConformance(kind);

const SWEEP = { arms: ["a"], problems: 4 };

function task(ordinal: number, given: Partial<TaskProgress> = {}): TaskProgress {
  return {
    ordinal,
    problem: `p${ordinal}`,
    arm: "a",
    metadata: {},
    granted: 0,
    made: 0,
    wanted: 1_000,
    judged: 0,
    correct: 0,
    bestScore: null,
    meanScore: null,
    votes: [],
    verdict: null,
    tokens: null,
    isEnded: false,
    ...given,
  };
}

const tasks = (...given: readonly Partial<TaskProgress>[]): TaskProgress[] =>
  given.map((one, ordinal) => task(ordinal, one));
const list = (grants: ReadonlyMap<number, number>, count: number): number[] =>
  Array.from({ length: count }, (_, ordinal) => grants.get(ordinal) ?? 0);

describe("equal shares", () => {
  test("what one task cannot take goes to the others, and the remainder to the lowest ordinals", () => {
    expect(list(shareEqually(tasks({}, { wanted: 1 }, {}), 10), 3)).toEqual([5, 1, 4]);
    expect(list(shareEqually(tasks({}, {}, {}), 2), 3)).toEqual([1, 1, 0]);
    expect(list(shareEqually(tasks({ wanted: 3 }, { wanted: 2 }), Infinity), 2)).toEqual([3, 2]);
  });
});

describe("uniform", () => {
  test("grants a share whole at the opening, and what is left over in equal parts", () => {
    const allocator = uniform.create({}, SWEEP);
    expect(allocator.first({ ordinal: 0, problem: "p", arm: "a", share: 50 })).toBe(50);
    const grants = allocator.divide({ tasks: tasks({}, {}), ended: [], rollouts: 7 });
    expect(list(grants, 2)).toEqual([4, 3]);
  });
});

describe("stop-on-verified", () => {
  const allocator = stopOnVerified.create({ round: 8 }, SWEEP);

  test("a task is done with its first correct candidate, and not before", () => {
    expect(allocator.isEnough(task(0, { judged: 40 }))).toBe(false);
    expect(allocator.isEnough(task(0, { judged: 40, correct: 1 }))).toBe(true);
  });

  test("covers more problems than equal shares do, from the same budget", () => {
    const options = { tasks: 60, budget: 1_200, most: 100, seed: 3 };
    const solved = (kind: typeof uniform | typeof stopOnVerified): number => {
      const made = createAllocator({ kind: kind.kind, parameters: withDefaults(kind.parameters) }, SWEEP);
      return play(made, options).tasks.filter(({ correct }) => correct > 0).length;
    };
    expect(solved(stopOnVerified)).toBeGreaterThan(solved(uniform));
  });
});

describe("agreement", () => {
  const allocator = agreement.create({ confidence: 0.95, round: 4 }, SWEEP);

  test.each([
    // The fewest votes that stop it at 0.95 against so many for another answer (Aggarwal 2023).
    [0, 4],
    [1, 6],
    [2, 8],
    [3, 9],
    [4, 11],
    [5, 12],
    [6, 14],
    [7, 15],
  ])("against %i votes for another answer it stops at %i", (second, first) => {
    expect(allocator.isEnough(task(0, { votes: [first, second] }))).toBe(true);
    expect(allocator.isEnough(task(0, { votes: [first - 1, second] }))).toBe(false);
  });

  test("where no answers are read the verdicts vote", () => {
    expect(allocator.isEnough(task(0, { judged: 4, correct: 0 }))).toBe(true);
    expect(allocator.isEnough(task(0, { judged: 7, correct: 2 }))).toBe(false);
    expect(allocator.isEnough(task(0))).toBe(false);
  });
});

describe("marginal", () => {
  const RATES = [0.9, 0.5, 0.1, 0.02];

  test("spends 16 rollouts on known rates as published: 2, 4, 10 and 0", () => {
    const plan = planGreedily(tasks({}, {}, {}, {}), 16, {
      believed: ({ ordinal }) => ({ mean: RATES[ordinal] ?? 0, strength: Infinity }),
      tokens: () => 1,
    });
    expect(list(plan, 4)).toEqual([2, 4, 10, 0]);
    const solved = RATES.reduce((sum, rate, i) => sum + 1 - (1 - rate) ** (plan.get(i) ?? 0), 0);
    expect(solved).toBeCloseTo(2.5788, 4);
  });

  test("follows the rates that problems predict, and the verdicts against them", () => {
    const parameters = { ...withDefaults(marginal.parameters), prior: "metadata.rate", round: 16 };
    const allocator = marginal.create(parameters, SWEEP);
    const fresh = tasks({ metadata: { rate: 0.01 } }, { metadata: { rate: 0.4 } });
    expect(list(allocator.divide({ tasks: fresh, ended: [], rollouts: 4 }), 2)).toEqual([0, 4]);
    const failing = tasks({ metadata: { rate: 0.1 } }, { metadata: { rate: 0.4 }, judged: 400, made: 400 });
    expect(list(allocator.divide({ tasks: failing, ended: [], rollouts: 4 }), 2)).toEqual([4, 0]);
  });

  test("prefers the task whose rollouts cost fewer tokens, where all else is equal", () => {
    const allocator = marginal.create(withDefaults(marginal.parameters), SWEEP);
    const seen = { judged: 9, made: 9, granted: 9 };
    const round = { tasks: tasks({ ...seen, tokens: 9_000 }, { ...seen, tokens: 90 }), ended: [] };
    expect(list(allocator.divide({ ...round, rollouts: 2 }), 2)).toEqual([0, 2]);
  });

  test("the gain of a rollout is the chance to be the first correct one, and falls", () => {
    const [first, second, third] = gains({ mean: 0.25, strength: 4 });
    expect(first).toBeCloseTo(0.25, 12);
    // E[p (1 - p)] and E[p (1 - p)^2] under Beta(1, 3).
    expect(second).toBeCloseTo((1 * 3) / (4 * 5), 12);
    expect(third).toBeCloseTo((1 * 3 * 4) / (4 * 5 * 6), 12);
    const known = gains({ mean: 0.1, strength: Infinity });
    expect([known.next().value, known.next().value]).toEqual([0.1, 0.1 * 0.9]);
  });

  test("learns from the cohort how hard its problems are", () => {
    const random = createRandom(4);
    const drawn = Array.from({ length: 300 }, () => {
      const rate = random.next() < 0.7 ? 0 : 0.5;
      const verdicts = Array.from({ length: 10 }, () => random.next() < rate);
      return { judged: 10, correct: verdicts.filter(Boolean).length };
    });
    const fitted = fitSolveRate(drawn);
    expect(fitted.mean).toBeGreaterThan(0.08);
    expect(fitted.mean).toBeLessThan(0.25);
    // Most are hopeless and the others are not: little strength, so a few failures say much.
    expect(fitted.strength).toBeLessThanOrEqual(2);
    expect(posterior(fitted, { judged: 10, correct: 0 }).mean).toBeLessThan(fitted.mean / 3);
    expect(fitSolveRate([])).toEqual({ mean: 0.5, strength: 1 });
  });
});

describe("halving", () => {
  const allocator = halving.create({ ...withDefaults(halving.parameters), explore: 0 }, SWEEP);

  test("half of the rung goes on: those with the best scores", () => {
    const rung = [0.1, 0.9, 0.2, 0.8].map((bestScore) => ({ granted: 8, made: 8, bestScore }));
    const grants = allocator.divide({ tasks: tasks(...rung), ended: [], rollouts: 80 });
    // Two rungs are left of four tasks: this one has 40 of the 80.
    expect(list(grants, 4)).toEqual([0, 20, 0, 20]);
  });

  test("the rung below goes on once the top one is over", () => {
    const [below, top] = [
      { granted: 8, made: 8 },
      { granted: 28, made: 28, wanted: 0, isEnded: true },
    ];
    const given = tasks({ ...below, bestScore: 0.1 }, { ...below, bestScore: 0.2 }, top);
    const round = { tasks: given.slice(0, 2), ended: given.slice(2), rollouts: 40 };
    expect(list(allocator.divide(round), 3)).toEqual([0, 40, 0]);
  });
});

test("an allocator is found by its name only", () => {
  expect(findAllocator("uniform")).toBe(uniform);
  expect(findAllocator("uniforn")).toBe(null);
});

describe("compute-optimal", () => {
  const ARMS = ["wide", "deep"];
  const PARAMETERS = { ...withDefaults(computeOptimal.parameters), fold: 0.4, bins: 2 };
  /** Of ten problems four are the fold: at its easy ones the first arm is right, at its hard ones the second. */
  const fold = [0.9, 0.8, 0.1, 0.2].flatMap((rate, problem) =>
    ARMS.map((arm, i) =>
      task(problem * 2 + i, {
        arm,
        metadata: { rate },
        meanScore: rate,
        isEnded: true,
        wanted: 0,
        verdict: rate > 0.5 === (arm === "wide") ? "correct" : "incorrect",
      }),
    ),
  );
  const problemAs = (problem: number, given: Partial<TaskProgress>): readonly TaskProgress[] =>
    ARMS.map((arm, i) => task(problem * 2 + i, { arm, ...given }));
  const create = (parameters: Partial<typeof PARAMETERS>): ReturnType<typeof computeOptimal.create> =>
    computeOptimal.create({ ...PARAMETERS, ...parameters }, { arms: ARMS, problems: 10 });

  test.each([
    [
      "what problems say of themselves",
      "metadata.rate",
      { metadata: { rate: 0.95 } },
      { metadata: { rate: 0 } },
    ],
    ["the scores of a probe", "score", { meanScore: 0.7 }, { meanScore: 0.15 }],
  ])(
    "by %s, each further problem runs under the arm that was best in its bin alone",
    (_, difficulty, easy, hard) => {
      const allocator = create({ difficulty });
      const round = { tasks: [...problemAs(4, easy), ...problemAs(5, hard)], ended: fold, rollouts: 20 };
      const passed = allocator.passOver?.(round);
      expect([...(passed ?? [])]).toEqual([
        [9, "passed over: wide is the best arm for problems as hard as this"],
        [10, "passed over: deep is the best arm for problems as hard as this"],
      ]);
      const rest = round.tasks.filter(({ ordinal }) => passed?.has(ordinal) !== true);
      expect([...allocator.divide({ ...round, tasks: rest })]).toEqual([
        [8, 10],
        [11, 10],
      ]);
    },
  );

  test("the fold runs under all arms and no further than its share, so all are compared at one budget", () => {
    const allocator = create({});
    expect(allocator.fold).toBe(4);
    const first = (ordinal: number, arm: string): number =>
      allocator.first({ ordinal, arm, problem: "p", share: 30 });
    expect([first(6, "wide"), first(7, "deep")]).toEqual([30, 30]);
    // Behind it only the probe is granted before anything is known.
    expect([first(8, "wide"), first(9, "deep")]).toEqual([8, 0]);
    const held = allocator.passOver?.({ tasks: problemAs(3, { made: 30 }), ended: [], rollouts: 100 });
    expect([...(held ?? [])]).toEqual([
      [6, null],
      [7, null],
    ]);
  });

  test("where nothing tells how hard a problem is, the arm that was best over the whole fold is taken", () => {
    const better = fold.map((each) =>
      each.arm === "deep" ? { ...each, verdict: "correct" as const } : each,
    );
    const passed = create({}).passOver?.({ tasks: problemAs(6, {}), ended: better, rollouts: 9 });
    expect([...(passed?.keys() ?? [])]).toEqual([12]);
  });

  test("of arms that are equally right the one that spends fewer tokens is best", () => {
    const equal = fold.map((each) => ({
      ...each,
      verdict: "correct" as const,
      tokens: each.arm === "deep" ? 10 : 11,
    }));
    const passed = create({}).passOver?.({ tasks: problemAs(6, {}), ended: equal, rollouts: 9 });
    expect([...(passed?.keys() ?? [])]).toEqual([12]);
  });

  test("says what may tell how hard a problem is", () => {
    const check = (difficulty: string): unknown => computeOptimal.check?.({ ...PARAMETERS, difficulty });
    expect(check("metadata.rate")).toBeNull();
    expect(check("guess")).toBe(
      'difficulty: expected score, votes, verdicts or metadata.NAME, found "guess"',
    );
  });
});
