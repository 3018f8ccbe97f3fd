/** `coppice verifier`: a verification worker, which judges candidates in threads that it can kill. */
import { hostname, availableParallelism } from "node:os";
import type { Command } from "commander";
import { createVerifierPool, withheldLines } from "../../../workers/verify/pool.ts";
import { startVerificationWorker } from "../../../workers/verify/verification-worker.ts";
import { exposeWorker } from "../cluster-metrics.ts";
import { createLink, exposeMetrics, openLanes, runDaemon, untilLeaving } from "../daemon.ts";
import { EXIT } from "../exit-status.ts";
import {
  coordinatorOption,
  drainOption,
  metricsOption,
  prefixOption,
  redisOption,
  tokenOption,
  wholeNumber,
} from "../options.ts";
import type { Shell } from "../shell.ts";

const DRAIN_SECONDS = 20;
/** Jobs in hand for each thread: enough that a thread does not idle while a report is on its way. */
const JOBS_PER_THREAD = 4;

interface VerifierOptions {
  readonly concurrency: number;
  readonly id?: string;
  readonly coordinator: string;
  readonly redis: string;
  readonly prefix: string;
  readonly metrics?: string;
  readonly tokenEnv: string;
  readonly drainSeconds: number;
  readonly allowCommands: boolean;
}

export function verifierCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("verifier")
    .description("run a verification worker")
    .option("--concurrency <n>", "threads that verify", wholeNumber(1), availableParallelism())
    .option(
      "--allow-commands",
      "offer verifiers that run commands of a sweep on this machine, outside of a sandbox: for trusted clients only",
      false,
    )
    .option("--id <name>", "unique name of the worker (default: machine and process)")
    .addOption(drainOption(DRAIN_SECONDS))
    .addOption(coordinatorOption())
    .addOption(redisOption())
    .addOption(prefixOption())
    .addOption(metricsOption())
    .addOption(tokenOption())
    .action(async (options: VerifierOptions) => exit(await verify(options, shell)));
}

function verify(options: VerifierOptions, shell: Shell): Promise<number> {
  const id =
    options.id ??
    `${hostname()}-verifier-${shell.process.pid}`.replaceAll(/[^A-Za-z0-9._-]/g, "-").slice(-64);
  return runDaemon(shell, { name: id, drainSeconds: options.drainSeconds }, async (daemon) => {
    const { lifecycle, log } = daemon;
    const created = await createVerifierPool({
      clock: shell.clock,
      threads: options.concurrency,
      outside: { env: shell.env, log, allowsCommands: options.allowCommands },
    });
    const pool = lifecycle.own("verifiers", created, (part) => part.close());
    const lanes = await openLanes(daemon, shell, options);
    const link = createLink(daemon, shell, options);
    const parts = { id, lanes, link, clock: shell.clock, pool, log, signal: lifecycle.leaving };
    const worker = await startVerificationWorker({
      ...parts,
      concurrency: options.concurrency * JOBS_PER_THREAD,
    });
    exposeWorker(daemon.metrics, id, () => worker.metrics());
    await exposeMetrics(daemon, options.metrics, shell);
    shell.say(`verifier ${id} serves ${pool.kinds.join(", ")} to ${options.coordinator}`);
    for (const line of withheldLines(pool.withheld)) shell.say(`verifier ${id} ${line}`);
    await untilLeaving(lifecycle.leaving);
    await worker.drain(options.drainSeconds * 1_000);
    shell.say(`verifier ${id} has left; what it had not finished is asked again elsewhere`);
    return EXIT.settled;
  });
}
