/** `coppice pause | resume | cancel | get`: one word to a coordinator about one sweep; answered with its status. */
import type { Command } from "commander";
import type { SweepStatus } from "../../coordinator/status.ts";
import { EXIT } from "../exit-status.ts";
import { coordinatorOption, jsonOption, tokenOption } from "../options.ts";
import type { Shell } from "../shell.ts";
import type { SweepClient } from "../sweep-client.ts";
import { type ClientOptions, statusLines, withSweeps } from "../sweeps.ts";

interface ControlOptions extends ClientOptions {
  readonly json: boolean;
}

interface Word {
  readonly name: string;
  readonly about: string;
  readonly call: (sweeps: SweepClient, id: string) => Promise<SweepStatus>;
}

const WORDS: readonly Word[] = [
  {
    name: "pause",
    about: "open no more tasks of a sweep until resume; what runs is finished",
    call: (sweeps, id) => sweeps.pause(id),
  },
  { name: "resume", about: "go on with a sweep that is paused", call: (sweeps, id) => sweeps.resume(id) },
  {
    name: "cancel",
    about: "withdraw a sweep: tasks that have not settled become cancelled",
    call: (sweeps, id) => sweeps.cancel(id, "by the command"),
  },
  { name: "get", about: "show how a sweep stands", call: (sweeps, id) => sweeps.get(id) },
];

export function controlCommands(program: Command, shell: Shell, exit: (status: number) => void): void {
  for (const { name, about, call } of WORDS) {
    program
      .command(name)
      .description(about)
      .argument("<id>", "the sweep's id")
      .addOption(coordinatorOption())
      .addOption(tokenOption())
      .addOption(jsonOption())
      .action(async (id: string, options: ControlOptions) => {
        const status = await withSweeps(shell, options, (sweeps) => call(sweeps, id));
        for (const line of options.json ? [JSON.stringify(status)] : statusLines(status)) shell.out(line);
        exit(EXIT.settled);
      });
  }
}
