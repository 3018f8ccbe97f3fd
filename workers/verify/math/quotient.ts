/**
 * Quotients of polynomials: the normal form of a formula. Two formulas with one form are equal (wherever both are
 * defined); of two numbers made of roots alone, different forms are different numbers.
 */
import { negate, rational, type Rational } from "../rational.ts";
import {
  addPolynomials,
  type Atom,
  constantOf,
  I_ATOM,
  inverseTerm,
  leadingCoefficient,
  multiplyPolynomials,
  NormalFormError,
  onlyTerm,
  type Polynomial,
  POLYNOMIAL_ONE,
  polynomialText,
  POLYNOMIAL_ZERO,
  scale,
  type Term,
} from "./polynomial.ts";

export interface NormalForm {
  readonly over: Polynomial;
  /** Never zero; 1 where a single term could be divided by. */
  readonly under: Polynomial;
}

/** Largest number whose factors are looked for, by trial division up to its bound. */
export const TRIAL_MAX = 2_000n;
/** Most conjugates that make a denominator rational. */
const CONJUGATES_MAX = 4;

export function whole(over: Polynomial): NormalForm {
  return { over, under: POLYNOMIAL_ONE };
}

export function addForms(a: NormalForm, b: NormalForm): NormalForm {
  if (a.under === b.under || polynomialText(a.under) === polynomialText(b.under)) {
    return quotient(addPolynomials(a.over, b.over), a.under);
  }
  const over = addPolynomials(multiplyPolynomials(a.over, b.under), multiplyPolynomials(b.over, a.under));
  return quotient(over, multiplyPolynomials(a.under, b.under));
}

export function multiplyForms(a: NormalForm, b: NormalForm): NormalForm {
  return quotient(multiplyPolynomials(a.over, b.over), multiplyPolynomials(a.under, b.under));
}

export function quotient(over: Polynomial, under: Polynomial): NormalForm {
  if (under.size === 0) throw new NormalFormError("it divides by zero");
  if (over.size === 0) return whole(POLYNOMIAL_ZERO);
  const [top, bottom] = rationalised(over, under);
  const divisor = onlyTerm(bottom);
  if (divisor !== null && !isBound(divisor)) return whole(multiplyPolynomials(top, inverseTerm(divisor)));
  const lead = leadingCoefficient(bottom);
  const by = rational(lead.denominator, lead.numerator);
  return { over: scale(top, by), under: scale(bottom, by) };
}

/** Sines, cosines and roots of sums stay below: the rules that bind their powers know no negative ones. */
function isBound(term: Term): boolean {
  return [...term.factors.values()].some(
    ({ atom }) => atom.text.startsWith("sin(") || atom.sine !== undefined || atom.value !== undefined,
  );
}

/** Multiplies by conjugates until no square root of a prime and no i is left below, where that can be done. */
function rationalised(over: Polynomial, under: Polynomial): readonly [Polynomial, Polynomial] {
  let [top, bottom] = [over, under];
  for (let tries = 0; tries < CONJUGATES_MAX && bottom.size > 1; tries += 1) {
    const factors = [...bottom.values()].flatMap((term) => [...term.factors.values()]);
    if (!factors.every(isQuadratic)) break;
    const chosen = factors[0]?.atom.text;
    if (chosen === undefined) break;
    const conjugate: Polynomial = new Map(
      [...bottom].map(([text, term]) => [
        text,
        term.factors.has(chosen) ? { ...term, coefficient: negate(term.coefficient) } : term,
      ]),
    );
    [top, bottom] = [multiplyPolynomials(top, conjugate), multiplyPolynomials(bottom, conjugate)];
    if (bottom.size === 0) throw new NormalFormError("it divides by zero");
  }
  return [top, bottom];
}

function isQuadratic({ atom, exponent }: { readonly atom: Atom; readonly exponent: Rational }): boolean {
  return atom === I_ATOM || (atom.prime !== undefined && exponent.denominator === 2n);
}

export function isSameForm(a: NormalForm, b: NormalForm): boolean {
  if (formText(a) === formText(b)) return true;
  try {
    const left = multiplyPolynomials(a.over, b.under);
    const right = multiplyPolynomials(b.over, a.under);
    return polynomialText(left) === polynomialText(right);
  } catch (error) {
    if (error instanceof NormalFormError) return false;
    throw error;
  }
}

/** Its value where it is a rational number, null otherwise. */
export function rationalOf({ over, under }: NormalForm): Rational | null {
  return under === POLYNOMIAL_ONE ? constantOf(over) : null;
}

/**
 * Whether different forms of this kind are different numbers. They are for numbers made of roots of primes, i, and one of
 * pi and e: products of roots of primes are linearly independent over the rational numbers (Besicovitch, 1940), and so
 * are the powers of a transcendental number over the algebraic ones.
 */
export function areUnique(a: NormalForm, b: NormalForm): boolean {
  const constants = new Set<string>();
  for (const { over, under } of [a, b]) {
    if (under !== POLYNOMIAL_ONE) return false;
    for (const { factors } of over.values()) {
      for (const { atom, exponent } of factors.values()) {
        const isConstant = (atom.text === "pi" || atom.text === "e") && exponent.denominator === 1n;
        if (isConstant) constants.add(atom.text);
        else if (atom !== I_ATOM && (atom.prime === undefined || atom.prime > TRIAL_MAX * TRIAL_MAX))
          return false;
      }
    }
  }
  return constants.size <= 1;
}

export function formText({ over, under }: NormalForm): string {
  return under === POLYNOMIAL_ONE
    ? polynomialText(over)
    : `(${polynomialText(over)})/(${polynomialText(under)})`;
}
