/** The accuracy-cost frontier of a what-if replay: cells over seeds, as a table. Pure. */
import { formatCount } from "../count-text.ts";
import { formatShare } from "../progress-line.ts";
import { alignColumns } from "../summary-table.ts";
import type { CellResult } from "./what-if.ts";

/** One allocator under one budget, over all seeds. */
export interface Point {
  readonly allocator: string;
  readonly budget: number;
  readonly seeds: number;
  /** Share of tasks with a correct candidate, and with a correct answer selected. */
  readonly coverage: Spread;
  readonly accuracy: Spread;
  readonly rollouts: number;
  readonly tokens: number;
}

export interface Spread {
  readonly mean: number;
  readonly min: number;
  readonly max: number;
}

/** Points by budget, and within one in the order in which allocators first come. */
export function frontierOf(results: readonly CellResult[]): readonly Point[] {
  const groups = Map.groupBy(results, ({ name, budget }) => `${budget} ${name}`);
  const points = [...groups.values()].flatMap((cells) => {
    const [first] = cells;
    if (first === undefined) return [];
    const meanOf = (of: (cell: CellResult) => number): number =>
      cells.reduce((sum, cell) => sum + of(cell), 0) / cells.length;
    return [
      {
        allocator: first.name,
        budget: first.budget,
        seeds: cells.length,
        coverage: spreadOf(cells.map(({ solved, tasks }) => solved / tasks)),
        accuracy: spreadOf(cells.map(({ accurate, tasks }) => accurate / tasks)),
        rollouts: meanOf(({ rollouts }) => rollouts),
        tokens: meanOf(({ tokens }) => tokens),
      },
    ];
  });
  return points.toSorted((a, b) => a.budget - b.budget);
}

/** Lines without their ends. @param isGuess Whether tokens were taken from the length of texts. */
export function frontierTable(
  points: readonly Point[],
  { isGuess }: { readonly isGuess: boolean },
): readonly string[] {
  const header = ["allocator", "budget", "coverage", "accuracy", "rollouts", isGuess ? "~tokens" : "tokens"];
  const rows = points.map((point) => [
    point.allocator,
    formatCount(point.budget),
    spreadText(point.coverage),
    spreadText(point.accuracy),
    formatCount(Math.round(point.rollouts)),
    formatCount(Math.round(point.tokens)),
  ]);
  return alignColumns([header, ...rows]);
}

function spreadOf(values: readonly number[]): Spread {
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  return { mean, min: Math.min(...values), max: Math.max(...values) };
}

function spreadText({ mean, min, max }: Spread): string {
  if (min === max) return formatShare(mean);
  return `${formatShare(mean)} (${formatShare(min)}..${formatShare(max)})`;
}
