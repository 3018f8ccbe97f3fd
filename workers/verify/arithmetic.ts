/**
 * Arithmetic in exact rational numbers as a calculator reads it: decimals, + - * / ^, parentheses. Bounded in length, depth
 * and size of every intermediate value, so that a hostile text costs nothing.
 */
import { ExpressionError } from "./expression.ts";
import { add, divide, multiply, negate, rational, type Rational, subtract } from "./rational.ts";

/** Longest expression, in characters. */
export const ARITHMETIC_CHARS_MAX = 1_000;
/** Deepest nesting of parentheses, signs and powers. */
export const ARITHMETIC_DEPTH_MAX = 64;
/** Largest numerator and denominator, in decimal digits. */
export const ARITHMETIC_DIGITS_MAX = 1_000;

const LARGEST = 10n ** BigInt(ARITHMETIC_DIGITS_MAX);
/** Larger by the number of digits of a base than any exponent that gives a value within bounds, bases 0, 1 and -1 apart. */
const EXPONENT_MAX = 4_000n;
/** Other ways to write an operator. */
const SPELLINGS: Readonly<Record<string, string>> = {
  "**": "^",
  "×": "*",
  "·": "*",
  "÷": "/",
  "−": "-",
  "–": "-",
};
const TOKEN = /\s*(\*\*|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?|[^\s])/gu;

/** Throws ExpressionError saying what was expected and what was found, or what is too large or divides by zero. */
export function evaluate(text: string): Rational {
  if (text.length > ARITHMETIC_CHARS_MAX) {
    throw new ExpressionError(`the expression is longer than ${ARITHMETIC_CHARS_MAX} characters`);
  }
  const tokens = [...text.trim().matchAll(TOKEN)].map(([, token = ""]) => SPELLINGS[token] ?? token);
  let at = 0;

  function fail(expected: string): never {
    const found = tokens[at];
    const what = found === undefined ? "the end" : JSON.stringify(found.toWellFormed());
    throw new ExpressionError(`expected ${expected}, found ${what}`);
  }

  /** Takes one of these operators, if it is next. */
  function take(...operators: readonly string[]): string | null {
    const next = tokens[at];
    if (next === undefined || !operators.includes(next)) return null;
    at += 1;
    return next;
  }

  function sum(depth: number): Rational {
    let value = product(depth);
    for (let operator = take("+", "-"); operator !== null; operator = take("+", "-")) {
      const right = product(depth);
      value = bounded(operator === "+" ? add(value, right) : subtract(value, right));
    }
    return value;
  }

  function product(depth: number): Rational {
    let value = signed(depth);
    for (let operator = take("*", "/"); operator !== null; operator = take("*", "/")) {
      const right = signed(depth);
      value = bounded(operator === "*" ? multiply(value, right) : quotient(value, right));
    }
    return value;
  }

  /** A sign binds weaker than a power: -2^2 is -4. */
  function signed(depth: number): Rational {
    if (depth > ARITHMETIC_DEPTH_MAX) {
      throw new ExpressionError(`the expression is nested deeper than ${ARITHMETIC_DEPTH_MAX} levels`);
    }
    const sign = take("+", "-");
    if (sign !== null) return sign === "-" ? negate(signed(depth + 1)) : signed(depth + 1);
    const base = atom(depth);
    return take("^") === null ? base : power(base, signed(depth + 1));
  }

  function atom(depth: number): Rational {
    if (take("(") !== null) {
      const value = sum(depth + 1);
      if (take(")") === null) fail('an operator or ")"');
      return value;
    }
    const token = tokens[at] ?? "";
    if (!/^[.\d]*\d/.test(token)) fail('a number, a sign or "("');
    at += 1;
    return bounded(decimal(token));
  }

  if (tokens.length === 0) throw new ExpressionError("the expression is empty");
  const value = sum(0);
  if (at < tokens.length) fail("an operator or the end");
  return value;
}

/** `12`, `.5`, `1.5e3`; the exponent has three digits at most. */
function decimal(token: string): Rational {
  const [mantissa = "", exponent = "0"] = token.toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  const tens = Number(exponent) - fraction.length;
  const digits = BigInt(whole + fraction);
  return tens >= 0 ? rational(digits * 10n ** BigInt(tens)) : rational(digits, 10n ** BigInt(-tens));
}

function quotient(left: Rational, right: Rational): Rational {
  const value = divide(left, right);
  if (value === null) throw new ExpressionError("a division by zero");
  return value;
}

function power(base: Rational, exponent: Rational): Rational {
  if (exponent.denominator !== 1n) throw new ExpressionError("expected a whole number as exponent");
  const times = exponent.numerator < 0n ? -exponent.numerator : exponent.numerator;
  const isUnit = base.denominator === 1n && base.numerator >= -1n && base.numerator <= 1n;
  if (times > EXPONENT_MAX && !isUnit) throw tooLarge();
  const n = isUnit && times > 2n ? (times % 2n) + 2n : times;
  const { numerator, denominator } = base;
  const digits = Math.max(String(numerator).length, String(denominator).length) - 1;
  if (BigInt(digits) * n > ARITHMETIC_DIGITS_MAX) throw tooLarge();
  const value = bounded(rational(numerator ** n, denominator ** n));
  return exponent.numerator < 0n ? quotient(rational(1n), value) : value;
}

function bounded(value: Rational): Rational {
  const { numerator, denominator } = value;
  if (numerator >= LARGEST || numerator <= -LARGEST || denominator >= LARGEST) throw tooLarge();
  return value;
}

function tooLarge(): ExpressionError {
  return new ExpressionError(`a value has more than ${ARITHMETIC_DIGITS_MAX} digits`);
}
