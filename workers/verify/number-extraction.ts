/**
 * Finds the number that a text gives as its answer. LaTeX is first rewritten to plain digits. Every pattern here takes
 * time linear in the text: repeats are bounded or start at a place that the one before cannot reach.
 */
import { lastLine, quote } from "./verifier.ts";
import { EXPONENT_MAX, NUMBER_CHARS_MAX, parseNumber, UNSIGNED } from "./number.ts";
import type { Rational } from "./rational.ts";
import { multiply, rational } from "./rational.ts";

export type Place = "auto" | "hashes" | "boxed" | "last-number";
export type PercentReading = "ignore" | "fraction";

export type Extraction =
  | { readonly kind: "number"; readonly value: Rational }
  | { readonly kind: "none"; readonly reason: string };

/** Longest content of a `\boxed{}`, in characters. */
export const BOXED_CHARS_MAX = 1_000;

const SIGN = "[-+\u2212]";
const CURRENCY = "[$\u20ac\u00a3\u00a5\u20b9]";
/**
 * A number in a text. It starts where no letter, digit or decimal stands before it (`x2` and `1.2.3` end with none);
 * a sign belongs to it unless an operand stands before the sign (`5-3` ends with 3).
 */
const NUMBER = new RegExp(
  String.raw`(?<sign>(?<![\w.)\]}])${SIGN}(?=${CURRENCY}?[\d.]))?(?:${CURRENCY} ?(?<inner>${SIGN}(?=[\d.]))?)?` +
    String.raw`(?<![A-Za-z_\d]|\d\.)(?<body>${UNSIGNED})(?<percent> ?%)?`,
  "g",
);

/** The answer's number, or why there is none. */
export function extractNumber(text: string, place: Place, percent: PercentReading): Extraction {
  const hashes = text.lastIndexOf("####");
  if (place === "hashes" || (place === "auto" && hashes >= 0)) {
    if (hashes < 0) return none("expected a number after ####, found no ####");
    const line = text.slice(hashes + 4).split("\n", 1)[0] ?? "";
    const match = matches(plain(line))[0];
    return match === undefined
      ? none(`expected a number after ####, found ${quote(line.trim())}`)
      : read(match, percent);
  }
  const box = Math.max(text.lastIndexOf("\\boxed{"), text.lastIndexOf("\\fbox{"));
  if (place === "boxed" || (place === "auto" && box >= 0)) {
    if (box < 0) return none("expected a number in \\boxed{}, found no \\boxed{}");
    return fromBox(text, box, percent);
  }
  const last = matches(plain(text)).at(-1);
  if (last !== undefined) return read(last, percent);
  const end = lastLine(text);
  return none(
    end === "" ? "the candidate is empty" : `expected a number, found none; the last line is ${quote(end)}`,
  );
}

/** A box must hold one number and nothing that computes: `x = 5`, `\$5` and `5 \text{ cm}`, but not `5\sqrt{2}`. */
function fromBox(text: string, box: number, percent: PercentReading): Extraction {
  const content = bracketed(text, text.indexOf("{", box));
  if (content === null) return none(`expected a \\boxed{} that ends within ${BOXED_CHARS_MAX} characters`);
  const bare = plain(content)
    .replace(/\\(?:text|textbf|mathrm|mathbf)\{([^{}]*)\}/g, " $1")
    .replace(/\^ ?\{? ?\\circ ?\}?|\u00b0/g, "")
    .replace(/ {2,}/g, " ")
    .trim();
  const found = matches(bare);
  const only = found[0];
  if (only === undefined || found.length > 1)
    return none(`expected one number in \\boxed{}, found ${quote(content)}`);
  const before = bare.slice(0, only.index);
  const after = bare.slice(only.index + only[0].length);
  const isNumber =
    /^(?:[A-Za-z] ?= ?)?$/.test(before) && /^(?:(?: |(?=[A-Za-z]{2}))[A-Za-z ]+)?\.?$/.test(after);
  return isNumber ? read(only, percent) : none(`expected one number in \\boxed{}, found ${quote(content)}`);
}

/** What stands between the brace at `open` and the one that closes it; null when that is too far away. */
export function bracketed(text: string, open: number): string | null {
  let depth = 0;
  const end = Math.min(text.length, open + BOXED_CHARS_MAX);
  for (let at = open; at < end; at += 1) {
    const char = text.charAt(at);
    if (char === "{") depth += 1;
    if (char === "}") depth -= 1;
    if (depth === 0) return text.slice(open + 1, at);
  }
  return null;
}

/** LaTeX spellings of numbers as plain ones. */
function plain(text: string): string {
  return text
    .replaceAll("{,}", ",")
    .replace(/\\[!,;:]/g, "")
    .replace(/\\([$%])/g, "$1")
    .replace(
      /(\d?)\\[dt]?frac ?\{ ?(-?[\d.,]{1,40}) ?\} ?\{ ?([\d.,]{1,40}) ?\}/g,
      (_, whole: string, over: string, under: string) => `${whole}${whole === "" ? "" : " "}${over}/${under}`,
    )
    .replace(/(?<=\d) ?(?:\\times|\\cdot|[\u00d7x*]) ?10 ?\^ ?\{? ?([-+]?\d{1,9}) ?\}?/g, "e$1");
}

function matches(text: string): RegExpExecArray[] {
  return [...text.matchAll(NUMBER)];
}

function read(match: RegExpExecArray, percent: PercentReading): Extraction {
  const { sign = "", inner = "", body = "", percent: isPercent } = match.groups ?? {};
  const value = body.length > NUMBER_CHARS_MAX ? null : parseNumber(`${sign === "" ? inner : sign}${body}`);
  if (value === null) return none(unreadable(body));
  const isShare = isPercent !== undefined && percent === "fraction";
  return { kind: "number", value: isShare ? multiply(value, rational(1n, 100n)) : value };
}

function unreadable(body: string): string {
  if (body.length > NUMBER_CHARS_MAX)
    return `the number ${quote(body)} is longer than ${NUMBER_CHARS_MAX} characters`;
  if (/[eE]/.test(body)) return `the exponent of ${quote(body)} is beyond ${EXPONENT_MAX}`;
  return `${quote(body)} divides by zero`;
}

function none(reason: string): Extraction {
  return { kind: "none", reason };
}
