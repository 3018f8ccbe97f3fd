/** `coppice summary`: what a run came to, with the estimates for every k that its samples allow. */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { Summary } from "../../coordinator/status.ts";
import { readSummary } from "../../coordinator/summary-file.ts";
import { agreementTable } from "../agreement-table.ts";
import { estimateTable } from "../estimate-table.ts";
import { EXIT } from "../exit-status.ts";
import type { Shell } from "../shell.ts";
import { leftLines } from "../budget-text.ts";
import { reconciliationLine, summaryTable } from "../summary-table.ts";

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
      const summary = await readSummary(resolve(shell.cwd, run));
      const lines = isJson ? [JSON.stringify(summary)] : summaryLines(summary);
      for (const line of lines) shell.out(line);
      exit(EXIT.settled);
    });
}

function summaryLines(summary: Summary): readonly string[] {
  const { agreement } = summary;
  return [
    ...summaryTable(summary),
    ...estimateTable(summary),
    ...(agreement === undefined ? [] : ["", ...agreementTable(agreement)]),
    "",
    ...leftLines(summary),
    reconciliationLine(summary),
  ];
}
