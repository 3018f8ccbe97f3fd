/** Options that several commands have, and how their texts are read. */
import { Option, InvalidArgumentError } from "commander";
import { parseDurationMs } from "../runtime/duration.ts";
import { CoppiceError } from "../runtime/errors.ts";
import { parseAddress } from "../runtime/metrics.ts";
import { NO_FAIL_LIMIT, parseFailLimit } from "./fail-limit.ts";
import type { Shell } from "./shell.ts";

export const DEFAULT_COORDINATOR = "127.0.0.1:7070";
export const DEFAULT_REDIS = "redis://127.0.0.1:6379";
/** The environment variable that holds the token when `--token-env` names no other. */
const DEFAULT_TOKEN_ENV = "COPPICE_TOKEN";

export const setOption = (): Option =>
  new Option(
    "--set <key=value>",
    "override a key of the sweep, such as budget.rollouts=5000, or =+5000 for so many more; may be repeated",
  )
    .argParser((flag: string, flags: readonly string[]) => [...flags, flag])
    .default([] as readonly string[], "none");
export const strategyOption = (): Option =>
  new Option(
    "--strategy <module>",
    "a strategy of your own, under the name that it declares; may be repeated",
  )
    .argParser((path: string, paths: readonly string[]) => [...paths, path])
    .default([] as readonly string[], "none");
export const coordinatorOption = (): Option =>
  new Option("--coordinator <host:port>", "the coordinator's address")
    .default(DEFAULT_COORDINATOR)
    .argParser(address);
export const redisOption = (): Option =>
  new Option("--redis <url>", "the Redis that holds the lanes").default(DEFAULT_REDIS);
export const prefixOption = (): Option =>
  new Option(
    "--prefix <name>",
    "beginning of the keys in Redis; the same for every process of a cluster",
  ).default("coppice");
export const metricsOption = (): Option =>
  new Option("--metrics <host:port>", "serve /metrics for Prometheus, and /healthz, here").argParser(address);
export const tokenOption = (): Option =>
  new Option("--token-env <name>", "environment variable that holds the token of the coordinator").default(
    DEFAULT_TOKEN_ENV,
  );
export const failOnErrorOption = (): Option =>
  new Option(
    "--fail-on-error <limit>",
    'tasks that may fail, such as "5%" or "20"; past it `run` stops, `submit --watch` pauses the sweep, and the exit status is 2',
  )
    .argParser(parseFailLimit)
    .default(NO_FAIL_LIMIT, "100%");
export const drainOption = (seconds: number): Option =>
  new Option("--drain-seconds <n>", "told to leave: what runs may finish for so long")
    .argParser(wholeNumber(0))
    .default(seconds);
export const jsonOption = (): Option =>
  new Option("--json", "one JSON object per line, for programs").default(false);

/** The token, or undefined where none is set. A variable that was named and is not set is an error. */
export function readToken(shell: Shell, name: string): string | undefined {
  const token = shell.env[name];
  if (token !== undefined && token !== "") return token;
  if (name === DEFAULT_TOKEN_ENV) return undefined;
  throw new CoppiceError("invalid_argument", `--token-env ${name}: the environment variable is not set`);
}

/** A whole number from `min` up. */
export function wholeNumber(min: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < min)
      throw new InvalidArgumentError(`Expected a whole number from ${min}.`);
    return value;
  };
}

/** `auto`, or a whole number from 1 up. */
export function wholeNumberOrAuto(text: string): number | "auto" {
  return text === "auto" ? text : wholeNumber(1)(text);
}

/** `90s`, `10m`. */
export function duration(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === null) throw new InvalidArgumentError('Expected a duration such as "90s" or "10m".');
  return ms;
}

function address(text: string): string {
  try {
    parseAddress(text);
    return text;
  } catch {
    throw new InvalidArgumentError("Expected HOST:PORT, such as 127.0.0.1:7070.");
  }
}
