/** `coppice replay`: other allocators, budgets and strategies over recorded rollouts, and the accuracy-cost frontier of each. */
import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { createLifecycle } from "../../runtime/lifecycle.ts";
import { silentLog } from "../../runtime/log.ts";
import { EXIT } from "../exit-status.ts";
import { shownPath } from "../load-sweep.ts";
import { jsonOption, setOption, wholeNumber } from "../options.ts";
import { formatCount } from "../count-text.ts";
import { frontierOf, frontierTable } from "../replay/frontier.ts";
import { plotFrontier } from "../replay/frontier-plot.ts";
import {
  armsOver,
  loadRecordedSweep,
  type RecordedSweep,
  type ReplayFlags,
} from "../replay/recorded-sweep.ts";
import { readRecorded, type Recorded } from "../replay/recorded.ts";
import { type Cell, type CellResult, startWhatIf, type WhatIf } from "../replay/what-if.ts";
import type { Shell } from "../shell.ts";
import { programVersion } from "../version.ts";

interface ReplayOptions extends ReplayFlags {
  readonly budget?: readonly number[];
  readonly seeds: number;
  readonly svg?: string;
  readonly json: boolean;
}

const HEARTBEAT_MS = 10_000;
const DETAILS = `
Nothing is generated: a sample is a recorded rollout of its problem, and where the rows of the run have its verdict, that
verdict. Each allocator is run under each budget by the coordinator itself, in this process; with --seeds K, K times,
each with another drawing of which record is which sample.
  coppice replay runs/demo --allocate uniform,stop-on-verified,marginal --budget 1000,2000,5000
  coppice replay sweep.yaml --allocate 'uniform, {kind: agreement, confidence: 0.9}' --budget 500 --seeds 5
  coppice replay runs/demo --strategy self-consistency --allocate agreement --budget 2000 --svg frontier.svg
  coppice replay runs/demo --strategy '{strategy: adaptive-consistency, parallel: 1}'    another strategy over all of them
A sweep file needs a host with engine replay: its records are used. Only strategies whose rollouts are whole answers can
be replayed: a step of a search was recorded behind one path.`;

export function replayCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("replay")
    .description("run other allocators, budgets and strategies over recorded rollouts: what if")
    .argument("<run>", "a run directory, or a sweep file with a host that replays records")
    .option("--allocate <names>", "allocators, separated by commas; each a name or a map in YAML", "uniform")
    .option(
      "--budget <rollouts>",
      "budgets in rollouts, separated by commas; default: all on record",
      numbers,
    )
    .option("--strategy <strategy>", "a strategy instead of the sweep's own: a name or a map in YAML")
    .option("--seeds <k>", "how often, each time with other samples", wholeNumber(1), 1)
    .option("--svg <file>", "draw the frontier")
    .addOption(setOption())
    .addOption(jsonOption())
    .addHelpText("after", DETAILS)
    .action(async (run: string, options: ReplayOptions) => exit(await replay(run, options, shell)));
}

async function replay(run: string, options: ReplayOptions, shell: Shell): Promise<number> {
  const loaded = await loadRecordedSweep(run, options, shell);
  const lifecycle = createLifecycle({
    process: shell.process,
    clock: shell.clock,
    tell: shell.say,
    log: silentLog,
  });
  try {
    const recorded = await readRecorded(loaded.records, lifecycle.leaving, loaded.steps);
    const sweep = { ...loaded.sweep, arms: armsOver(loaded.sweep, recorded, options) };
    const whatIf = await startWhatIf({
      sweep,
      problems: loaded.problems,
      recorded,
      reusesVerdicts: loaded.isRun,
      lifecycle,
      shell,
      threads: availableParallelism(),
      version: programVersion(),
    });
    const results = await runCells(
      whatIf,
      cellsOf(loaded, { ...options, recorded: recorded.count * sweep.arms.length }),
      { shell, signal: lifecycle.leaving },
    );
    await tell(results, {
      recorded,
      options,
      shell,
      title: `${sweep.name}: ${sweep.arms.map(({ id }) => id).join(", ")}`,
    });
    return EXIT.settled;
  } finally {
    await lifecycle.close();
  }
}

function cellsOf(
  { allocators }: RecordedSweep,
  // Under as many as there are no allocator has to choose.
  { recorded, budget = [recorded], seeds }: ReplayOptions & { readonly recorded: number },
): readonly Cell[] {
  return allocators.flatMap((allocator) =>
    budget.flatMap((rollouts) =>
      Array.from({ length: seeds }, (_, seed) => ({ ...allocator, budget: rollouts, seed })),
    ),
  );
}

async function runCells(
  whatIf: WhatIf,
  cells: readonly Cell[],
  { shell, signal }: { readonly shell: Shell; readonly signal: AbortSignal },
): Promise<readonly CellResult[]> {
  const results: CellResult[] = [];
  const startedMs = shell.clock.monotonicMs();
  let toldMs = startedMs;
  let rollouts = 0;
  for (const cell of cells) {
    signal.throwIfAborted();
    const result = await whatIf.run(cell);
    results.push(result);
    rollouts += result.rollouts;
    if (result.failed > 0) shell.say(`${cell.name}, budget ${cell.budget}: ${result.failed} tasks failed`);
    if (shell.clock.monotonicMs() - toldMs < HEARTBEAT_MS) continue;
    toldMs = shell.clock.monotonicMs();
    shell.say(`${results.length} of ${cells.length} sweeps replayed`);
  }
  const seconds = (shell.clock.monotonicMs() - startedMs) / 1_000;
  shell.say(
    `${formatCount(rollouts)} rollouts replayed in ${seconds.toFixed(1)} s, ${formatCount(Math.round(rollouts / seconds))} a second`,
  );
  return results;
}

async function tell(
  results: readonly CellResult[],
  {
    recorded,
    options,
    shell,
    title,
  }: {
    readonly recorded: Recorded;
    readonly options: ReplayOptions;
    readonly shell: Shell;
    readonly title: string;
  },
): Promise<void> {
  const points = frontierOf(results);
  if (options.json)
    for (const point of points)
      shell.out(JSON.stringify({ kind: "point", ...point, tokens_are_counted: recorded.hasTokens }));
  else for (const line of frontierTable(points, { isGuess: !recorded.hasTokens })) shell.out(line);
  if (!recorded.hasTokens) shell.say("~tokens: the records do not count them; four characters each");
  if (options.svg === undefined) return;
  const path = resolve(shell.cwd, options.svg);
  await writeFile(path, plotFrontier(points, title));
  shell.say(`wrote ${shownPath(path, shell)}`);
}

function numbers(text: string): readonly number[] {
  const values = text.split(",").map(Number);
  if (values.some((value) => !Number.isSafeInteger(value) || value < 1))
    throw new InvalidArgumentError("Expected whole numbers from 1, such as 1000,2000,5000.");
  return values;
}
