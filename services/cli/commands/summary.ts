/** `coppice summary`: what a run came to, with the estimates for every k that its samples allow. */
import { join, resolve } from "node:path";
import type { Command } from "commander";
import type { Summary } from "../../coordinator/status.ts";
import { exists, RUN_FILES } from "../../coordinator/run-directory.ts";
import { type FailedTask, failedTasks } from "../../coordinator/run-rows/failed-tasks.ts";
import { readSummary } from "../../coordinator/summary-file.ts";
import { asCoppiceError, CoppiceError, messageOf } from "../../runtime/errors.ts";
import { agreementTable } from "../agreement-table.ts";
import { estimateTable } from "../estimate-table.ts";
import { EXIT } from "../exit-status.ts";
import { FAILED_SHOWN_MAX, failureLines } from "../failure-lines.ts";
import { resumeAdvice } from "../follow.ts";
import type { Shell } from "../shell.ts";
import { leftLines } from "../budget-text.ts";
import { endLine, summaryTable } from "../summary-table.ts";

const DETAILS = `
Where rollouts are independent samples, one run with n of them estimates every k up to n:
  pass@k       at least one of k is correct     1 - C(n-c, k) / C(n, k)
  pass^k       all of k are correct             C(c, k) / C(n, k)
  best-of-n@k  the highest score of k is correct
  majority@k   the answer that most of k give is correct; samples without an answer abstain
  weighted@k   the same, where votes weigh their scores
Intervals are over problems: Wilson's, for as many yes-or-no problems as have the mean's standard error.`;

export function summaryCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("summary")
    .description("show what a run came to: its table, and pass@k, best-of-n@k and votes for every k")
    .argument("<run>", "the run directory")
    .option("--json", "summary.json as one line, for programs", false)
    .addHelpText("after", DETAILS)
    .action(async (run: string, { json: isJson }: { readonly json: boolean }) => {
      const directory = resolve(shell.cwd, run);
      const summary = await readSummary(directory).catch((error: unknown) =>
        explain(error, directory, shell),
      );
      const failed = summary.tasks.failed === 0 ? [] : await failedTasks(directory, FAILED_SHOWN_MAX);
      const lines = isJson ? [JSON.stringify(summary)] : summaryLines(summary, failed);
      for (const line of lines) shell.out(line);
      exit(EXIT.settled);
    });
}

/** A run that was killed, or that still goes on, has no summary yet: says what to do. */
async function explain(error: unknown, directory: string, shell: Shell): Promise<never> {
  const isBegun = await exists(join(directory, RUN_FILES.journal));
  if (!isBegun || asCoppiceError(error).code !== "not_found") throw error;
  const advice = `if nothing works on it any more, ${resumeAdvice(directory, shell)}`;
  throw new CoppiceError("not_found", `${messageOf(error)}; ${advice}`, { cause: error });
}

function summaryLines(summary: Summary, failed: readonly FailedTask[]): readonly string[] {
  const { agreement } = summary;
  return [
    ...summaryTable(summary),
    ...estimateTable(summary),
    ...(agreement === undefined ? [] : ["", ...agreementTable(agreement)]),
    "",
    ...leftLines(summary),
    endLine(summary),
    ...failureLines(summary, failed),
  ];
}
