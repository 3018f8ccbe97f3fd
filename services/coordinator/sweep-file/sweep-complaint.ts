/** What is wrong with a file that a user wrote: the path of the key, what was expected and what was found. */
import type { z } from "zod";

export type KeyPath = readonly (string | number)[];

export interface Complaint {
  readonly path: KeyPath;
  readonly message: string;
}

/** Every complaint of a failed parse. `input` is what was parsed: the values found are read from it. */
export function complaintsOf(issues: readonly z.core.$ZodIssue[], input: unknown): Complaint[] {
  return issues.flatMap((issue) => {
    const path = keyPath(issue.path);
    if (issue.code === "unrecognized_keys") return tooManyKeys(issue, path);
    return [{ path, message: messageOf(issue, valueAt(input, path)) }];
  });
}

/** `strategies.0.n`, as `--set` takes it. */
export function pathText(path: KeyPath): string {
  return path.join(".");
}

/** The value under a path; undefined where there is none. */
export function valueAt(input: unknown, path: KeyPath): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    // A map or a list: both are read by key, and a key that is not there is undefined.
    value = (value as Readonly<Record<string, unknown>>)[String(key)];
  }
  return value;
}

/** A value as a message shows it; long ones are cut. */
export function describeValue(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  const shown = JSON.stringify(value) ?? "a value";
  const cut = shown.length > 80 ? `${shown.slice(0, 77)}...` : shown;
  return typeof value === "string" ? `the text ${cut}` : cut;
}

/** `section` in sweep-schema.ts words one line per key. */
function tooManyKeys(issue: z.core.$ZodIssueUnrecognizedKeys, path: KeyPath): Complaint[] {
  const messages = issue.message.split("\n");
  return issue.keys.map((key, i) => ({ path: [...path, key], message: messages[i] ?? "unknown key" }));
}

function keyPath(path: readonly PropertyKey[]): KeyPath {
  return path.map((key) => (typeof key === "number" ? key : String(key)));
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "a text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map",
  record: "a map",
};

function messageOf(issue: z.core.$ZodIssue, found: unknown): string {
  switch (issue.code) {
    case "invalid_type": {
      const expected = TYPE_NAMES[issue.expected] ?? issue.expected;
      if (found === undefined) return `missing; expected ${expected}`;
      return `expected ${expected}, found ${describeValue(found)}`;
    }
    case "too_small":
      return `expected ${bound("at least", "more than", issue)}, found ${describeValue(found)}`;
    case "too_big":
      return `expected ${bound("at most", "less than", { ...issue, minimum: issue.maximum })}, found ${describeValue(found)}`;
    case "invalid_value":
      return found === undefined
        ? `missing; expected one of ${issue.values.map(String).join(", ")}`
        : issue.message;
    default:
      return issue.message;
  }
}

interface Bound {
  readonly origin: string;
  readonly minimum: number | bigint;
  readonly inclusive?: boolean | undefined;
}

function bound(
  inclusive: string,
  exclusive: string,
  { origin, minimum, inclusive: isInclusive }: Bound,
): string {
  const words = `${isInclusive === false ? exclusive : inclusive} ${minimum}`;
  if (origin === "array") return `a list of ${words}`;
  if (origin === "string")
    return minimum === 1 ? "a text that is not empty" : `a text of ${words} characters`;
  return words;
}
