/** What went wrong in a run, as lines: what was lost, by class of failure, what no verifier could decide, and why tasks failed. */
import type { Summary } from "../coordinator/status.ts";
import type { FailedTask } from "../coordinator/run-rows/failed-tasks.ts";
import { formatCount, plural } from "./count-text.ts";

/** Failed tasks that are listed. */
export const FAILED_SHOWN_MAX = 5;

/** `2 host_timeout, 1 verifier_crashed`, the most frequent first; empty where nothing was lost. */
export function reasonsText(byReason: Readonly<Record<string, number>>): string {
  return Object.entries(byReason)
    .toSorted(([, a], [, b]) => b - a)
    .map(([reason, count]) => `${formatCount(count)} ${reason}`)
    .join(", ");
}

/** No lines where all went well. @param failed The first of the tasks that failed; empty where nobody read their rows. */
export function failureLines(summary: Summary, failed: readonly FailedTask[]): readonly string[] {
  const lost = reasonsText(summary.failures_by_reason);
  const more = summary.tasks.failed - failed.length;
  return [
    ...(lost === "" ? [] : [`lost: ${lost}`]),
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
