/** Budgets as a person reads them: ceilings, and what is left of each. Pure. */
import { amountsIn, timesIn, type UnitKey } from "../coordinator/unit-keys.ts";
import type { Ceilings } from "../coordinator/amount.ts";
import type { Summary } from "../coordinator/status.ts";
import type { Sweep } from "../coordinator/sweep.ts";
import { formatDuration } from "../runtime/duration.ts";
import { formatCount } from "./count-text.ts";

type Key = UnitKey | "gpu_seconds" | "wall_ms";
export type Amounts = Readonly<Partial<Record<Key, number | null>>>;

/** In the order in which they are told. An amount's own words, and those of an amount that stands before them. */
const UNITS: readonly (readonly [Key, string, (amount: number) => string])[] = [
  ["rollouts", "rollouts", formatCount],
  ["completion_tokens", "completion tokens", formatCount],
  ["total_tokens", "prompt and completion tokens", formatCount],
  ["verifier_tokens", "verifier tokens", formatCount],
  ["usd", "USD", formatDollars],
  ["gpu_seconds", "GPU-seconds", formatCount],
  ["wall_ms", "wall time", formatDuration],
];

/** What is left of one ceiling. */
export interface Left {
  readonly unit: string;
  readonly given: string;
  readonly left: string;
  /** Of the ceiling, from 0 to 1. */
  readonly share: number;
}

/** Of every unit that has a ceiling. What nobody can say is not shown as left (I8). */
export function budgetLeft({
  given,
  spent,
}: {
  readonly given: Amounts;
  readonly spent: Amounts;
}): readonly Left[] {
  return UNITS.flatMap(([key, unit, format]) => {
    const [ceiling, used] = [given[key] ?? null, spent[key] ?? null];
    if (ceiling === null) return [];
    const left = used === null ? null : Math.max(0, ceiling - used);
    const share = left === null ? 0 : left / ceiling;
    return [{ unit, given: format(ceiling), left: left === null ? "unknown" : format(left), share }];
  });
}

/** `100 rollouts, 12.50 USD`; null without a ceiling. */
export function ceilingsText(given: Amounts): string | null {
  const parts = UNITS.flatMap(([key, unit, format]) => {
    const ceiling = given[key] ?? null;
    return ceiling === null ? [] : [`${format(ceiling)} ${unit}`];
  });
  return parts.length === 0 ? null : parts.join(", ");
}

/** A line for the sweep, each of its arms and their tasks, where they have ceilings. */
export function ceilingLines({ budget, arms }: Pick<Sweep, "budget" | "arms">): readonly string[] {
  const line = (whose: string, ceilings: Amounts): readonly string[] => {
    const text = ceilingsText(ceilings);
    return text === null ? [] : [`budget of ${whose}: ${text}`];
  };
  const own = (ceilings: Ceilings): Amounts => amountsIn(ceilings);
  return [
    ...line("the sweep", { ...own(budget), ...timesIn(budget) }),
    ...line("each task", own(budget.perTask)),
    ...arms.flatMap(({ id, budget: ofArm }) => [
      ...line(id, own(ofArm)),
      ...line(`each task of ${id}`, own(ofArm.perTask)),
    ]),
  ];
}

/** `budget left: 0 of 101 rollouts`; a line for the sweep and one for each arm that has a ceiling. */
export function leftLines({ budget, strategies }: Pick<Summary, "budget" | "strategies">): readonly string[] {
  const line = (
    whose: string,
    of: { readonly given: Amounts; readonly spent: Amounts },
  ): readonly string[] => {
    const parts = budgetLeft(of).map(({ left, given, unit }) => `${left} of ${given} ${unit}`);
    return parts.length === 0 ? [] : [`budget left${whose}: ${parts.join(", ")}`];
  };
  return [
    ...line("", budget),
    ...Object.entries(strategies).flatMap(([id, strategy]) => line(` to ${id}`, strategy.budget)),
  ];
}

/** Two places, and more for what would be nothing by them. */
function formatDollars(usd: number): string {
  const places = usd > 0 && usd < 0.1 ? 6 : 2;
  return usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: places });
}
