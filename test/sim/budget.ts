/**
 * Worlds whose budget ends the sweep: a random program, allocator and ceiling, faults by the seed. Beside what every world is checked
 * for (no charge passes a ceiling, I3), the budget must be used up: less than one ask at its worst is left, and 1% at most.
 */
import { ALLOCATORS } from "../../services/coordinator/allocate/catalogue.ts";
import { amountsIn, UNIT_KEYS } from "../../services/coordinator/unit-keys.ts";
import type { Unit } from "../../services/coordinator/amount.ts";
import type { Arm } from "../../services/coordinator/sweep.ts";
import { createRandom, deriveSeed, type Random } from "../../services/runtime/random.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { arm, newSweep, NO_BUDGET, puzzles } from "../support/in-process.ts";
import { drawPlan, type FaultCounts } from "./faults.ts";
import { drawInt, OUTPUT, type SimulatedSweep } from "./sweep.ts";
import { Violation } from "./violation.ts";
import { runWorld } from "./world.ts";

const STEPS = { max_steps: 3, step_stop: ["\n"] };
/** All want more than any of the ceilings allows. */
const ARMS: readonly ((random: Random) => Arm)[] = [
  (random) => arm("best-of-n", { n: drawInt(random, 100, 300) }),
  (random) => arm("self-consistency", { n: drawInt(random, 100, 300) }),
  (random) =>
    arm("mcts", { simulations: drawInt(random, 100, 200), parallel: drawInt(random, 1, 8), ...STEPS }),
  (random) => arm("adaptive-consistency", { n: 300, parallel: drawInt(random, 1, 8), confidence: 1 }),
];
/** So large that one ask at its worst, 48 tokens and a prompt, is less than 1%. */
const CEILINGS: Readonly<Partial<Record<Unit, readonly [number, number]>>> = {
  rollouts: [100, 300],
  completionTokens: [4_900, 7_000],
  totalTokens: [8_000, 12_000],
  usdMicros: [30_000, 40_000],
};
const USED_MIN = 0.99;

export interface BudgetEnded {
  readonly unit: Unit;
  readonly allocator: string;
  /** Whether the budget ended any task; else all work was done. */
  readonly isExhausted: boolean;
  /** Whether hosts told the truth, and the allocator holds nothing back: then the budget is used up. */
  readonly isChecked: boolean;
  /** Share of the budget that was spent. */
  readonly used: number;
  readonly faults: FaultCounts;
}

/** @throws Violation, or whatever production code threw. */
export async function simulateBudget(seed: number): Promise<BudgetEnded> {
  const random = createRandom(deriveSeed(seed, "budget"));
  const units = Object.keys(CEILINGS) as Unit[]; // The keys are units, by the type.
  const unit = units[drawInt(random, 0, units.length - 1)] ?? "rollouts";
  const [min, max] = CEILINGS[unit] ?? [1, 1];
  const kind = ALLOCATORS[drawInt(random, 0, ALLOCATORS.length - 1)] ?? ALLOCATORS[0];
  if (kind === undefined) throw new Error("expected an allocator");
  const made = ARMS[drawInt(random, 0, ARMS.length - 1)]?.(random);
  if (made === undefined) throw new Error("expected an arm");
  const sweep: SimulatedSweep = {
    sweep: await newSweep({
      arms: [made],
      seed: drawInt(random, 0, 1_000),
      deterministic: random.next() < 0.5,
      budget: { ...NO_BUDGET, [unit]: drawInt(random, min, max) },
      allocate: { kind: kind.kind, parameters: withDefaults(kind.parameters) },
      prices: { prompt: 1_000_000, cached: 250_000, completion: 4_000_000, verifier: 0, gpuHour: 0 },
      output: OUTPUT,
    }),
    problems: puzzles(drawInt(random, 2, 9)),
  };
  const hosts = drawInt(random, 1, 3);
  const { summary, faults } = await runWorld({ seed, sweep, plan: drawPlan(random), hosts });
  const given = amountsIn(sweep.sweep.budget)[UNIT_KEYS[unit]] ?? 0;
  const spent = summary.budget.spent[UNIT_KEYS[unit]] ?? 0;
  if (spent > given) throw new Violation("the budget is not passed (I3)", `${spent} of ${given} ${unit}`);
  const isExhausted = summary.tasks.exhausted > 0;
  // It holds its fold at the share of a problem, and what the others do not want is left.
  const isHeld = kind.kind === "compute-optimal";
  // A prompt that a host claims to be long makes an ask behind it dear: what is left may be less than one of those.
  const isLied = faults.of("host lied") > 0;
  const isChecked = isExhausted && !isHeld && !isLied;
  if (isChecked && spent < USED_MIN * given)
    throw new Violation(
      "a budget that ends tasks is used up",
      `${spent} of ${given} ${unit} under ${kind.kind} and ${made.id}; ${JSON.stringify(summary.tasks)}`,
    );
  return { unit, allocator: kind.kind, isExhausted, isChecked, used: spent / given, faults };
}
