/** `coppice list`: the sweeps that a coordinator holds, oldest first. */
import type { Command } from "commander";
import { formatDuration } from "../../runtime/duration.ts";
import type { SweepStatus } from "../../coordinator/status.ts";
import { EXIT } from "../exit-status.ts";
import { coordinatorOption, jsonOption, tokenOption } from "../options.ts";
import { formatCount } from "../count-text.ts";
import type { Shell } from "../shell.ts";
import { alignColumns } from "../summary-table.ts";
import { type ClientOptions, withSweeps } from "../sweeps.ts";

interface ListOptions extends ClientOptions {
  readonly json: boolean;
}

export function listCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("list")
    .description("list the sweeps that a coordinator holds")
    .addOption(coordinatorOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .action(async (options: ListOptions) => {
      const held = await withSweeps(shell, options, (sweeps) => Array.fromAsync(sweeps.list()));
      const header = ["sweep", "state", "tasks", "solved", "rollouts", "time"];
      const lines = options.json
        ? held.map((status) => JSON.stringify(status))
        : alignColumns([header, ...held.map(row)]);
      for (const line of lines) shell.out(line);
      exit(EXIT.settled);
    });
}

function row({ id, state, tasks, solved, rollouts, elapsed_ms }: SweepStatus): readonly string[] {
  const settled = tasks.completed + tasks.exhausted + tasks.failed + tasks.cancelled;
  const counts = [
    `${formatCount(settled)}/${formatCount(tasks.total)}`,
    formatCount(solved),
    formatCount(rollouts),
  ];
  return [id, state, ...counts, formatDuration(elapsed_ms)];
}
