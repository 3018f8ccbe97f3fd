/** `coppice doctor`: what is there, what is missing, and why. Changes nothing. */
import type { Command } from "commander";
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
import { DEFAULT_REDIS, jsonOption, setOption, tokenOption } from "../options.ts";
import type { Shell } from "../shell.ts";

interface DoctorOptions {
  readonly sweep?: string;
  readonly set: readonly string[];
  readonly redis?: string;
  readonly coordinator?: string;
  readonly host?: string;
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
    .option("--host <url>", "also check this OpenAI-compatible host")
    .option("--api-key-env <name>", "environment variable that holds the host's key")
    .addOption(tokenOption())
    .addOption(jsonOption())
    .action(async (options: DoctorOptions) => exit(await examine(options, shell)));
}

async function examine(options: DoctorOptions, shell: Shell): Promise<number> {
  let isMissing = false;
  for (const check of await checksOf(options, shell)) {
    const finding = await lookAt(check, shell);
    isMissing ||= finding.state === "missing";
    shell.out(options.json ? JSON.stringify(finding) : findingLine(finding));
  }
  return isMissing ? EXIT.wrong : EXIT.settled;
}

async function checksOf(options: DoctorOptions, shell: Shell): Promise<readonly Check[]> {
  const { sweep, set, redis, coordinator, host, tokenEnv } = options;
  return [
    ...localChecks(shell),
    redisCheck(redis ?? DEFAULT_REDIS, shell, redis !== undefined),
    ...(coordinator === undefined ? [] : [coordinatorCheck({ coordinator, tokenEnv }, shell)]),
    ...(host === undefined ? [] : [hostCheck(openaiHost(host, options.apiKeyEnv ?? null), null, shell)]),
    ...(sweep === undefined ? [] : await sweepChecks(sweep, set, shell)),
  ];
}

function openaiHost(url: string, apiKeyEnv: string | null): HostSpec {
  return { engine: "openai", id: url, url, api_key_env: apiKeyEnv, ...HOST_DEFAULTS.openai };
}

function findingLine({ check, state, message }: Finding): string {
  const shown = state === "optional" ? "absent" : state;
  const note = state === "optional" ? " (optional)" : "";
  return `${shown.padEnd(8)} ${check}${note}: ${message}`;
}
