/** Follows a sweep to its end, and says how it went. */
import type { Summary } from "../coordinator/status.ts";
import type { FailedTask } from "../coordinator/run-rows/failed-tasks.ts";
import { EXIT, exitStatusOf } from "./exit-status.ts";
import { failureLines } from "./failure-lines.ts";
import { type FailLimit, failLimitText } from "./fail-limit.ts";
import { shownPath } from "./load-sweep.ts";
import { type Shell, quoteArgument } from "./shell.ts";
import { leftLines } from "./budget-text.ts";
import { endLine, summaryTable } from "./summary-table.ts";

export interface EndOptions {
  readonly isJson: boolean;
  /** How many tasks may fail. */
  readonly failLimit: FailLimit;
  /** The sweep was stopped since more failed than may. */
  readonly isStopped?: boolean;
  /** The first of the tasks that failed. */
  readonly failed?: readonly FailedTask[];
  /** The run directory; absolute. */
  readonly output: string;
  /** Whether `coppice run --resume` goes on with it from here. */
  readonly isResumableHere: boolean;
}

/** How to go on with a run that has not ended. */
export function resumeAdvice(output: string, shell: Shell): string {
  return `go on with: ${shell.program} run --resume ${quoteArgument(shownPath(output, shell))}`;
}

/** Tells the end of a sweep. @returns The exit status. */
export function tellEnd(summary: Summary, shell: Shell, options: EndOptions): number {
  const status = options.isStopped === true ? EXIT.tasksFailed : exitStatusOf(summary, options.failLimit);
  const path = shownPath(options.output, shell);
  if (options.isJson) {
    shell.out(
      JSON.stringify({ kind: "done", exit_status: status, state: summary.state, output: options.output }),
    );
  } else {
    shell.out("");
    for (const line of summaryTable(summary)) shell.out(line);
    shell.out("");
    for (const line of leftLines(summary)) shell.out(line);
    shell.out(endLine(summary));
    for (const line of failureLines(summary, options.failed ?? [])) shell.out(line);
    shell.out(`run directory: ${path}`);
  }
  if (status === EXIT.tasksFailed) {
    shell.say(
      `${summary.tasks.failed} of ${summary.tasks.total} tasks failed, more than --fail-on-error ${failLimitText(options.failLimit)} allows`,
    );
  }
  if (summary.state === "interrupted") {
    shell.say(
      options.isResumableHere
        ? `interrupted; ${resumeAdvice(options.output, shell)}`
        : "interrupted: its coordinator was told to leave; the next that starts over the same runs goes on with it",
    );
  }
  const more = summary.state === "completed" && options.isResumableHere ? moreOf(summary) : null;
  if (more !== null)
    shell.say(`with more budget its tasks ${resumeAdvice(options.output, shell)} --set ${more}`);
  return status;
}

/** A flag that gives a sweep more of what ended it: as much again; null where no budget did. */
function moreOf({ tasks, strategies, budget: { given, spent } }: Summary): string | null {
  const passedOver = Object.values(strategies).reduce((sum, arm) => sum + (arm.passed_over ?? 0), 0);
  if (tasks.exhausted <= passedOver) return null;
  if (given.wall_ms !== null && (spent.wall_ms ?? 0) >= given.wall_ms) return `budget.wall=+${given.wall_ms}`;
  const [unit, ceiling] =
    Object.entries(given).find(([key, amount]) => amount !== null && key !== "wall_ms") ?? [];
  return unit === undefined || ceiling === null ? null : `budget.${unit}=+${String(ceiling)}`;
}
