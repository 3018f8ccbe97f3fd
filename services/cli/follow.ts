/** Follows a sweep to its end, and says how it went. */
import type { Summary } from "../coordinator/status.ts";
import { EXIT, exitStatusOf } from "./exit-status.ts";
import { shownPath } from "./load-sweep.ts";
import { type Shell, quoteArgument } from "./shell.ts";
import { leftLines } from "./budget-text.ts";
import { reconciliationLine, summaryTable } from "./summary-table.ts";

export interface EndOptions {
  readonly isJson: boolean;
  /** Share of tasks that may fail, in percent. */
  readonly failPercentMax: number;
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
  const status = exitStatusOf(summary, options.failPercentMax);
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
    shell.out(`${reconciliationLine(summary)}${summary.state === "completed" ? "" : ` (${summary.state})`}`);
    shell.out(`run directory: ${path}`);
  }
  if (status === EXIT.tasksFailed) {
    shell.say(
      `${summary.tasks.failed} of ${summary.tasks.total} tasks failed, more than --fail-on-error ${options.failPercentMax} allows`,
    );
  }
  if (status === EXIT.interrupted && options.isResumableHere) {
    shell.say(`interrupted; ${resumeAdvice(options.output, shell)}`);
  }
  return status;
}
