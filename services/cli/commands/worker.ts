/** `coppice worker`: a rollout worker, which serves one host's lane. */
import { hostname } from "node:os";
import { randomInt } from "node:crypto";
import { type Command, Option } from "commander";
import { complaintsOf } from "../../coordinator/sweep-file/sweep-complaint.ts";
import { resolveHost } from "../../coordinator/sweep-file/sweep-resolve.ts";
import { hostSchema, SIMULATED_PROFILES } from "../../coordinator/sweep-file/sweep-schema.ts";
import type { HostSpec } from "../../coordinator/sweep.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { createRandom } from "../../runtime/random.ts";
import { createDriver } from "../../../workers/rollout/create-driver.ts";
import { startRolloutWorker } from "../../../workers/rollout/rollout-worker.ts";
import { exposeWorker } from "../cluster-metrics.ts";
import { type Daemon, createLink, exposeMetrics, openLanes, runDaemon, untilLeaving } from "../daemon.ts";
import { EXIT } from "../exit-status.ts";
import {
  coordinatorOption,
  drainOption,
  duration,
  metricsOption,
  prefixOption,
  redisOption,
  tokenOption,
  wholeNumber,
  wholeNumberOrAuto,
} from "../options.ts";
import { gpusOf } from "../host-gpus.ts";
import type { Shell } from "../shell.ts";
import { SHIPPED_MODEL_PATH } from "../version.ts";

/** What runs when the worker is told to leave may finish for so long. */
const DRAIN_SECONDS = 20;

interface WorkerOptions {
  readonly engine: string;
  readonly url?: string;
  readonly apiKeyEnv?: string;
  readonly model?: string;
  readonly modelPath?: string;
  readonly records?: string;
  readonly profile?: string;
  readonly speed?: number;
  readonly kvCapacityTokens?: number;
  readonly sequences?: number;
  readonly contextTokens?: number;
  readonly threads?: number;
  readonly reproducible?: true;
  readonly speculativeTokens?: number;
  readonly concurrency?: number | "auto";
  readonly timeout?: number;
  readonly gpus?: number;
  readonly kvEvents?: string;
  readonly wait: number;
  readonly id?: string;
  readonly coordinator: string;
  readonly redis: string;
  readonly prefix: string;
  readonly metrics?: string;
  readonly tokenEnv: string;
  readonly drainSeconds: number;
}

export function workerCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("worker")
    .description("run a rollout worker: serves the lane of one host")
    .requiredOption(
      "--engine <engine>",
      "embedded, vllm, sglang, llama-server, openai (any of them), replay, simulated",
    )
    .option("--url <url>", "servers: the host's address, such as http://gpu1:8000")
    .option("--api-key-env <name>", "servers: environment variable that holds the host's key")
    .option(
      "--model <name>",
      "servers: the model to ask for, where the host serves several; simulated: that it serves",
    )
    .option("--model-path <file>", "embedded: the GGUF file (default: the small model of the project)")
    .option("--sequences <n>", "embedded: rollouts decoded at once", wholeNumber(1))
    .option("--context-tokens <n>", "embedded: longest prompt plus completion", wholeNumber(1))
    .option("--threads <n>", "embedded: threads of one evaluation", wholeNumber(1))
    .option("--reproducible", "embedded: the same texts whatever runs beside them")
    .option("--speculative-tokens <n>", "embedded: longest draft evaluated at once", wholeNumber(0))
    .option("--records <file>", "replay: the records (JSONL)")
    .option("--profile <name>", `simulated: the host, one of ${SIMULATED_PROFILES.join(", ")}`)
    .option("--speed <n>", "simulated: milliseconds of the host in one that passes", Number)
    .option("--kv-capacity-tokens <n>", "simulated: tokens that its KV cache holds", wholeNumber(1))
    .option(
      "--concurrency <n>",
      'servers, replay, simulated: rollouts at once; "auto" (not replay): found while the host works',
      wholeNumberOrAuto,
    )
    .option("--gpus <n>", "servers, simulated: GPUs that the host runs on", wholeNumber(0))
    .option("--timeout <duration>", "servers: longest silence within a request", duration)
    .option(
      "--kv-events <address>",
      "vllm, sglang: where it publishes its KV events, such as tcp://gpu1:5557",
    )
    .addOption(
      new Option("--wait <duration>", "how long to wait for a host that is not up yet")
        .argParser(duration)
        .default(600_000, "10m"),
    )
    .option("--id <name>", "unique name of the worker and its host (default: machine, engine, process)")
    .addOption(drainOption(DRAIN_SECONDS))
    .addOption(coordinatorOption())
    .addOption(redisOption())
    .addOption(prefixOption())
    .addOption(metricsOption())
    .addOption(tokenOption())
    .action(async (options: WorkerOptions) => exit(await work(options, shell)));
}

function work(options: WorkerOptions, shell: Shell): Promise<number> {
  const spec = hostOf(options, shell);
  return runDaemon(shell, { name: spec.id, drainSeconds: options.drainSeconds }, (daemon) =>
    serveHost(daemon, spec, { options, shell }),
  );
}

async function serveHost(
  daemon: Daemon,
  spec: HostSpec,
  { options, shell }: { readonly options: WorkerOptions; readonly shell: Shell },
): Promise<number> {
  const { lifecycle, log } = daemon;
  const random = createRandom(randomInt(2 ** 31));
  const driver = await createDriver(spec, {
    model: options.model ?? null,
    env: shell.env,
    clock: shell.clock,
    random,
    log,
  });
  lifecycle.own("driver", driver, (part) => part.close());
  const lanes = await openLanes(daemon, shell, options);
  const link = createLink(daemon, shell, options);
  const parts = {
    id: spec.id,
    hostId: spec.id,
    gpus: gpusOf(spec),
    driver,
    lanes,
    link,
    clock: shell.clock,
    log,
    signal: lifecycle.leaving,
  };
  const worker = await startRolloutWorker({ ...parts, limits: { startWaitMs: options.wait } });
  exposeWorker(daemon.metrics, spec.id, () => worker.metrics());
  await exposeMetrics(daemon, options.metrics, shell);
  shell.say(`worker ${spec.id} serves "${worker.host.model}" to ${options.coordinator}`);
  const lost = await Promise.race([worker.ended, untilLeaving(lifecycle.leaving).then(() => null)]);
  if (lost !== null) throw lost;
  await worker.drain(options.drainSeconds * 1_000);
  shell.say(`worker ${spec.id} has left; what it had not finished is asked again elsewhere`);
  return EXIT.settled;
}

/** The host that the flags describe; complaints name the flags. */
function hostOf(options: WorkerOptions, shell: Shell): HostSpec {
  const given = {
    engine: options.engine,
    url: options.url,
    api_key_env: options.apiKeyEnv,
    model_path: options.modelPath,
    records: options.records,
    profile: options.profile,
    speed: options.speed,
    kv_capacity_tokens: options.kvCapacityTokens,
    sequences: options.sequences,
    context_tokens: options.contextTokens,
    threads: options.threads,
    reproducible: options.reproducible,
    speculative_tokens: options.speculativeTokens,
    concurrency: options.concurrency,
    timeout_ms: options.timeout,
    gpus: options.gpus,
    kv_events: options.kvEvents,
    id: options.id,
  };
  const host = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const parsed = hostSchema.safeParse(host);
  if (parsed.success) {
    const id =
      options.id ??
      `${hostname()}-${options.engine}-${shell.process.pid}`.replaceAll(/[^A-Za-z0-9._-]/g, "-").slice(-64);
    return resolveHost(parsed.data, { id, directory: shell.cwd, shippedModelPath: SHIPPED_MODEL_PATH });
  }
  const complaints = complaintsOf(parsed.error.issues, host).map(({ path, message }) => {
    const flag = `--${path.join("").replaceAll("_", "-").replace("timeout-ms", "timeout")}`;
    return `${flag}: ${message.startsWith("unknown key") ? `does not go with --engine ${options.engine}` : message}`;
  });
  throw new CoppiceError("invalid_argument", complaints.join("\n"));
}
