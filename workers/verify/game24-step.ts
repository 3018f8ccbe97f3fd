/** One step of a Game-of-24 candidate: `10 - 4 = 6 left 5 6 6`, also written `10 - 4 = 6 (left: 5 6 6)`. */
import type { Operator } from "./expression.ts";
import type { Rational } from "./rational.ts";
import { parseNumber } from "./number.ts";

export interface Step {
  readonly a: Rational;
  readonly operator: Operator;
  readonly b: Rational;
  readonly result: Rational;
  /** The numbers that it says are left. */
  readonly left: readonly Rational[];
}

/** Longest line that is read as a step, in characters. */
export const STEP_CHARS_MAX = 400;

/** A whole number, a decimal or a fraction, each maybe negative: `6`, `-1`, `1.5`, `2/3`. */
const NUMBER = String.raw`-?\d{1,30}(?:\.\d{1,30})?(?:/\d{1,30})?`;
const STEP = new RegExp(
  String.raw`^(${NUMBER}) ?([-+*/]) ?(${NUMBER}) ?= ?(${NUMBER}) ?(?:left:? (${NUMBER}(?: ${NUMBER})*)|\(left:? (${NUMBER}(?: ${NUMBER})*)\))$`,
  "i",
);

/** Null when the line is not a step. */
export function parseStep(line: string): Step | null {
  if (line.length > STEP_CHARS_MAX) return null;
  const match = STEP.exec(line.trim().replace(/\s+/g, " "));
  if (match === null) return null;
  const [, aText = "", operator, bText = "", resultText = "", bare, bracketed] = match;
  const a = parseNumber(aText);
  const b = parseNumber(bText);
  const result = parseNumber(resultText);
  const left = (bare ?? bracketed ?? "").split(" ").map(parseNumber);
  if (a === null || b === null || result === null || !left.every((value) => value !== null)) return null;
  return { a, operator: operator as Operator, b, result, left }; // The pattern admits the four operators only.
}
