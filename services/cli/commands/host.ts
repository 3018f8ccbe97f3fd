/** `coppice host`: a simulated inference host behind HTTP, in vLLM's dialect. */
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  engineProfile,
  ENGINE_PROFILE_NAMES,
} from "../../../workers/rollout/drivers/simulated/engine-profile.ts";
import { DEFAULT_TEXT_SHAPE } from "../../../workers/rollout/drivers/simulated/seeded-text.ts";
import { startSimulatedServer } from "../../../workers/rollout/drivers/simulated/server.ts";
import { SPEED_MAX } from "../../../workers/rollout/drivers/simulated/simulated-host.ts";
import { runDaemon, untilLeaving } from "../daemon.ts";
import { EXIT } from "../exit-status.ts";
import { wholeNumber } from "../options.ts";
import type { Shell } from "../shell.ts";

const PORT_MAX = 65_535;

interface HostOptions {
  readonly profile: string;
  readonly model: string;
  readonly host: string;
  readonly port: number;
  readonly speed: number;
  readonly kvTokens?: number;
  readonly meanTokens: number;
  readonly lineTokens: number;
  readonly coldSiblings: boolean;
  readonly priority: boolean;
}

export function hostCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("host")
    .description("run a simulated inference host that speaks vLLM's HTTP, for trials without a GPU")
    .addOption(
      new Option("--profile <name>", "the model and GPUs whose time and memory it has")
        .choices(ENGINE_PROFILE_NAMES)
        .default("8b-h100"),
    )
    .option("--model <name>", "the name of the model that it serves", "simulated")
    .option("--host <address>", "the interface to listen on", "127.0.0.1")
    .option("--port <n>", "the port to listen on; 0 takes a free one", port, 8_000)
    .option("--speed <n>", "milliseconds of the host in one that passes", speed, 1)
    .option("--kv-tokens <n>", "tokens that its KV cache holds (default: the profile's)", wholeNumber(1))
    .option(
      "--mean-tokens <n>",
      "mean tokens of a text that nothing else ends",
      wholeNumber(1),
      DEFAULT_TEXT_SHAPE.meanTokens,
    )
    .option("--line-tokens <n>", "mean tokens of a line", wholeNumber(1), DEFAULT_TEXT_SHAPE.lineTokens)
    .option("--cold-siblings", "requests that come at once with a cold prompt compute it each", false)
    .option("--priority", "schedule by priority, less first", false)
    .addHelpText("after", HELP)
    .action(async (options: HostOptions) => exit(await serve(options, shell)));
}

const HELP = `
Its texts are words by chance, equal for equal prompt and seed on any host. Its time is that of an engine with continuous
batching, chunked prefill and a paged prefix cache, by a formula. It serves /v1/completions, /v1/models, /tokenize, /detokenize,
/health, /version, /metrics and /reset_prefix_cache. A sweep reaches it as any vLLM host:
  hosts: [{ engine: vllm, url: "http://127.0.0.1:8000" }]`;

function serve(options: HostOptions, shell: Shell): Promise<number> {
  const { model, host, speed: times, meanTokens, lineTokens } = options;
  const overrides = options.kvTokens === undefined ? {} : { kvCapacityTokens: options.kvTokens };
  const profile = engineProfile(options.profile, overrides);
  return runDaemon(shell, { name: "host" }, async ({ lifecycle }) => {
    const server = await startSimulatedServer({
      profile,
      model,
      host,
      port: options.port,
      speed: times,
      clock: shell.clock,
      sharesColdPrefixes: !options.coldSiblings,
      schedulesByPriority: options.priority,
      shape: { meanTokens, lineTokens },
    });
    lifecycle.own("server", server, (part) => part.close());
    shell.out(`host "${model}" (${profile.name}, ${times} x real time) on ${server.url}`);
    await untilLeaving(lifecycle.leaving);
    return EXIT.settled;
  });
}

function port(text: string): number {
  const value = wholeNumber(0)(text);
  if (value > PORT_MAX) throw new InvalidArgumentError(`Expected a port from 0 to ${PORT_MAX}.`);
  return value;
}

function speed(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value > 0 && value <= SPEED_MAX))
    throw new InvalidArgumentError(`Expected a number above 0 and at most ${SPEED_MAX}.`);
  return value;
}
