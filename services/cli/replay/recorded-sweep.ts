/** What a what-if replay is about: the sweep of a run directory or of a sweep file, its problems, and where its records are. */
import { readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import type { AllocatorSpec } from "../../coordinator/allocate/catalogue.ts";
import { readRunProblems, RUN_FILES } from "../../coordinator/run-directory.ts";
import { describeRoute, needsOf, Routes } from "../../coordinator/routes.ts";
import type { Arm, Problem, Sweep } from "../../coordinator/sweep.ts";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import { loadSweep, parseRun } from "../load-sweep.ts";
import type { Shell } from "../shell.ts";
import { catalogueFor } from "../strategy-modules.ts";
import { recordedAbilities } from "./recorded-driver.ts";
import type { Recorded } from "./recorded.ts";

export interface RecordedSweep {
  readonly sweep: Sweep;
  readonly problems: readonly Problem[];
  /** Path of the records file. */
  readonly records: string;
  /** Whether the records are the rows of a run under this sweep's verifier. */
  readonly isRun: boolean;
  /** Arms of the run whose rollouts are steps of a search. */
  readonly steps: ReadonlySet<string>;
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
  const { sweep, problems, steps } = isRun
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
    steps,
    isRun: isRun && !flags.set.some((flag) => flag.startsWith("verifier")),
    allocators,
  };
}

/**
 * The sweep's arms over these records: none asks for more samples of a problem than there are.
 * @throws invalid_argument for an arm that asks for more than whole answers.
 */
export function armsOver(sweep: Sweep, recorded: Recorded, flags: ReplayFlags): readonly Arm[] {
  // A strategy that was named alone asks for all of them.
  const isWhole = flags.strategy !== undefined && typeof parse(flags.strategy) === "string";
  return sweep.arms.map((given) => {
    const arm = { ...given, sampling: recordedSampling(given, recorded) };
    refuseUnrecorded(sweep, arm, recorded);
    const { n } = arm.parameters;
    if (typeof n !== "number" || (!isWhole && n <= recorded.perProblemMax)) return arm;
    return { ...arm, parameters: { ...arm.parameters, n: recorded.perProblemMax } };
  });
}

/** What was wanted of the texts when they were sampled is in them: only what a strategy needs to know of them is left. */
function recordedSampling(arm: Arm, { tokensMax }: Recorded): Arm["sampling"] {
  const { temperature, topP, topK, minP, stop, maxTokens } = arm.sampling;
  const logprobs = needsOf(arm).logprobs === true ? { logprobs: true } : {};
  return { temperature, topP, topK, minP, stop, maxTokens: Math.max(maxTokens, tokensMax), ...logprobs };
}

/** What only a host could answer would be waited for without end. */
function refuseUnrecorded(sweep: Sweep, arm: Arm, { hasLogprobs }: Recorded): void {
  const can = recordedAbilities(hasLogprobs);
  const route = [...new Routes(sweep, arm).hosts].find((each) =>
    [...each.can].some((one) => !can.includes(one)),
  );
  const why = arm.strategy.extendsRollouts
    ? "it goes on from what it sampled, and records are whole answers"
    : route === undefined
      ? null
      : `it needs ${describeRoute(route)}, and there are only records`;
  if (why === null) return;
  throw new CoppiceError(
    "invalid_argument",
    `${arm.id}: cannot be replayed: ${why}; name another strategy, such as --strategy best-of-n`,
  );
}

async function loadFromRun(
  path: string,
  flags: ReplayFlags,
  shell: Shell,
): Promise<Pick<RecordedSweep, "sweep" | "problems" | "steps">> {
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
  const { arms } = parseRun(text, { path: file, catalogue });
  const steps = new Set(arms.flatMap(({ id, strategy }) => (strategy.extendsRollouts ? [id] : [])));
  return { sweep, problems: await Array.fromAsync(readRunProblems(path)), steps };
}

async function loadFromFile(
  given: string,
  flags: ReplayFlags,
  shell: Shell,
): Promise<Pick<RecordedSweep, "sweep" | "problems" | "steps">> {
  const overrides = overridesOf(flags);
  const loaded = await loadSweep(given, shell, { overrides, skipInvalid: false, destination: "here" });
  return { sweep: loaded.sweep, problems: await Array.fromAsync(loaded.problems()), steps: new Set() };
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
