/** What a what-if replay is about: the sweep of a run directory or of a sweep file, its problems, and where its records are. */
import { readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import type { AllocatorSpec } from "../../coordinator/allocate/catalogue.ts";
import { readRunProblems, RUN_FILES } from "../../coordinator/run-directory.ts";
import type { Arm, Problem, Sweep } from "../../coordinator/sweep.ts";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import { loadSweep, parseRun } from "../load-sweep.ts";
import type { Shell } from "../shell.ts";
import { catalogueFor } from "../strategy-modules.ts";
import type { Recorded } from "./recorded.ts";

export interface RecordedSweep {
  readonly sweep: Sweep;
  readonly problems: readonly Problem[];
  /** Path of the records file. */
  readonly records: string;
  /** Whether the records are the rows of a run under this sweep's verifier. */
  readonly isRun: boolean;
  /** Allocators, in the order in which they were named, each with what it is called. */
  readonly allocators: readonly { readonly name: string; readonly allocate: AllocatorSpec }[];
}

export interface ReplayFlags {
  /** As typed: names or maps, separated by commas. */
  readonly allocate: string;
  /** As typed: a name or a map; absent: the sweep's own strategies. */
  readonly strategy?: string;
  readonly set: readonly string[];
}

/** @throws not_found or invalid_argument with every complaint. */
export async function loadRecordedSweep(
  given: string,
  flags: ReplayFlags,
  shell: Shell,
): Promise<RecordedSweep> {
  const path = resolve(shell.cwd, given);
  const isRun = await isDirectory(path, given);
  const { sweep, problems } = isRun
    ? await loadFromRun(path, flags, shell)
    : await loadFromFile(given, flags, shell);
  const host = sweep.hosts.find(({ engine }) => engine === "replay");
  if (!isRun && host?.engine !== "replay") {
    const found = sweep.hosts.map(({ engine }) => engine).join(", ");
    throw new CoppiceError(
      "invalid_argument",
      `${given}: hosts: expected one with engine replay, whose records are replayed; found ${found === "" ? "none" : found}`,
    );
  }
  const records = host?.engine === "replay" && !isRun ? host.records : join(path, RUN_FILES.rollouts);
  const allocators = await Promise.all(
    listOf(flags.allocate, "--allocate").map(async (one) => ({
      name: labelOf(one),
      allocate: await allocatorOf(one, { path, given, isRun, shell }),
    })),
  );
  return {
    sweep,
    problems,
    records,
    isRun: isRun && !flags.set.some((flag) => flag.startsWith("verifier")),
    allocators,
  };
}

/** The sweep's arms over these records: none asks for more samples of a problem than there are. */
export function armsOver(sweep: Sweep, recorded: Recorded, flags: ReplayFlags): readonly Arm[] {
  // A strategy that was named alone asks for all of them.
  const isWhole = flags.strategy !== undefined && typeof parse(flags.strategy) === "string";
  return sweep.arms.map((arm) => {
    const { n } = arm.parameters;
    const sampling = { ...arm.sampling, maxTokens: Math.max(arm.sampling.maxTokens, recorded.tokensMax) };
    if (typeof n !== "number" || (!isWhole && n <= recorded.perProblemMax)) return { ...arm, sampling };
    return { ...arm, sampling, parameters: { ...arm.parameters, n: recorded.perProblemMax } };
  });
}

async function loadFromRun(
  path: string,
  flags: ReplayFlags,
  shell: Shell,
): Promise<Pick<RecordedSweep, "sweep" | "problems">> {
  const file = join(path, RUN_FILES.resolved);
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw new CoppiceError("not_found", `${path}: expected a run directory: ${messageOf(error)}`);
  });
  const catalogue = await catalogueFor(text, file);
  const sweep = parseRun(text, {
    path: file,
    catalogue,
    overrides: overridesOf(flags),
    cwd: shell.cwd,
    output: path,
  });
  return { sweep, problems: await Array.fromAsync(readRunProblems(path)) };
}

async function loadFromFile(
  given: string,
  flags: ReplayFlags,
  shell: Shell,
): Promise<Pick<RecordedSweep, "sweep" | "problems">> {
  const overrides = overridesOf(flags);
  const loaded = await loadSweep(given, shell, { overrides, skipInvalid: false, destination: "here" });
  return { sweep: loaded.sweep, problems: await Array.fromAsync(loaded.problems()) };
}

function overridesOf({ strategy, set }: ReplayFlags): readonly string[] {
  if (strategy === undefined) return set;
  const one: unknown = parse(strategy);
  return [`strategies=${JSON.stringify([typeof one === "string" ? { strategy: one } : one])}`, ...set];
}

/** Checked as the key `allocate` of the sweep is. */
async function allocatorOf(
  one: unknown,
  {
    path,
    given,
    isRun,
    shell,
  }: { readonly path: string; readonly given: string; readonly isRun: boolean; readonly shell: Shell },
): Promise<AllocatorSpec> {
  const file = isRun ? join(path, RUN_FILES.resolved) : path;
  const text = await readFile(file, "utf8");
  const override = `allocate=${JSON.stringify(one)}`;
  try {
    const place = {
      path: given,
      catalogue: await catalogueFor(text, file),
      overrides: [override],
      cwd: shell.cwd,
    };
    return parseRun(text, place).allocate;
  } catch (error) {
    const message = messageOf(error).replaceAll(`--set ${override}`, `--allocate ${labelOf(one)}`);
    throw new CoppiceError("invalid_argument", message, { cause: error });
  }
}

/** `a,b` and `{ kind: a, round: 4 }, b`. */
function listOf(text: string, flag: string): readonly unknown[] {
  try {
    const list: unknown = parse(`[${text}]`);
    if (Array.isArray(list) && list.length > 0) return list;
  } catch (error) {
    throw new CoppiceError("invalid_argument", `${flag} ${text}: not a list: ${messageOf(error)}`, {
      cause: error,
    });
  }
  throw new CoppiceError("invalid_argument", `${flag}: expected names of allocators, found none`);
}

function labelOf(one: unknown): string {
  if (typeof one !== "object" || one === null) return String(one);
  const { kind, ...parameters } = one as Readonly<Record<string, unknown>>; // A map, as YAML has it.
  const shown = Object.entries(parameters).map(([key, value]) => `${key}=${String(value)}`);
  return shown.length === 0 ? String(kind) : `${String(kind)}(${shown.join(",")})`;
}

async function isDirectory(path: string, given: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw new CoppiceError(
      "not_found",
      `${given}: expected a run directory or a sweep file: ${messageOf(error)}`,
    );
  }
}
