/** `coppice coordinator`: the process that sweeps are submitted to and workers report to. */
import { readFile, readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { createCoordinator } from "../../coordinator/coordinator.ts";
import type { Coordinator } from "../../coordinator/coordinator-api.ts";
import { RUN_FILES } from "../../coordinator/run-directory.ts";
import type { Catalogue } from "../../coordinator/sweep-file/sweep-schema.ts";
import type { Sweep } from "../../coordinator/sweep.ts";
import { createSweepService } from "../../coordinator/service/sweep-service.ts";
import { serveWorkers } from "../../link/grpc-desk.ts";
import { messageOf } from "../../runtime/errors.ts";
import { serveRpc } from "../../runtime/rpc.ts";
import { exposeCoordinator } from "../cluster-metrics.ts";
import { exposeMetrics, openLanes, runDaemon, untilLeaving } from "../daemon.ts";
import { plural } from "../count-text.ts";
import { EXIT } from "../exit-status.ts";
import { parseRun } from "../load-sweep.ts";
import {
  DEFAULT_COORDINATOR,
  drainOption,
  metricsOption,
  prefixOption,
  readToken,
  redisOption,
  strategyOption,
  tokenOption,
} from "../options.ts";
import { createRunLogs } from "../run-logs.ts";
import { quoteArgument, type Shell } from "../shell.ts";
import { catalogueWith } from "../strategy-modules.ts";
import { programVersion } from "../version.ts";

/** Told to leave, the coordinator takes answers for so long before it closes its journals. */
const DRAIN_SECONDS = 10;

interface CoordinatorOptions {
  readonly listen: string;
  readonly redis: string;
  readonly prefix: string;
  readonly runs: string;
  readonly resume: boolean;
  readonly strategy: readonly string[];
  readonly metrics?: string;
  readonly tokenEnv: string;
  readonly drainSeconds: number;
}

export function coordinatorCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("coordinator")
    .description("run the coordinator of a cluster; goes on with the unfinished runs that it finds")
    .addOption(
      new Option("--listen <host:port>", "where clients and workers connect").default(DEFAULT_COORDINATOR),
    )
    .addOption(redisOption())
    .addOption(prefixOption())
    .option("--runs <directory>", "where run directories are made", "runs")
    .option("--no-resume", "leave unfinished runs alone")
    .addOption(strategyOption())
    .addOption(drainOption(DRAIN_SECONDS))
    .addOption(metricsOption())
    .addOption(tokenOption())
    .action(async (options: CoordinatorOptions) => exit(await serve(options, shell)));
}

function serve(options: CoordinatorOptions, shell: Shell): Promise<number> {
  const runLogs = createRunLogs((line) => shell.say(line.trimEnd()), shell.say);
  return runDaemon(
    shell,
    { name: "coordinator", drainSeconds: options.drainSeconds, stream: runLogs.stream },
    async (daemon) => {
      const token = readToken(shell, options.tokenEnv);
      const runs = resolve(shell.cwd, options.runs);
      const catalogue = await catalogueWith(options.strategy, shell.cwd);
      const lanes = await openLanes(daemon, shell, options);
      const parts = { lanes, clock: shell.clock, log: daemon.log, version: programVersion(), say: shell.say };
      const coordinator = runLogs.watching(
        daemon.lifecycle.own("coordinator", createCoordinator(parts), (part) => part.close()),
      );
      if (options.resume) await goOn(coordinator, runs, { catalogue, shell });
      const parseSweep = (text: string, source: string, overrides: readonly string[]) => {
        const sweep = parseRun(text, { path: source, overrides, catalogue });
        // A client's path means nothing here; its last name is the sweep's id.
        return { ...sweep, output: join(runs, basename(sweep.output)) };
      };
      const services = [
        serveWorkers(coordinator.desk, { clock: shell.clock }),
        createSweepService(coordinator, { parseSweep }),
      ];
      const server = await serveRpc(services, { address: options.listen, token, onWarning: shell.say });
      daemon.lifecycle.own("rpc", server, (part) => part.close());
      exposeCoordinator(daemon.metrics, coordinator);
      await exposeMetrics(daemon, options.metrics, shell);
      shell.say(`coordinator on ${server.address}, runs in ${runs}`);
      await untilLeaving(daemon.lifecycle.leaving);
      const left = await coordinator.drain(options.drainSeconds * 1_000);
      const again = `${shell.program} coordinator --runs ${quoteArgument(options.runs)}`;
      shell.say(
        left === 0 ? "no sweep was running" : `${plural(left, "sweep")} interrupted; go on with: ${again}`,
      );
      return EXIT.settled;
    },
  );
}

/** Every run that has not ended: its coordinator was stopped, or died. One that cannot be opened is told, and left. */
async function goOn(
  coordinator: Coordinator,
  runs: string,
  { catalogue, shell }: { readonly catalogue: Catalogue; readonly shell: Shell },
): Promise<void> {
  const entries = await readdir(runs, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const directory = join(runs, entry.name);
    if (!entry.isDirectory() || entry.name.startsWith(".") || (await hasEnded(directory))) continue;
    try {
      await coordinator.reopen(await readRun(directory, catalogue));
      shell.say(`goes on with ${directory}`);
    } catch (error) {
      shell.say(`cannot go on with ${directory}: ${messageOf(error)}`);
    }
  }
}

/** Names no module by path: what runs here is what the coordinator was started with. */
async function readRun(directory: string, catalogue: Catalogue): Promise<Sweep> {
  const path = join(directory, RUN_FILES.resolved);
  return parseRun(await readFile(path, "utf8"), { path, output: directory, catalogue });
}

/** A summary is written when a run stops; one that says "interrupted" may go on. */
async function hasEnded(directory: string): Promise<boolean> {
  const resolved = await readFile(join(directory, RUN_FILES.resolved), "utf8").catch(() => null);
  if (resolved === null) return true;
  const summary = await readFile(join(directory, RUN_FILES.summary), "utf8").catch(() => "{}");
  const state = stateIn(summary);
  return state === "completed" || state === "cancelled";
}

/** Null for what is no summary: the journal knows how far the run came, and a new summary is written at its end. */
function stateIn(summary: string): unknown {
  try {
    const parsed: unknown = JSON.parse(summary);
    return typeof parsed === "object" && parsed !== null && "state" in parsed ? parsed.state : null;
  } catch {
    return null;
  }
}
