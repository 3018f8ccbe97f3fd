/** `--set a.b.c=value`: a dotted flag overrides a key of the sweep file. The value is YAML. */
import { resolve } from "node:path";
import { parse } from "yaml";
import { parseDurationMs } from "../../runtime/duration.ts";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";
import type { KeyPath } from "./sweep-complaint.ts";

export interface Override {
  /** As it was typed, for messages. */
  readonly given: string;
  readonly path: KeyPath;
}

/** Keys whose values are paths: on a command line they are relative to the working directory, not to the file. */
const PATH_KEYS: ReadonlySet<string> = new Set(["output", "problems", "records", "model_path"]);

/**
 * Changes `sweep` (the file's plain value) in place, one override after the other. A list is entered by position
 * (`strategies.0.n`) or by the id, strategy or engine of its member (`strategies.beam-search.width`).
 * A number behind a "+" is added to what is there: `budget.rollouts=+5000`, `budget.wall=+1h`.
 * @returns Where each one ended up. Whether the last key is known, the schema says.
 * @throws invalid_argument for a flag without "=", a value that is not YAML, or a path that leads nowhere.
 */
export function applyOverrides(sweep: unknown, given: readonly string[], cwd: string): readonly Override[] {
  return given.map((flag) => applyOverride(sweep, flag, cwd));
}

function applyOverride(sweep: unknown, flag: string, cwd: string): Override {
  const [keys, value] = splitFlag(flag, cwd);
  const path: (string | number)[] = [];
  let holder: unknown = sweep;
  keys.forEach((key, depth) => {
    const isLast = depth === keys.length - 1;
    if (Array.isArray(holder)) {
      const at = memberIndex(holder, key, flag);
      path.push(at);
      if (isLast) holder[at] = sum(holder[at], value, flag);
      holder = holder[at];
      return;
    }
    if (typeof holder !== "object" || holder === null) {
      throw new CoppiceError("invalid_argument", `--set ${flag}: ${path.join(".")} has no keys`);
    }
    // A map of the file: keys that are not there yet are made, the schema refuses those that it does not know.
    const map = holder as Record<string, unknown>;
    path.push(key);
    if (isLast) map[key] = sum(map[key], value, flag);
    else map[key] ??= {};
    holder = map[key];
  });
  return { given: flag, path };
}

function splitFlag(flag: string, cwd: string): readonly [readonly string[], unknown] {
  const equals = flag.indexOf("=");
  const keys = flag.slice(0, Math.max(equals, 0)).trim().split(".");
  if (equals < 1 || keys.some((key) => key === "" || key === "__proto__")) {
    throw new CoppiceError(
      "invalid_argument",
      `--set ${flag}: expected KEY=VALUE, such as budget.rollouts=5000`,
    );
  }
  try {
    const value: unknown = parse(flag.slice(equals + 1));
    const isPath = typeof value === "string" && PATH_KEYS.has(keys.at(-1) ?? "");
    return [keys, isPath ? resolve(cwd, value) : value];
  } catch (error) {
    const message = `--set ${flag}: the value is not YAML: ${messageOf(error)}`;
    throw new CoppiceError("invalid_argument", message, { cause: error });
  }
}

/** Keys of numbers, so that a "+" before one means "and so many more". */
const ADDABLE = /^(?:budget|strategies\.[^.]+\.budget)\.|^strategies\.[^.]+\.[^.]+$/;
/** A time: milliseconds, or a text such as "2h". */
const TIME = "budget.wall";

/** What is to stand there: the value, or, behind a "+", what stands there and the value. */
function sum(before: unknown, value: unknown, flag: string): unknown {
  const [, key = "", added] = /^([^=]*)=\s*\+(.*)$/s.exec(flag) ?? [];
  const isTime = key === TIME;
  // A text that happens to begin with "+" is one.
  const isAdded = isTime || (ADDABLE.test(key) && (before === undefined || typeof before === "number"));
  if (added === undefined || !isAdded) return value;
  const [old, more] = [before, added].map((given) => numberIn(given, isTime));
  if (more === undefined || more < 0)
    throw new CoppiceError(
      "invalid_argument",
      `--set ${flag}: expected a number behind "+", found "${added}"`,
    );
  if (old === undefined)
    throw new CoppiceError(
      "invalid_argument",
      `--set ${flag}: expected a number in ${key} to add to, found none; leave out the "+"`,
    );
  return old + more;
}

function numberIn(given: unknown, isTime: boolean): number | undefined {
  if (typeof given === "number") return given;
  if (typeof given !== "string" || given.trim() === "") return undefined;
  const value = isTime ? parseDurationMs(given) : Number(given);
  return value === null || !Number.isFinite(value) ? undefined : value;
}

function memberIndex(list: readonly unknown[], key: string, flag: string): number {
  const at = /^\d+$/.test(key) ? Number(key) : list.findIndex((member) => namesOf(member).includes(key));
  if (at >= 0 && at < list.length) return at;
  const known = list.map((member, i) => namesOf(member)[0] ?? String(i)).join(", ");
  throw new CoppiceError("invalid_argument", `--set ${flag}: there is no "${key}"; there are: ${known}`);
}

/** What a member of a list may be called by: its id before its strategy or engine. */
function namesOf(member: unknown): readonly string[] {
  if (typeof member !== "object" || member === null) return [];
  const { id, strategy, engine } = member as Readonly<Record<string, unknown>>;
  return [id, strategy, engine].filter((name) => typeof name === "string");
}
