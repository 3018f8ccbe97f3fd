/** `coppice doctor`: what is there, what is missing, and why. Changes nothing. */
import { type Command, Option } from "commander";
import type { HostSpec } from "../../coordinator/sweep.ts";
import { HOST_DEFAULTS } from "../../coordinator/sweep-file/sweep-schema.ts";
import {
  type Check,
  type Finding,
  coordinatorCheck,
  hostCheck,
  localChecks,
  lookAt,
  redisCheck,
  sweepChecks,
} from "../checks.ts";
import { EXIT } from "../exit-status.ts";
import { hostReportLines } from "../host-report.ts";
import { DEFAULT_REDIS, jsonOption, setOption, tokenOption } from "../options.ts";
import type { Shell } from "../shell.ts";

const SERVER_ENGINES = ["openai", "vllm", "sglang", "llama-server"] as const;
type ServerEngine = (typeof SERVER_ENGINES)[number];

interface DoctorOptions {
  readonly sweep?: string;
  readonly set: readonly string[];
  readonly redis?: string;
  readonly coordinator?: string;
  readonly host?: string;
  readonly engine: ServerEngine;
  readonly model?: string;
  readonly apiKeyEnv?: string;
  readonly tokenEnv: string;
  readonly json: boolean;
}

export function doctorCommand(program: Command, shell: Shell, exit: (status: number) => void): void {
  program
    .command("doctor")
    .description(
      "check what is reachable and what is missing; exit status 1 when something needed is missing",
    )
    .option("--sweep <file>", "also check this sweep: its file, its problems, its hosts")
    .addOption(setOption())
    .option("--redis <url>", "also check this Redis")
    .option("--coordinator <host:port>", "also check this coordinator")
    .option("--host <url>", "also check this host: what answers, what it holds, reports and can do")
    .addOption(
      new Option("--engine <engine>", "what the host must be; openai: any of them")
        .choices(SERVER_ENGINES)
        .default("openai"),
    )
    .option("--model <name>", "the model to ask the host for, where it serves several")
    .option("--api-key-env <name>", "environment variable that holds the host's key")
    .addOption(tokenOption())
    .addOption(jsonOption())
    .action(async (options: DoctorOptions) => exit(await examine(options, shell)));
}

async function examine(options: DoctorOptions, shell: Shell): Promise<number> {
  let isMissing = false;
  // All at once, told in their order: one that waits for an answer holds nobody else up.
  for (const looking of (await checksOf(options, shell)).map((check) => lookAt(check, shell))) {
    const finding = await looking;
    isMissing ||= finding.state === "missing";
    if (options.json) shell.out(JSON.stringify(finding));
    else for (const line of findingLines(finding)) shell.out(line);
  }
  return isMissing ? EXIT.wrong : EXIT.settled;
}

async function checksOf(options: DoctorOptions, shell: Shell): Promise<readonly Check[]> {
  const { sweep, set, redis, coordinator, host, tokenEnv } = options;
  return [
    ...localChecks(shell),
    redisCheck(redis ?? DEFAULT_REDIS, shell, redis !== undefined),
    ...(coordinator === undefined ? [] : [coordinatorCheck({ coordinator, tokenEnv }, shell)]),
    ...(host === undefined ? [] : [hostCheck(serverHost(host, options), options.model ?? null, shell)]),
    ...(sweep === undefined ? [] : await sweepChecks(sweep, set, shell)),
  ];
}

function serverHost(url: string, { engine, apiKeyEnv }: DoctorOptions): HostSpec {
  const host = { id: url, url, api_key_env: apiKeyEnv ?? null, ...HOST_DEFAULTS.openai };
  if (engine === "vllm" || engine === "sglang") return { ...host, engine, kv_events: null };
  return { ...host, engine };
}

function findingLines({ check, state, message, report }: Finding): readonly string[] {
  const shown = state === "optional" ? "absent" : state;
  const note = state === "optional" ? " (optional)" : "";
  const line = `${shown.padEnd(8)} ${check}${note}: ${message}`;
  return report === undefined ? [line] : [line, ...hostReportLines(report)];
}
