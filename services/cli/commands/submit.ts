/** `coppice submit`: hands a sweep to a coordinator. It is checked whole before it is sent. */
import type { Command } from "commander";
import { plural } from "../count-text.ts";
import { EXIT } from "../exit-status.ts";
import { loadSweep } from "../load-sweep.ts";
import { coordinatorOption, failOnErrorOption, jsonOption, setOption, tokenOption } from "../options.ts";
import { type Shell, quoteArgument } from "../shell.ts";
import { withSweeps } from "../sweeps.ts";
import { type WatchOptions, watchSweep } from "./watch.ts";

interface SubmitOptions extends WatchOptions {
  readonly set: readonly string[];
  readonly skipInvalid: boolean;
  readonly watch: boolean;
}

export function submitCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("submit")
    .description("hand a sweep to a coordinator")
    .argument("<sweep>", "the sweep file (YAML or JSON)")
    .addOption(coordinatorOption())
    .addOption(tokenOption())
    .addOption(setOption())
    .option("--watch", "follow it to its end", false)
    .option("--skip-invalid", "leave out problems that are not valid", false)
    .addOption(failOnErrorOption())
    .addOption(jsonOption())
    .action(async (path: string, options: SubmitOptions) => exit(await submit(path, options, shell)));
}

async function submit(path: string, options: SubmitOptions, shell: Shell): Promise<number> {
  const loaded = await loadSweep(path, shell, {
    overrides: options.set,
    skipInvalid: options.skipInvalid,
    destination: "coordinator",
  });
  if (loaded.check.invalid.size > 0)
    shell.say(`left out ${loaded.check.invalid.size} problems that are not valid`);
  return withSweeps(shell, options, async (sweeps) => {
    const status = await sweeps.submit({ given: loaded.given, resolved: loaded.resolved }, loaded.problems());
    const watch = `${shell.program} watch ${quoteArgument(status.id)} --coordinator ${options.coordinator}`;
    if (options.json)
      shell.out(JSON.stringify({ kind: "submitted", sweep: status.id, output: status.output }));
    else shell.out(`sweep ${status.id} runs: ${plural(status.tasks.total, "task")}, output ${status.output}`);
    if (options.watch) return watchSweep(sweeps, status.id, { options, shell, pausesPast: true });
    if (!options.json) shell.out(`watch it by: ${watch}`);
    return EXIT.settled;
  });
}
