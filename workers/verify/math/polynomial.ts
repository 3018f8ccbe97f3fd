/**
 * Polynomials with rational coefficients over atoms: symbols, primes and i (their roots too), function values. Powers of
 * atoms are rational and may be negative. The rules that reduce them (sqrt(2)^2 = 2, i^2 = -1, cos^2 = 1 - sin^2) are
 * identities, so polynomials with one text are equal.
 */
import { add, fractionText, isEqual, multiply, negate, rational, type Rational, ZERO } from "../rational.ts";

/** Terms of one polynomial; pairs of terms in one product. */
const TERMS_MAX = 400;
const PAIRS_MAX = 10_000;
/** Longest coefficient, in bits. */
const COEFFICIENT_BITS_MAX = 8_192n;

/** Why there is no normal form: too large, or beyond the rules. */
export class NormalFormError extends Error {
  override readonly name = "NormalFormError";
}

export interface Atom {
  readonly text: string;
  /** A prime (or what trial division leaves of a number): its whole powers are coefficients. */
  readonly prime?: bigint;
  /** What the atom's first power is, where only its fractional powers are kept. */
  readonly value?: Polynomial;
  /** For a cosine: the sine of the same angle. */
  readonly sine?: Atom;
}

export interface Factor {
  readonly atom: Atom;
  readonly exponent: Rational;
}

export interface Term {
  readonly coefficient: Rational;
  /** By the atom's text. */
  readonly factors: ReadonlyMap<string, Factor>;
}

/** By the term's text without its coefficient; no coefficient is zero. */
export type Polynomial = ReadonlyMap<string, Term>;

export const I_ATOM: Atom = { text: "i" };
const UNIT = rational(1n);
const NO_FACTORS: ReadonlyMap<string, Factor> = new Map();

export function constantPolynomial(value: Rational): Polynomial {
  return fromTerms([{ coefficient: value, factors: NO_FACTORS }]);
}

export const POLYNOMIAL_ONE = constantPolynomial(UNIT);
export const POLYNOMIAL_ZERO: Polynomial = new Map();

export function atomPolynomial(atom: Atom, exponent: Rational = UNIT): Polynomial {
  return reduced({ coefficient: UNIT, factors: new Map([[atom.text, { atom, exponent }]]) });
}

/** The polynomial's value when it has no atoms, null otherwise. */
export function constantOf(polynomial: Polynomial): Rational | null {
  if (polynomial.size === 0) return ZERO;
  const term = polynomial.get("");
  return polynomial.size === 1 && term !== undefined ? term.coefficient : null;
}

/** Its only term, null when there are none or several. */
export function onlyTerm(polynomial: Polynomial): Term | null {
  if (polynomial.size !== 1) return null;
  return polynomial.values().next().value ?? null;
}

export function addPolynomials(a: Polynomial, b: Polynomial): Polynomial {
  return fromTerms([...a.values(), ...b.values()]);
}

export function scale(polynomial: Polynomial, by: Rational): Polynomial {
  return fromTerms([...polynomial.values()].map((term) => scaled(term, by)));
}

export function multiplyPolynomials(a: Polynomial, b: Polynomial): Polynomial {
  if (a.size * b.size > PAIRS_MAX) throw new NormalFormError("the product has too many terms");
  const terms: Term[] = [];
  for (const one of a.values()) {
    for (const other of b.values()) terms.push(...reduced(multiplyTerms(one, other)).values());
  }
  return fromTerms(terms);
}

/** The inverse of a term; its factors' exponents change sign. */
export function inverseTerm(term: Term): Polynomial {
  const { numerator, denominator } = term.coefficient;
  const factors = [...term.factors].map(
    ([text, { atom, exponent }]) => [text, { atom, exponent: negate(exponent) }] as const,
  );
  return reduced({ coefficient: rational(denominator, numerator), factors: new Map(factors) });
}

/** One text per polynomial: terms in the order of their texts. */
export function polynomialText(polynomial: Polynomial): string {
  if (polynomial.size === 0) return "0";
  return [...polynomial]
    .toSorted(([a], [b]) => (a < b ? -1 : Number(a > b)))
    .map(([text, { coefficient }], index) => {
      const number = fractionText(coefficient);
      const isUnit = text !== "" && (number === "1" || number === "-1");
      const written = text === "" ? number : isUnit ? `${number.slice(0, -1)}${text}` : `${number}*${text}`;
      if (index === 0) return written;
      return written.startsWith("-") ? ` - ${written.slice(1)}` : ` + ${written}`;
    })
    .join("");
}

/** The coefficient of the term that stands first in the polynomial's text; zero when there is none. */
export function leadingCoefficient(polynomial: Polynomial): Rational {
  const first = [...polynomial.keys()].toSorted()[0];
  return first === undefined ? ZERO : (polynomial.get(first)?.coefficient ?? ZERO);
}

function fromTerms(terms: readonly Term[]): Polynomial {
  const sums = new Map<string, Term>();
  for (const term of terms) {
    const text = factorsText(term.factors);
    const coefficient = add(sums.get(text)?.coefficient ?? ZERO, term.coefficient);
    if (coefficient.numerator === 0n) sums.delete(text);
    else sums.set(text, { coefficient: bounded(coefficient), factors: term.factors });
  }
  if (sums.size > TERMS_MAX) throw new NormalFormError("the sum has too many terms");
  return sums;
}

function bounded(value: Rational): Rational {
  const limit = 1n << COEFFICIENT_BITS_MAX;
  if (value.numerator < limit && -value.numerator < limit && value.denominator < limit) return value;
  throw new NormalFormError("a number has too many digits");
}

function factorsText(factors: ReadonlyMap<string, Factor>): string {
  return [...factors.values()]
    .map(({ atom, exponent }) =>
      isEqual(exponent, UNIT) ? atom.text : `${atom.text}^${powerText(exponent)}`,
    )
    .toSorted()
    .join("*");
}

function powerText(exponent: Rational): string {
  const text = fractionText(exponent);
  return /^\d+$/.test(text) ? text : `(${text})`;
}

function scaled(term: Term, by: Rational): Term {
  return { coefficient: multiply(term.coefficient, by), factors: term.factors };
}

function multiplyTerms(a: Term, b: Term): Term {
  const factors = new Map(a.factors);
  for (const [text, { atom, exponent }] of b.factors) {
    const sum = add(factors.get(text)?.exponent ?? ZERO, exponent);
    if (sum.numerator === 0n) factors.delete(text);
    else factors.set(text, { atom, exponent: sum });
  }
  return { coefficient: multiply(a.coefficient, b.coefficient), factors };
}

/** Applies the rules of every atom until none applies. */
function reduced(term: Term): Polynomial {
  for (const factor of term.factors.values()) {
    const rest = reduction(factor);
    if (rest === null) continue;
    const factors = new Map(term.factors);
    factors.delete(factor.atom.text);
    const others = fromTerms([{ coefficient: term.coefficient, factors }]);
    return multiplyPolynomials(others, rest);
  }
  return fromTerms([term]);
}

/** What a power of an atom is by the atom's rule; null where no rule applies. */
function reduction({ atom, exponent }: Factor): Polynomial | null {
  const floor = floorOf(exponent);
  if (atom === I_ATOM && exponent.denominator === 1n && floor !== 1n) {
    const quarter = ((floor % 4n) + 4n) % 4n;
    const sign = rational(quarter === 2n || quarter === 3n ? -1n : 1n);
    return quarter % 2n === 0n ? constantPolynomial(sign) : scale(raw(I_ATOM, UNIT), sign);
  }
  if (floor === 0n) return null;
  const rest = add(exponent, rational(-floor));
  if (atom.prime !== undefined) {
    return scale(raw(atom, rest), powerOf(atom.prime, floor));
  }
  if (atom.value !== undefined && floor > 0n) {
    return multiplyPolynomials(raw(atom, rest), wholePower(atom.value, floor));
  }
  if (atom.sine !== undefined && exponent.denominator === 1n && floor > 1n) {
    const square = fromTerms([
      { coefficient: UNIT, factors: NO_FACTORS },
      {
        coefficient: rational(-1n),
        factors: new Map([[atom.sine.text, { atom: atom.sine, exponent: rational(2n) }]]),
      },
    ]);
    return multiplyPolynomials(raw(atom, rational(floor % 2n)), wholePower(square, floor / 2n));
  }
  return null;
}

/** A power of an atom to which no rule applies. */
function raw(atom: Atom, exponent: Rational): Polynomial {
  const isNone = exponent.numerator === 0n;
  return fromTerms([
    { coefficient: UNIT, factors: isNone ? NO_FACTORS : new Map([[atom.text, { atom, exponent }]]) },
  ]);
}

/** @param exponent Not negative. */
export function wholePower(polynomial: Polynomial, exponent: bigint): Polynomial {
  if (exponent > 64n && polynomial.size > 1) throw new NormalFormError("a power is too large");
  let power = POLYNOMIAL_ONE;
  let square = polynomial;
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if ((rest & 1n) === 1n) power = multiplyPolynomials(power, square);
    if (rest > 1n) square = multiplyPolynomials(square, square);
  }
  return power;
}

function powerOf(base: bigint, exponent: bigint): Rational {
  const size = exponent < 0n ? -exponent : exponent;
  if (BigInt(base.toString(2).length) * size > COEFFICIENT_BITS_MAX) {
    throw new NormalFormError("a power has too many digits");
  }
  return exponent < 0n ? rational(1n, base ** size) : rational(base ** size);
}

/** The greatest whole number that is not larger. */
export function floorOf({ numerator, denominator }: Rational): bigint {
  const quotient = numerator / denominator;
  return numerator < 0n && quotient * denominator !== numerator ? quotient - 1n : quotient;
}
