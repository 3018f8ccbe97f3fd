/** Sweeps for simulated worlds: strategies, parameters, budgets and sizes by the seed. */
import type { Arm, Budget, Problem, Sweep } from "../../services/coordinator/sweep.ts";
import type { Random } from "../../services/runtime/random.ts";
import { arm, newSweep, NO_BUDGET, puzzles } from "../support/in-process.ts";

export interface SimulatedSweep {
  readonly sweep: Sweep;
  readonly problems: readonly Problem[];
}

export const OUTPUT = "/runs/sweep";

const STEPS = { max_steps: 3, step_stop: ["\n"] };

export function drawInt(random: Random, min: number, max: number): number {
  return min + Math.floor(random.next() * (max - min + 1));
}

const ARMS: readonly ((random: Random) => Arm)[] = [
  (random) => arm("best-of-n", { n: drawInt(random, 1, 16) }),
  (random) => arm("self-consistency", { n: drawInt(random, 2, 10), vote: "weighted" }),
  (random) => arm("first-correct", { n: drawInt(random, 2, 12), parallel: drawInt(random, 1, 4) }),
  (random) => arm("beam-search", { width: 4, expand: drawInt(random, 2, 4), ...STEPS }),
  () => arm("dvts", { n: 4, width: 2, ...STEPS }),
  (random) => arm("rebase", { width: drawInt(random, 4, 8), ...STEPS }),
  (random) => arm("mcts", { simulations: drawInt(random, 4, 16), parallel: drawInt(random, 1, 4), ...STEPS }),
  () => arm("best-first", { expansions: 6, expand: 3, ...STEPS }),
  () => arm("adaptive-consistency", {}),
];

export async function drawSweep(random: Random): Promise<SimulatedSweep> {
  const first = drawInt(random, 0, ARMS.length - 1);
  const second = (first + drawInt(random, 1, ARMS.length - 1)) % ARMS.length;
  const chosen = random.next() < 0.5 ? [first] : [first, second];
  const sweep = await newSweep({
    arms: chosen.flatMap((n) => ARMS[n]?.(random) ?? []),
    seed: drawInt(random, 0, 1_000),
    deterministic: random.next() < 0.6,
    budget: drawBudget(random),
    output: OUTPUT,
  });
  return { sweep, problems: puzzles(drawInt(random, 1, 9)) };
}

function drawBudget(random: Random): Budget {
  if (random.next() < 0.5) return NO_BUDGET;
  return {
    ...NO_BUDGET,
    ...(random.next() < 0.6 ? { rollouts: drawInt(random, 1, 60) } : {}),
    ...(random.next() < 0.6 ? { completionTokens: drawInt(random, 1, 1_500) } : {}),
  };
}

export function hasBudget({ sweep }: SimulatedSweep): boolean {
  return sweep.budget.rollouts !== null || sweep.budget.completionTokens !== null;
}
