/** What every allocator promises, whatever it prefers. The budget is spent here as the runner spends it: in rounds. */
import { describe, expect, test } from "vitest";
import type {
  Allocator,
  AllocatorKind,
  TaskProgress,
} from "../../services/coordinator/allocate/allocator.ts";
import { createRandom, deriveSeed } from "../../services/runtime/random.ts";
import { withDefaults } from "../../services/search/strategy.ts";

const ARMS = ["one", "two"];
/** Rounds after which a game is called endless: more than any allocator can need that grants at least one in each. */
const ROUNDS_MAX = 3_000;

export interface Game {
  readonly tasks: readonly TaskProgress[];
  /** Of every round, what was granted by ordinal; the first is the opening. */
  readonly rounds: readonly (readonly (readonly [number, number])[])[];
  readonly spent: number;
}

export interface GameOptions {
  readonly tasks: number;
  readonly budget: number;
  /** Rollouts that a task asks for at most. */
  readonly most: number;
  readonly seed: number;
  /** The order in which tasks answer within a round. */
  readonly arrival?: "forward" | "backward";
  /** Solve rate of a problem. */
  readonly rate?: (problem: number) => number;
}

/** Every task is a best-of-n whose verdicts are drawn by its name, so they do not depend on who is asked first. */
export function play(allocator: Allocator, options: GameOptions): Game {
  const { budget, most, seed, arrival = "forward" } = options;
  const rate = options.rate ?? ((problem) => createRandom(deriveSeed(seed, "rate", problem)).next() ** 3);
  let spent = 0;
  const states = Array.from({ length: options.tasks }, (_, ordinal) => newTask(ordinal, most));
  const give = (grants: readonly (readonly [number, number])[]): void => {
    const total = grants.reduce((sum, [, count]) => sum + count, 0);
    expect(total).toBeLessThanOrEqual(budget - spent);
    const order = arrival === "forward" ? grants : grants.toReversed();
    for (const [ordinal, count] of order) {
      const task = states[ordinal];
      if (task === undefined) throw new Error(`granted to a task that is none: ${ordinal}`);
      expect(count).toBeGreaterThan(0);
      expect(Number.isInteger(count)).toBe(true);
      expect(count).toBeLessThanOrEqual(task.wanted);
      expect(task.isEnded).toBe(false);
      task.granted += count;
      for (let i = 0; i < count && !task.isEnded; i += 1) {
        spent += 1;
        answer(task, { rate, seed });
        task.isEnded = allocator.isEnough(task);
      }
      task.wanted = task.isEnded ? 0 : most - task.granted;
      task.isEnded ||= task.wanted === 0;
    }
  };
  const share = Math.floor(budget / options.tasks);
  const opening = states.flatMap((task) => {
    const first = Math.min(most, allocator.first({ ...task, share }));
    return first > 0 ? [[task.ordinal, first] as const] : [];
  });
  const rounds = [opening];
  give(opening);
  for (;;) {
    const ended = states.filter(({ isEnded }) => isEnded);
    const round = { tasks: states.filter(({ isEnded }) => !isEnded), ended, rollouts: budget - spent };
    for (const [ordinal] of allocator.passOver?.(round) ?? []) {
      const task = states[ordinal];
      if (task !== undefined) [task.isEnded, task.wanted] = [true, 0];
    }
    const tasks = round.tasks.filter(({ isEnded }) => !isEnded);
    if (tasks.length === 0 || spent === budget) return { tasks: states, rounds, spent };
    const grants = [...allocator.divide({ ...round, tasks })];
    expect(grants.length).toBeGreaterThan(0);
    rounds.push(grants);
    give(grants);
    if (rounds.length > ROUNDS_MAX) throw new Error("the budget is never used up");
  }
}

export function allocatorConformance(kind: AllocatorKind): void {
  const make = (): Allocator => kind.create(withDefaults(kind.parameters), { arms: ARMS, problems: 20 });

  describe(`allocator ${kind.kind}`, () => {
    test("never grants more than can be afforded, and nothing to a task that is ended", () => {
      for (const budget of [1, 7, 39, 40, 41, 333, 5_000]) {
        // `play` asserts both at every grant.
        const { spent } = play(make(), { tasks: 40, budget, most: 64, seed: budget });
        expect(spent).toBeLessThanOrEqual(budget);
      }
    });

    test("uses the budget up where work remains", () => {
      for (const seed of [1, 2, 3, 4]) {
        const never = (): number => 0;
        const game = play(make(), { tasks: 40, budget: 901, most: 64, seed, rate: never });
        const isLeft = game.tasks.some(({ isEnded }) => !isEnded);
        if (isLeft) expect(game.spent).toBe(901);
        const all = play(make(), { tasks: 40, budget: 1_000_000, most: 64, seed });
        expect(all.tasks.every(({ isEnded }) => isEnded)).toBe(true);
      }
    });

    test("grants the same whatever the order in which answers arrive (I4)", () => {
      const options = { tasks: 40, budget: 700, most: 64, seed: 5 };
      const forward = play(make(), options);
      expect(play(make(), { ...options, arrival: "backward" }).rounds).toEqual(forward.rounds);
      expect(play(make(), options)).toEqual(forward);
    });

    test("gives a task that rests alone under no ceiling what it may still ask for, in rounds that end", () => {
      const allocator = make();
      const task = newTask(0, 64);
      const first = allocator.first({ ...task, share: Infinity });
      task.granted = task.made = Math.min(64, first);
      for (let rounds = 0; task.granted < 64 && rounds < 100; rounds += 1) {
        task.wanted = 64 - task.granted;
        const grants = allocator.divide({ tasks: [task], ended: [], rollouts: Infinity });
        expect([...grants.keys()]).toEqual([0]);
        task.granted = task.made = task.granted + (grants.get(0) ?? 0);
      }
      expect(task.granted).toBe(64);
    });
  });
}

type TaskState = { -readonly [K in keyof TaskProgress]: TaskProgress[K] };

function newTask(ordinal: number, most: number): TaskState {
  return {
    ordinal,
    problem: `p${Math.floor(ordinal / ARMS.length)}`,
    arm: ARMS[ordinal % ARMS.length] ?? "",
    metadata: {},
    granted: 0,
    made: 0,
    wanted: most,
    judged: 0,
    correct: 0,
    bestScore: null,
    meanScore: null,
    votes: [],
    verdict: null,
    tokens: 0,
    isEnded: false,
  };
}

function answer(
  task: TaskState,
  { rate, seed }: { readonly rate: (problem: number) => number; readonly seed: number },
): void {
  const random = createRandom(deriveSeed(seed, task.ordinal, task.made));
  const isCorrect = random.next() < rate(Math.floor(task.ordinal / ARMS.length));
  const score = isCorrect ? 1 : random.next() * 0.9;
  const before = (task.meanScore ?? 0) * task.made;
  task.made += 1;
  task.judged += 1;
  task.correct += Number(isCorrect);
  task.verdict = task.correct > 0 ? "correct" : "incorrect";
  task.bestScore = Math.max(task.bestScore ?? 0, score);
  task.meanScore = (before + score) / task.made;
  task.votes = [task.correct, task.judged - task.correct].toSorted((a, b) => b - a);
  task.tokens = (task.tokens ?? 0) + 20 + Math.floor(random.next() * 20);
}
