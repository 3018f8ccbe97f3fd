/** Exact rational numbers. The denominator is positive and shares no factor with the numerator. */
export interface Rational {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** Throws RangeError when the denominator is 0; callers check first. */
export function rational(numerator: bigint, denominator: bigint = 1n): Rational {
  if (denominator === 0n) throw new RangeError("a rational number's denominator must not be 0");
  const sign = denominator < 0n ? -1n : 1n;
  const divisor = gcd(abs(numerator), abs(denominator));
  return { numerator: (sign * numerator) / divisor, denominator: (sign * denominator) / divisor };
}

export const ZERO: Rational = rational(0n);

export function add(a: Rational, b: Rational): Rational {
  return rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator);
}

export function negate(a: Rational): Rational {
  return { numerator: -a.numerator, denominator: a.denominator };
}

export function subtract(a: Rational, b: Rational): Rational {
  return add(a, negate(b));
}

export function multiply(a: Rational, b: Rational): Rational {
  return rational(a.numerator * b.numerator, a.denominator * b.denominator);
}

/** Null for a division by zero. */
export function divide(a: Rational, b: Rational): Rational | null {
  if (b.numerator === 0n) return null;
  return rational(a.numerator * b.denominator, a.denominator * b.numerator);
}

export function isEqual(a: Rational, b: Rational): boolean {
  return a.numerator === b.numerator && a.denominator === b.denominator;
}

export function isAtMost(a: Rational, b: Rational): boolean {
  return a.numerator * b.denominator <= b.numerator * a.denominator;
}

export function magnitude(a: Rational): Rational {
  return a.numerator < 0n ? negate(a) : a;
}

/** `7`, `-2/3`: one text per number. */
export function fractionText(a: Rational): string {
  return a.denominator === 1n ? String(a.numerator) : `${a.numerator}/${a.denominator}`;
}

/** As `fractionText`, but a decimal where one is finite: `1.5`. One text per number. */
export function decimalText(a: Rational): string {
  let rest = a.denominator;
  let twos = 0;
  let fives = 0;
  for (; rest % 2n === 0n; rest /= 2n) twos += 1;
  for (; rest % 5n === 0n; rest /= 5n) fives += 1;
  const places = Math.max(twos, fives);
  if (rest !== 1n || places === 0) return fractionText(a);
  const digits = String((abs(a.numerator) * 10n ** BigInt(places)) / a.denominator).padStart(places + 1, "0");
  return `${a.numerator < 0n ? "-" : ""}${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

function abs(value: bigint): bigint {
  return value < 0n ? -value : value;
}

function gcd(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a === 0n ? 1n : a;
}
