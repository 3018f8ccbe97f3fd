/** The end of a sweep as a person reads it: a table with a row per strategy, and that no row was lost. */
import type { StrategySummary, Summary } from "../coordinator/status.ts";
import { cachedShare, formatShare } from "./progress-line.ts";
import { formatCount, plural } from "./count-text.ts";

const HEADER = ["strategy", "solved", "accuracy", "pass@1", "rollouts", "tokens", "tokens/solved", "cached"];

/** Lines without their ends. */
export function summaryTable(summary: Summary): readonly string[] {
  const rows = Object.entries(summary.strategies).map(([id, strategy]) => strategyRow(id, strategy));
  return alignColumns([HEADER, ...rows]);
}

/** `48 problems x 3 strategies: 140 completed, 4 exhausted; 2 asks sent to a second host`; the counts are those of the rows on disk. */
export function reconciliationLine(summary: Summary): string {
  const strategies = Object.values(summary.strategies);
  const count = strategies.length === 0 ? 0 : summary.tasks.total / strategies.length;
  const { completed, exhausted, failed, cancelled, total } = summary.tasks;
  const open = total - completed - exhausted - failed - cancelled;
  const counts = Object.entries({ completed, exhausted, failed, cancelled, "not settled": open });
  const shown = counts
    .filter(([state, n]) => n > 0 || state === "completed")
    .map(([state, n]) => `${formatCount(n)} ${state}`);
  const hedged = summary.hedged > 0 ? `; ${plural(summary.hedged, "ask")} sent to a second host` : "";
  return `${plural(count, "problem")} x ${plural(strategies.length, "strategy", "strategies")}: ${shown.join(", ")}${hedged}`;
}

/** The same, with how the sweep ended where it did not run to its end: `...: 3 completed, 7 not settled (interrupted)`. */
export function endLine(summary: Summary): string {
  return `${reconciliationLine(summary)}${summary.state === "completed" ? "" : ` (${summary.state})`}`;
}

/** Columns as wide as their widest cell: the first to the left, numbers to the right. */
export function alignColumns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return column === 0 ? cell.padEnd(width) : cell.padStart(width);
    });
    return cells.join("  ").trimEnd();
  });
}

function strategyRow(id: string, strategy: StrategySummary): readonly string[] {
  const passAt1 = strategy.pass_at_k["1"];
  return [
    id,
    `${formatCount(strategy.solved)}/${formatCount(strategy.problems)}`,
    formatShare(strategy.accuracy),
    passAt1 === undefined ? "-" : passAt1.toFixed(4),
    formatCount(strategy.rollouts),
    strategy.usage.completion_tokens === null ? "unknown" : formatCount(strategy.usage.completion_tokens),
    tokensPerSolved(strategy),
    formatShare(cachedShare(strategy.usage)),
  ];
}

/** Nothing to divide by where nothing is solved; unknown where the tokens of some rollout are (I8). */
function tokensPerSolved({ solved, tokens_per_solved }: StrategySummary): string {
  if (tokens_per_solved !== null) return formatCount(Math.round(tokens_per_solved));
  return solved === 0 ? "-" : "unknown";
}
