/** Sweeps for simulated worlds: strategies, parameters, budgets and sizes by the seed. */
import { type Ceilings, UNITS, UNLIMITED } from "../../services/coordinator/amount.ts";
import type { Arm, Problem, Sweep } from "../../services/coordinator/sweep.ts";
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
  const isDeterministic = random.next() < 0.6;
  const isLimited = random.next() < 0.5;
  const draw = (scale: number): Ceilings => (isLimited ? drawCeilings(random, scale) : UNLIMITED);
  const sweep = await newSweep({
    arms: chosen.flatMap((n) => {
      const drawn = ARMS[n]?.(random);
      return drawn === undefined ? [] : [{ ...drawn, budget: { ...draw(0.7), perTask: draw(0.2) } }];
    }),
    seed: drawInt(random, 0, 1_000),
    deterministic: isDeterministic,
    budget: { ...NO_BUDGET, ...draw(1), perTask: draw(0.3) },
    prices: { prompt: 1_000_000, cached: 250_000, completion: 4_000_000, verifier: 1_000_000, gpuHour: 0 },
    hedge: isDeterministic || random.next() < 0.5 ? null : { factor: 1.5, share: 0.2 },
    output: OUTPUT,
  });
  return { sweep, problems: puzzles(drawInt(random, 1, 9)) };
}

/** Of each unit about what such a sweep uses in all. */
const USED = {
  rollouts: 60,
  completionTokens: 1_500,
  totalTokens: 3_000,
  verifierTokens: 400,
  usdMicros: 9_000,
};

function drawCeilings(random: Random, scale: number): Ceilings {
  const ceilings: Record<string, number | null> = { ...UNLIMITED };
  for (const unit of UNITS)
    if (random.next() < 0.2) ceilings[unit] = drawInt(random, 1, Math.ceil(USED[unit] * scale));
  return ceilings as Ceilings; // Every unit is there: from UNLIMITED.
}

/** A ceiling that binds decides by time who gets the rest (I4). */
export function hasBudget({ sweep }: SimulatedSweep): boolean {
  const budgets = [sweep.budget, ...sweep.arms.map(({ budget }) => budget)];
  return budgets.some((each) => UNITS.some((unit) => each[unit] !== null || each.perTask[unit] !== null));
}
