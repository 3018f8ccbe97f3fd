/** Numbers as people and models write them, read exactly: `1,234.50`, `-2/3`, `1 1/2`, `3e5`. */
import type { Rational } from "./rational.ts";
import { add, divide, multiply, negate, rational } from "./rational.ts";

/** Longest number, in characters. */
export const NUMBER_CHARS_MAX = 400;
/** Largest exponent of ten, either way. */
export const EXPONENT_MAX = 400;

/** A decimal with its exponent: `1,234.5`, `.5`, `2e3`. Thousands commas stand before every third digit or nowhere. */
export const DECIMAL = String.raw`(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?`;
/** A number without sign or currency: a whole number and a fraction, a fraction, a decimal. */
export const UNSIGNED = String.raw`(?:\d+ \d+ ?/ ?\d+(?![\d/])|${DECIMAL}(?: ?/ ?${DECIMAL})?)`;

const WHOLE = new RegExp(String.raw`^([-+\u2212]?)(${UNSIGNED})$`);

/** The exact value; null when the text is no number, is longer than 400 characters, or its exponent is beyond 400. */
export function parseNumber(text: string): Rational | null {
  if (text.length > NUMBER_CHARS_MAX) return null;
  const match = WHOLE.exec(text.trim());
  if (match === null) return null;
  const [, sign = "", body = ""] = match;
  const value = unsignedValue(body);
  if (value === null) return null;
  return sign === "-" || sign === "\u2212" ? negate(value) : value;
}

function unsignedValue(body: string): Rational | null {
  const mixed = /^(\d+) (\d+) ?\/ ?(\d+)$/.exec(body);
  if (mixed !== null) {
    const [, whole = "", over = "", under = ""] = mixed;
    const part = divide(rational(BigInt(over)), rational(BigInt(under)));
    return part === null ? null : add(rational(BigInt(whole)), part);
  }
  const [over = "", under] = body.split("/");
  const top = decimalValue(over.trim());
  if (under === undefined || top === null) return top;
  const bottom = decimalValue(under.trim());
  return bottom === null ? null : divide(top, bottom);
}

function decimalValue(text: string): Rational | null {
  const match = /^([\d,]*)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(text);
  if (match === null) return null;
  const [, whole = "", places = "", exponentText = "0"] = match;
  const digits = whole.replaceAll(",", "") + places;
  const exponent = Number(exponentText);
  if (digits === "" || Math.abs(exponent) > EXPONENT_MAX) return null;
  return multiply(rational(BigInt(digits), 10n ** BigInt(places.length)), powerOfTen(exponent));
}

function powerOfTen(exponent: number): Rational {
  const power = 10n ** BigInt(Math.abs(exponent));
  return exponent < 0 ? rational(1n, power) : rational(power);
}
