/** From a path on the command line to a sweep that is checked whole, problems included; before anything is spent. */
import { readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { parse, stringify } from "yaml";
import { asCoppiceError, CoppiceError, messageOf } from "../runtime/errors.ts";
import {
  type ProblemCheck,
  type ProblemOptions,
  checkProblems,
  complaintText,
  readProblems,
} from "../coordinator/sweep-file/problem-file.ts";
import { templateFields } from "../coordinator/sweep-file/prompt-template.ts";
import { RUN_FILES } from "../coordinator/run-directory.ts";
import { parseVerifierFlag } from "../coordinator/sweep-file/verifier-flag.ts";
import { ceilingsOf } from "../coordinator/revision.ts";
import { applyOverrides } from "../coordinator/sweep-file/sweep-override.ts";
import { parseSweepFile } from "../coordinator/sweep-file/sweep-file.ts";
import {
  type ProblemSource,
  renderResolved,
  RESOLVED_STYLE,
  resolveSweep,
} from "../coordinator/sweep-file/sweep-resolve.ts";
import type { Problem, Sweep } from "../coordinator/sweep.ts";
import type { Catalogue } from "../coordinator/sweep-file/sweep-schema.ts";
import { catalogueFor } from "./strategy-modules.ts";
import type { Shell } from "./shell.ts";
import { SHIPPED_MODEL_PATH, programVersion } from "./version.ts";

export interface LoadOptions {
  /** `--set` flags, as typed. */
  readonly overrides: readonly string[];
  /** Leave out problems that are not valid instead of refusing the sweep. */
  readonly skipInvalid: boolean;
  /** Where it will run: here, or on a coordinator, which knows strategies of the user's own by their names. */
  readonly destination: "here" | "coordinator";
}

export interface LoadedSweep {
  readonly sweep: Sweep;
  /** What the check of the problems found; invalid ones are left out. */
  readonly check: ProblemCheck;
  /** The valid problems, read anew at each call. */
  problems(): AsyncIterable<Problem>;
  /** The file as given, and the YAML of the sweep as it will run. */
  readonly given: string;
  readonly resolved: string;
}

/**
 * @param path The sweep file.
 * @throws not_found or invalid_argument with every complaint, each with file and line.
 */
export async function loadSweep(path: string, shell: Shell, options: LoadOptions): Promise<LoadedSweep> {
  const given = await readText(resolve(shell.cwd, path), path);
  const catalogue = await catalogueFor(given, resolve(shell.cwd, path));
  const file = parseSweepFile(given, {
    file: path,
    catalogue,
    overrides: options.overrides,
    cwd: shell.cwd,
  });
  const place = {
    catalogue,
    file: resolve(shell.cwd, path),
    shippedModelPath: SHIPPED_MODEL_PATH,
  };
  const { sweep, problems } = resolveSweep(file, place);
  const reading: ProblemOptions = {
    file: problemsName(problems, shell),
    fields: templateFields(sweep.promptTemplate),
  };
  const check = await checkProblems(problems, reading);
  refuseInvalid(check, reading.file, options);
  const modules = options.destination === "here" ? "by-path" : "by-name";
  const origin = { problems, version: programVersion(), problemsSha256: check.sha256, modules } as const;
  return {
    sweep,
    check,
    given,
    resolved: renderResolved(sweep, origin),
    problems: () => readProblems(problems, check, reading),
  };
}

/** Keys that may change between attempts at one run: where it runs and how much it may spend. */
const RESUMABLE_KEYS = ["budget", "hosts", "hedge"];

/** The sweep of a run directory. */
export interface LoadedRun {
  readonly sweep: Sweep;
  /** Its `resolved.yaml` with what was changed; undefined where nothing was. */
  readonly resolved: string | undefined;
  /** What was changed, for people: `budget.rollouts 800 -> 5800`. */
  readonly changes: readonly string[];
}

/**
 * The sweep of a run directory, from its `resolved.yaml`.
 * @throws not_found for a directory that is none; invalid_argument for an override that would make it another sweep.
 */
export async function loadRun(
  directory: string,
  shell: Shell,
  overrides: readonly string[],
): Promise<LoadedRun> {
  const output = resolve(shell.cwd, directory);
  const path = join(output, RUN_FILES.resolved);
  const text = await readText(path, `${directory}: expected a run directory`);
  const place = { path, output, cwd: shell.cwd, catalogue: await catalogueFor(text, path) };
  const before = parseRun(text, place);
  for (const flag of overrides) refuseOtherSweep(flag, before, shell);
  const sweep = parseRun(text, { ...place, overrides });
  if (overrides.length === 0) return { sweep, resolved: undefined, changes: [] };
  for (const [i, { id, strategy, parameters }] of sweep.arms.entries()) {
    for (const key of strategy.grows ?? []) {
      const least = Number(before.arms[i]?.parameters[key]);
      if (Number(parameters[key]) >= least) continue;
      const found = `found ${String(parameters[key])}`;
      throw new CoppiceError(
        "invalid_argument",
        `strategies.${id}.${key}: expected at least the ${least} that the run has, ${found}: it may grow only`,
      );
    }
  }
  const raw: unknown = parse(text);
  applyOverrides(raw, overrides, shell.cwd);
  return { sweep, resolved: stringify(raw, RESOLVED_STYLE), changes: changesOf(before, sweep) };
}

/** More budget, other hosts, or more samples of an arm that can go on from those that it has. */
function refuseOtherSweep(flag: string, { arms, seed }: Sweep, shell: Shell): void {
  const keys = flag.split("=")[0]?.trim().split(".") ?? [];
  const [first = "", member = "", key = ""] = keys;
  if (RESUMABLE_KEYS.includes(first)) return;
  const may = arms.flatMap(({ id, strategy: { grows = [] } }) =>
    grows.map((name) => `strategies.${id}.${name}`),
  );
  const arm = arms.find(({ id, strategy }, i) => [id, strategy.name, String(i)].includes(member));
  const isArm = first === "strategies" && arm !== undefined;
  if (isArm && (key === "budget" || (keys.length === 3 && (arm.strategy.grows ?? []).includes(key)))) return;
  const advice =
    first === "seed"
      ? `seed ${seed} is what its rollouts were sampled with; for another one beside it: ${shell.program} run RUN/resolved.yaml --set ${flag} --set output=ANOTHER`
      : "another sweep needs another run";
  throw new CoppiceError(
    "invalid_argument",
    `--set ${flag}: a run that is resumed may change ${[...RESUMABLE_KEYS, ...may].join(", ")} only; ${advice}`,
  );
}

function changesOf(before: Sweep, after: Sweep): readonly string[] {
  const numbersOf = (sweep: Sweep): Readonly<Record<string, number>> => ({
    ...ceilingsOf(sweep),
    ...Object.fromEntries(
      sweep.arms.flatMap(({ id, strategy: { grows = [] }, parameters }) =>
        grows.map((name) => [`strategies.${id}.${name}`, Number(parameters[name])]),
      ),
    ),
  });
  const [old, now] = [numbersOf(before), numbersOf(after)];
  return Object.keys({ ...old, ...now })
    .filter((key) => old[key] !== now[key])
    .map((key) => `${key} ${old[key] ?? "without limit"} -> ${now[key] ?? "without limit"}`);
}

/**
 * The sweep of a run directory with another verifier, and a run directory of its own.
 * @param verifier As `--verifier` gave it.
 * @throws not_found for a directory that is none; invalid_argument for a verifier that is none.
 */
export async function loadRunToScore(
  directory: string,
  shell: Shell,
  { verifier, output }: { readonly verifier: string; readonly output: string },
): Promise<Sweep> {
  const path = join(resolve(shell.cwd, directory), RUN_FILES.resolved);
  const text = await readText(path, `${directory}: expected a run directory`);
  const override = `verifier=${JSON.stringify(parseVerifierFlag(verifier))}`;
  const catalogue = await catalogueFor(text, path);
  try {
    return parseRun(text, { path, output, overrides: [override], catalogue });
  } catch (error) {
    const { code, message } = asCoppiceError(error);
    throw new CoppiceError(code, message.replaceAll(`--set ${override}`, `--verifier ${verifier}`), {
      cause: error,
    });
  }
}

/** The sweep that a `resolved.yaml` says. */
export function parseRun(
  text: string,
  place: {
    readonly path: string;
    readonly catalogue: Catalogue;
    readonly output?: string;
    readonly overrides?: readonly string[];
    readonly cwd?: string;
  },
): Sweep {
  const { path, catalogue, overrides = [], cwd = "." } = place;
  const output = place.output === undefined ? {} : { output: place.output };
  const file = parseSweepFile(text, { file: path, catalogue, overrides, cwd });
  return resolveSweep(file, {
    catalogue,
    file: path,
    shippedModelPath: SHIPPED_MODEL_PATH,
    ...output,
  }).sweep;
}

function refuseInvalid(check: ProblemCheck, file: string, { skipInvalid }: LoadOptions): void {
  if (check.invalid.size > 0 && !skipInvalid) {
    const advice = `the sweep was not started; --skip-invalid leaves these ${check.invalid.size} out and runs ${check.count}`;
    throw new CoppiceError("invalid_argument", `${complaintText(check)}\n${advice}`);
  }
  if (check.count === 0)
    throw new CoppiceError("invalid_argument", `${file}: expected at least one problem, found none`);
}

async function readText(path: string, name: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new CoppiceError("not_found", `${name}: cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

function problemsName(source: ProblemSource, shell: Shell): string {
  return typeof source === "string" ? shownPath(source, shell) : "problems";
}

/** A path as the person would write it: relative to where they are, unless that is longer. */
export function shownPath(path: string, shell: Shell): string {
  const near = relative(shell.cwd, path);
  return near !== "" && near.length < path.length ? near : path;
}
