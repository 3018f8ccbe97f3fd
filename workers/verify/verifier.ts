/**
 * A verifier: what judges a candidate. Verifiers are siblings (same file shape, one conformance suite in
 * test/conformance/verifier.ts). A new kind is one file in `verifiers/`, one line in `catalogue.ts`, one conformance
 * call. A verifier is pure and synchronous; it runs in a thread of the pool, which kills it when it takes too long.
 */
import type { ProblemData, VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { suggestion } from "../../services/runtime/nearest.ts";

/** The declaration of one option, in the sweep file's snake_case; becomes schema, help and documentation. */
export type VerifierOption =
  | {
      readonly type: "integer" | "number";
      readonly default: number;
      readonly min: number;
      readonly max: number;
      readonly about: string;
    }
  /** A number that may be absent. */
  | {
      readonly type: "maybe-number";
      readonly default: null;
      readonly min: number;
      readonly max: number;
      readonly about: string;
    }
  | { readonly type: "boolean"; readonly default: boolean; readonly about: string }
  | {
      readonly type: "choice";
      readonly default: string;
      readonly choices: readonly string[];
      readonly about: string;
    }
  | { readonly type: "text"; readonly default: string | null; readonly about: string }
  | { readonly type: "strings"; readonly default: readonly string[]; readonly about: string };

export type VerifierOptions = Readonly<Record<string, VerifierOption>>;

export type OptionValues<O extends VerifierOptions> = {
  readonly [K in keyof O]: O[K] extends { type: "integer" | "number" }
    ? number
    : O[K] extends { type: "maybe-number" }
      ? number | null
      : O[K] extends { type: "boolean" }
        ? boolean
        : O[K] extends { type: "choice"; choices: readonly (infer C)[] }
          ? C
          : O[K] extends { type: "strings" }
            ? readonly string[]
            : string | null;
};

/** Options that every kind has. */
export const COMMON_OPTIONS = {
  timeout_ms: {
    type: "integer",
    default: 5_000,
    min: 1,
    max: 600_000,
    about: "Wall-clock limit of one verification in milliseconds; past it the verdict is undecided.",
  },
  text_chars_max: {
    type: "integer",
    default: 262_144,
    min: 1,
    max: 16_777_216,
    about: "Longest candidate in UTF-16 units; a longer one is incorrect.",
  },
} as const satisfies VerifierOptions;

/** What is up for a verdict. */
export interface Candidate {
  /** The rendered prompt. */
  readonly prompt: string;
  /** The candidate's text, without the prompt. */
  readonly text: string;
  readonly problem: ProblemData;
}

/** What every verifier declares, wherever it judges. */
export interface DeclaredVerifier<O extends VerifierOptions = VerifierOptions> {
  /** The name in the sweep file and of its lane. */
  readonly kind: string;
  readonly about: string;
  /** Its own options, without those of every kind. */
  readonly options: O;
  /** Does something for a strategy and judges nothing: no sweep names it as its verifier. Absent: no. */
  readonly isTool?: boolean;
  /** Throws CoppiceError "invalid_argument" for options that are valid alone and not together. */
  check?(options: OptionValues<O>): void;
}

/** A verifier that judges in a thread of the pool. */
export interface Verifier<O extends VerifierOptions = VerifierOptions> extends DeclaredVerifier<O> {
  /** Judges; must give the same verdict for the same arguments. `candidate.text` is within `text_chars_max`. */
  verify(candidate: Candidate, options: OptionValues<O>): VerdictResult;
}

/** Keeps the types of the declared options, so that `verify` sees them. */
export function defineVerifier<const O extends VerifierOptions>(verifier: Verifier<O>): Verifier<O> {
  return verifier;
}

/**
 * The options of a verifier specification, with every default filled in.
 * Throws CoppiceError "invalid_argument" naming the option, what was expected and what was found.
 */
export function parseOptions<O extends VerifierOptions>(
  verifier: DeclaredVerifier<O>,
  spec: VerifierSpec,
): OptionValues<O & typeof COMMON_OPTIONS> {
  // Checked against the declarations, which are these types.
  const options = parseDeclared(
    { ...COMMON_OPTIONS, ...verifier.options },
    verifier.kind,
    spec,
  ) as OptionValues<O & typeof COMMON_OPTIONS>;
  verifier.check?.(options);
  return options;
}

/** The values of the declared options, every default filled in. Throws as `parseOptions`. */
export function parseDeclared(
  declared: VerifierOptions,
  kind: string,
  spec: VerifierSpec,
): Readonly<Record<string, unknown>> {
  for (const name of Object.keys(spec)) {
    if (name !== "kind" && !Object.hasOwn(declared, name)) {
      const hint = suggestion(name, Object.keys(declared));
      throw new CoppiceError("invalid_argument", `verifier ${kind}: unknown option ${quote(name)}${hint}`);
    }
  }
  const values: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(declared)) {
    const value = spec[name] ?? option.default;
    const expected = complaint(option, value);
    if (expected !== null) {
      const found = quote(JSON.stringify(value) ?? "nothing");
      throw new CoppiceError(
        "invalid_argument",
        `verifier ${kind}: ${name} must be ${expected}, found ${found}`,
      );
    }
    values[name] = value;
  }
  return values;
}

/** What a value should have been; null when it is right. */
function complaint(option: VerifierOption, value: unknown): string | null {
  switch (option.type) {
    case "integer":
    case "number": {
      const isNumber = typeof value === "number" && Number.isFinite(value);
      const isRight = isNumber && (option.type === "number" || Number.isInteger(value));
      if (isRight && value >= option.min && value <= option.max) return null;
      return `${option.type === "integer" ? "a whole number" : "a number"} from ${option.min} to ${option.max}`;
    }
    case "maybe-number": {
      const isWithin = typeof value === "number" && value >= option.min && value <= option.max;
      return value === null || isWithin ? null : `a number from ${option.min} to ${option.max}, or absent`;
    }
    case "boolean":
      return typeof value === "boolean" ? null : "true or false";
    case "choice":
      return typeof value === "string" && option.choices.includes(value)
        ? null
        : `one of ${option.choices.join(", ")}`;
    case "text":
      return typeof value === "string" || value === option.default ? null : "a text";
    case "strings": {
      const isList = Array.isArray(value) && value.every((each) => typeof each === "string");
      return isList ? null : "a list of texts";
    }
  }
}

/** Judges a candidate under a specification: options, the ceiling on its length, then the verifier itself. */
export function judge(verifier: Verifier, spec: VerifierSpec, candidate: Candidate): VerdictResult {
  const options = parseOptions(verifier, spec);
  return tooLong(candidate, options) ?? verifier.verify(candidate, options);
}

/** The verdict on a candidate that is longer than it may be; null for one that is not. */
export function tooLong(
  { text }: Candidate,
  { text_chars_max: charsMax }: { readonly text_chars_max: number },
): VerdictResult | null {
  return text.length <= charsMax
    ? null
    : incorrect(null, `the candidate is longer than ${charsMax} characters`);
}

export function correct(answer: string | null): VerdictResult {
  return { kind: "verdict", verdict: "correct", score: 1, answer, reason: null };
}

/** The candidate is at fault. */
export function incorrect(answer: string | null, reason: string): VerdictResult {
  return { kind: "verdict", verdict: "incorrect", score: 0, answer, reason };
}

/** The candidate is not at fault: nothing to judge it by, or the judging itself failed. */
export function undecided(answer: string | null, reason: string): VerdictResult {
  return { kind: "verdict", verdict: "undecided", score: null, answer, reason };
}

/** Longest piece of a candidate that a reason quotes, in characters. */
const QUOTE_CHARS_MAX = 80;

/** A piece of a candidate for a reason: on one line, in quotation marks, cut at 80 characters. */
export function quote(text: string): string {
  const cut = text.length > QUOTE_CHARS_MAX ? `${text.slice(0, QUOTE_CHARS_MAX).toWellFormed()}...` : text;
  return JSON.stringify(cut);
}

/** The last line that is not blank, trimmed; "" when there is none. */
export function lastLine(text: string): string {
  const trimmed = text.trimEnd();
  return trimmed.slice(trimmed.lastIndexOf("\n") + 1).trim();
}
