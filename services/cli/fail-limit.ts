/** How many tasks may fail: `--fail-on-error`. */
import { InvalidArgumentError } from "commander";
import type { SweepEvent, SweepStatus } from "../coordinator/status.ts";

/** A share of the tasks in percent, or a number of them. */
export type FailLimit =
  | { readonly kind: "share"; readonly percent: number }
  | { readonly kind: "count"; readonly count: number };

export const NO_FAIL_LIMIT: FailLimit = { kind: "share", percent: 100 };

/** A share is not judged before so many tasks have settled: the first that fails is no third of a sweep. */
export const FAIL_TASKS_MIN = 20;

/** `5%`, `0.5%`: a share. `5`: so many. */
export function parseFailLimit(text: string): FailLimit {
  const value = Number(text.replace(/%$/, ""));
  if (text.endsWith("%") && text !== "%" && value >= 0 && value <= 100)
    return { kind: "share", percent: value };
  if (/^\d+$/.test(text)) return { kind: "count", count: value };
  throw new InvalidArgumentError(
    'Expected a share of the tasks such as "5%", or a number of them such as "5".',
  );
}

export function failLimitText(limit: FailLimit): string {
  return limit.kind === "share" ? `${limit.percent}%` : String(limit.count);
}

/** Of the tasks that began since somebody watches. */
export interface FailCounts {
  readonly failed: number;
  readonly begun: number;
}

/** Why a sweep is stopped in its middle. */
export function stoppingText(limit: FailLimit, { failed, begun }: FailCounts): string {
  return `${failed} of the ${begun} tasks that have begun failed, more than --fail-on-error ${failLimitText(limit)} allows`;
}

/** Whether more failed than may. */
export function isPast(
  limit: FailLimit,
  tasks: { readonly failed: number; readonly total: number },
): boolean {
  if (limit.kind === "count") return tasks.failed > limit.count;
  return tasks.total > 0 && (tasks.failed / tasks.total) * 100 > limit.percent;
}

/**
 * Watches a sweep as it runs, from here on: what failed in an earlier attempt at the run stops no later one. A share is of the tasks
 * that have begun: those that fail settle sooner than others, and would look like most of a sweep at its beginning.
 * @param onPast Called once, when more tasks have failed than may.
 */
export function watchFailures(
  limit: FailLimit,
  onPast: (tasks: FailCounts) => void,
): (event: SweepEvent) => void {
  let earlier: TaskCounts | null = null;
  let isTold = false;
  return (event) => {
    if (event.kind !== "status" || isTold) return;
    const now = countsOf(event.status);
    earlier ??= now;
    const settled = now.settled - earlier.settled;
    const counts = { failed: now.failed - earlier.failed, begun: now.begun - earlier.settled };
    if (event.status.state !== "running" || (limit.kind === "share" && settled < FAIL_TASKS_MIN)) return;
    isTold = isPast(limit, { failed: counts.failed, total: counts.begun });
    if (isTold) onPast(counts);
  };
}

interface TaskCounts {
  readonly failed: number;
  readonly settled: number;
  readonly begun: number;
}

function countsOf({ tasks }: SweepStatus): TaskCounts {
  const begun = tasks.total - tasks.queued;
  return { failed: tasks.failed, settled: begun - tasks.running, begun };
}
