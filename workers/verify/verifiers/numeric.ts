/**
 * Numeric answers: GSM8K and its kin. Everything is read and compared as exact rational numbers; a tolerance is an
 * option and off by default.
 */
import type { Rational } from "../rational.ts";
import { decimalText, isAtMost, magnitude, multiply, subtract, ZERO } from "../rational.ts";
import { correct, defineVerifier, incorrect, quote, undecided } from "../verifier.ts";
import { extractNumber } from "../number-extraction.ts";
import { parseNumber } from "../number.ts";

export const numeric = defineVerifier({
  kind: "numeric",
  about: "The number that the candidate ends with equals the reference's.",
  options: {
    extract: {
      type: "choice",
      default: "auto",
      choices: ["auto", "hashes", "boxed", "last-number"],
      about:
        "Where the number stands: after the last ####, in the last \\boxed{}, or the last in the text; auto takes the first of these that is there.",
    },
    percent: {
      type: "choice",
      default: "ignore",
      choices: ["ignore", "fraction"],
      about: "Whether 50% is 50 (ignore) or 1/2 (fraction).",
    },
    tolerance_absolute: {
      type: "number",
      default: 0,
      min: 0,
      max: 1e300,
      about: "Largest difference from the reference that still is correct.",
    },
    tolerance_relative: {
      type: "number",
      default: 0,
      min: 0,
      max: 1e300,
      about: "The same as a share of the reference's magnitude; the larger of the two counts.",
    },
  },
  verify({ text, problem }, options) {
    const found = extractNumber(text, options.extract, options.percent);
    const answer = found.kind === "number" ? decimalText(found.value) : null;
    if (problem.reference === null) return undecided(answer, "the problem has no reference");
    const expected = extractNumber(problem.reference, "auto", options.percent);
    if (expected.kind === "none") {
      return undecided(
        answer,
        `expected a number in the reference, found ${quote(problem.reference)}: ${expected.reason}`,
      );
    }
    if (found.kind === "none") return incorrect(null, found.reason);
    const difference = magnitude(subtract(found.value, expected.value));
    const absolute = exactly(options.tolerance_absolute);
    const relative = multiply(exactly(options.tolerance_relative), magnitude(expected.value));
    if (isAtMost(difference, absolute) || isAtMost(difference, relative)) return correct(answer);
    return incorrect(answer, `expected ${quote(decimalText(expected.value))}, found ${quote(answer ?? "")}`);
  },
});

/** The rational number that a JavaScript number prints as. */
function exactly(value: number): Rational {
  return parseNumber(String(value)) ?? ZERO;
}
