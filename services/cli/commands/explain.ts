/** `coppice explain`: the story of one task of a run. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { findTask, readTaskStory } from "../../coordinator/task-story.ts";
import { EXIT } from "../exit-status.ts";
import type { Shell } from "../shell.ts";
import { storyLines } from "../task-story-lines.ts";

const DETAILS = `
It tells from decisions.jsonl and the journal when the task was opened and why on that host (what it would have waited
for, and computed, on the others), each move and why, each group of asks that was sent, with the cached tokens that were
predicted for its first ask against those that the host reported, retries, withdrawals, losses, and how it ended.
The run may be in progress: decisions reach the disk within a second.

A task that sends very many groups of asks has the first 16 told, then the 32nd, the 64th and so on, with how many
were left out between.`;

export function explainCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("explain")
    .description("tell the story of a task: why on this host, why then, and what came of each ask")
    .argument("<run>", "the run directory")
    .argument("<task>", "ARM/PROBLEM as in results.jsonl, or a part that no other task has")
    .option("--json", "decisions and what came of each ask as one line, for programs", false)
    .addHelpText("after", DETAILS)
    .action(async (run: string, task: string, { json: isJson }: { readonly json: boolean }) => {
      const directory = resolve(shell.cwd, run);
      const story = await readTaskStory(directory, await findTask(directory, task));
      const { isFull, damagedLines, result, ...told } = story;
      const value = { ...told, full: isFull, damaged_lines: damagedLines, result: result?.row ?? null };
      for (const line of isJson ? [JSON.stringify(value)] : storyLines(story)) shell.out(line);
      exit(EXIT.settled);
    });
}
