/** `coppice watch`: follows a sweep on a coordinator to its end. */
import type { Command } from "commander";
import type { Summary } from "../../coordinator/status.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { createLifecycle } from "../../runtime/lifecycle.ts";
import { silentLog } from "../../runtime/log.ts";
import { EXIT } from "../exit-status.ts";
import { tellEnd } from "../follow.ts";
import { type FailLimit, stoppingText, watchFailures } from "../fail-limit.ts";
import { coordinatorOption, failOnErrorOption, jsonOption, tokenOption } from "../options.ts";
import { createProgress, progressMode } from "../progress.ts";
import { type Shell, quoteArgument } from "../shell.ts";
import type { SweepClient } from "../sweep-client.ts";
import { type ClientOptions, withSweeps } from "../sweeps.ts";

export interface WatchOptions extends ClientOptions {
  readonly json: boolean;
  readonly failOnError: FailLimit;
}

export function watchCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("watch")
    .description("follow a sweep on a coordinator to its end")
    .argument("<id>", "the sweep's id")
    .addOption(coordinatorOption())
    .addOption(tokenOption())
    .addOption(jsonOption())
    .addOption(failOnErrorOption())
    .action(async (id: string, options: WatchOptions) => {
      exit(await withSweeps(shell, options, (sweeps) => watchSweep(sweeps, id, { options, shell })));
    });
}

/**
 * Shows the sweep's progress until it ends or the person leaves; the sweep goes on without them.
 * @param pausesPast Whether the sweep is paused once more of it has failed than `failOnError` allows: for who has submitted it.
 */
export async function watchSweep(
  sweeps: SweepClient,
  id: string,
  { options, shell, pausesPast = false }: { options: WatchOptions; shell: Shell; pausesPast?: boolean },
): Promise<number> {
  const lifecycle = createLifecycle({
    process: shell.process,
    clock: shell.clock,
    tell: shell.say,
    log: silentLog,
  });
  const progress = createProgress(shell, progressMode(shell, options.json));
  let output = "";
  let summary: Summary | null = null;
  let stopping: string | null = null;
  const stop = new AbortController();
  const failures = watchFailures(options.failOnError, (tasks) => {
    if (!pausesPast) return;
    stopping = stoppingText(options.failOnError, tasks);
    stop.abort();
  });
  try {
    for await (const event of sweeps.watch(id, AbortSignal.any([lifecycle.leaving, stop.signal]))) {
      progress.event(event);
      failures(event);
      if (event.kind === "status") output = event.status.output;
      if (event.kind === "ended") summary = event.summary;
    }
  } catch (error) {
    if (!lifecycle.leaving.aborted && stopping === null) throw error;
  } finally {
    progress.stop();
    await lifecycle.close();
  }
  if (summary !== null) {
    return tellEnd(summary, shell, {
      isJson: options.json,
      failLimit: options.failOnError,
      output,
      isResumableHere: false,
    });
  }
  const named = `${quoteArgument(id)} --coordinator ${options.coordinator}`;
  if (stopping !== null) {
    await sweeps.pause(id);
    shell.say(`paused: ${stopping}; go on with: ${shell.program} resume ${named}`);
    return EXIT.tasksFailed;
  }
  if (!lifecycle.leaving.aborted)
    throw new CoppiceError("unavailable", `sweep ${id}: the coordinator ended the stream before the sweep`);
  shell.say(`the sweep goes on; watch it by: ${shell.program} watch ${named}`);
  return EXIT.interrupted;
}
