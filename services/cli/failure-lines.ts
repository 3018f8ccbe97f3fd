/** What went wrong in a run, as lines: what was lost, by class of failure, what no verifier could decide, and why tasks failed. */
import type { Summary } from "../coordinator/status.ts";
import type { FailedTask } from "../coordinator/run-rows/failed-tasks.ts";
import { formatCount, plural } from "./count-text.ts";

/** Failed tasks that are listed. */
export const FAILED_SHOWN_MAX = 5;

/** No lines where all went well. @param failed The first of the tasks that failed; empty where nobody read their rows. */
export function failureLines(summary: Summary, failed: readonly FailedTask[]): readonly string[] {
  const lost = Object.entries(summary.failures_by_reason)
    .toSorted(([, a], [, b]) => b - a)
    .map(([reason, count]) => `${formatCount(count)} ${reason}`);
  const more = summary.tasks.failed - failed.length;
  return [
    ...(lost.length === 0 ? [] : [`lost: ${lost.join(", ")}`]),
    ...(summary.undecided === null || summary.undecided === 0
      ? []
      : [`undecided: ${plural(summary.undecided, "candidate")}; rollouts.jsonl says why`]),
    ...failed.map(({ task, error }) => `failed: ${task}: ${error ?? "no reason is known"}`),
    ...(more > 0
      ? [
          `failed: ${failed.length === 0 ? plural(more, "task") : `${formatCount(more)} more`}; results.jsonl says why`,
        ]
      : []),
  ];
}
