/** The estimates of a summary as a person reads them: per strategy a row for each k, each mean with its interval. */
import type { Estimate, Estimates, Summary } from "../coordinator/status.ts";
import { plural } from "./count-text.ts";
import { alignColumns } from "./summary-table.ts";

const COLUMNS = [
  ["pass@k", "pass_at_k"],
  ["pass^k", "pass_hat_k"],
  ["best-of-n@k", "best_of_at_k"],
  ["majority@k", "majority_at_k"],
  ["weighted@k", "weighted_at_k"],
] as const satisfies readonly (readonly [string, keyof Estimates])[];

/** Lines without their ends; a strategy without estimates says why. */
export function estimateTable(summary: Summary): readonly string[] {
  return Object.entries(summary.strategies).flatMap(([id, { estimates, problems }]) => {
    const ks = Object.keys(estimates.pass_at_k);
    if (ks.length === 0) return ["", `${id}: no estimates by k: ${whyNone(problems)}`];
    const columns = COLUMNS.filter(([, name]) => Object.keys(estimates[name]).length > 0);
    const rows = ks.map((k) => [k, ...columns.map(([, name]) => cell(estimates[name][k]))]);
    const title = `${id}: mean over ${plural(problems, "problem")} (95% interval over problems)`;
    return ["", title, ...alignColumns([["k", ...columns.map(([header]) => header)], ...rows])];
  });
}

function cell(estimate: Estimate | undefined): string {
  if (estimate === undefined) return "-";
  const { mean, low, high } = estimate;
  return `${mean.toFixed(4)} (${low.toFixed(3)}-${high.toFixed(3)})`;
}

function whyNone(problems: number): string {
  return problems === 0
    ? "no task has settled"
    : "its rollouts are not independent samples, or some problem has no judged one";
}
