/** Powers and roots of normal forms. */
import { multiply, negate, rational, type Rational } from "../rational.ts";
import {
  type Atom,
  atomPolynomial,
  constantOf,
  type Factor,
  floorOf,
  I_ATOM,
  multiplyPolynomials,
  NormalFormError,
  onlyTerm,
  type Polynomial,
  POLYNOMIAL_ONE,
  polynomialText,
  POLYNOMIAL_ZERO,
  scale,
  type Term,
  wholePower,
} from "./polynomial.ts";
import { type NormalForm, quotient, rationalOf, TRIAL_MAX, whole } from "./quotient.ts";
import { INFINITY } from "./formula.ts";

export function powerForm(base: NormalForm, exponent: NormalForm): NormalForm {
  const constant = rationalOf(exponent);
  if (constant === null) return whole(symbolicPower(base, exponent));
  if (constant.denominator === 1n) return integerPower(base, constant.numerator);
  const value = rationalOf(base);
  if (value !== null) return whole(rationalPower(value, constant));
  if (base.under !== POLYNOMIAL_ONE) throw new NormalFormError("a root of a quotient");
  return whole(rootOf(base.over, constant));
}

export function integerPower(base: NormalForm, exponent: bigint): NormalForm {
  if (exponent < 0n) return integerPower(quotient(base.under, base.over), -exponent);
  if (exponent === 0n && base.over.size === 0) throw new NormalFormError("zero to the power of zero");
  return quotient(wholePower(base.over, exponent), wholePower(base.under, exponent));
}

/** A number to a power that is not whole: primes to that power, and i for the square root of -1. */
export function rationalPower(base: Rational, exponent: Rational): Polynomial {
  if (base.numerator === 0n) {
    if (exponent.numerator < 0n) throw new NormalFormError("it divides by zero");
    return POLYNOMIAL_ZERO;
  }
  const positive = primePowers(base.numerator < 0n ? negate(base) : base)
    .map(({ atom, count }) => atomPolynomial(atom, multiply(count, exponent)))
    .reduce(multiplyPolynomials, POLYNOMIAL_ONE);
  if (base.numerator > 0n) return positive;
  if (exponent.denominator !== 2n) throw new NormalFormError("a root of a negative number");
  return multiplyPolynomials(positive, atomPolynomial(I_ATOM, rational(exponent.numerator)));
}

interface PrimePower {
  readonly atom: Atom;
  readonly count: Rational;
}

/** @param value Positive. What trial division leaves stands as a prime: sound, if not always the shortest. */
export function primePowers({ numerator, denominator }: Rational): readonly PrimePower[] {
  const powers = (value: bigint, sign: bigint): PrimePower[] => {
    const found: PrimePower[] = [];
    let rest = value;
    for (let prime = 2n; prime <= TRIAL_MAX && prime * prime <= rest; prime += 1n) {
      let count = 0n;
      for (; rest % prime === 0n; rest /= prime) count += 1n;
      if (count > 0n) found.push({ atom: primeAtom(prime), count: rational(sign * count) });
    }
    if (rest > 1n) found.push({ atom: primeAtom(rest), count: rational(sign) });
    return found;
  };
  return [...powers(numerator, 1n), ...powers(denominator, -1n)];
}

function primeAtom(prime: bigint): Atom {
  return { text: String(prime), prime };
}

/** A power, not whole, of a polynomial that is no rational number. Only what is positive leaves the root. */
function rootOf(polynomial: Polynomial, exponent: Rational): Polynomial {
  const content = contentOf(polynomial);
  const outside = rationalPower(content, exponent);
  const inside = scale(polynomial, rational(content.denominator, content.numerator));
  const factor = onlyFactor(inside);
  if (factor !== null && (isPositive(factor.atom) || isOne(factor.exponent))) {
    return multiplyPolynomials(outside, atomPolynomial(factor.atom, multiply(factor.exponent, exponent)));
  }
  const floor = floorOf(exponent);
  if (floor < 0n) throw new NormalFormError("a root below a fraction");
  const atom: Atom = { text: `[${polynomialText(inside)}]`, value: inside };
  return multiplyPolynomials(outside, atomPolynomial(atom, exponent));
}

/** The factor that the polynomial is, null where it is more than one power of an atom; i is none. */
function onlyFactor(polynomial: Polynomial): Factor | null {
  const term = onlyTerm(polynomial);
  if (term === null || term.factors.size !== 1 || !isOne(term.coefficient)) return null;
  const factor = term.factors.values().next().value;
  return factor === undefined || factor.atom === I_ATOM ? null : factor;
}

function isOne(value: Rational): boolean {
  return value.numerator === 1n && value.denominator === 1n;
}

function isPositive(atom: Atom): boolean {
  return atom.prime !== undefined || atom.text === "pi" || atom.text === "e";
}

/** The largest positive number that divides every coefficient into a whole number. */
function contentOf(polynomial: Polynomial): Rational {
  let [over, under] = [0n, 1n];
  for (const { coefficient } of polynomial.values()) {
    over = gcd(over, coefficient.numerator < 0n ? -coefficient.numerator : coefficient.numerator);
    under = (under / gcd(under, coefficient.denominator)) * coefficient.denominator;
  }
  return rational(over === 0n ? 1n : over, under);
}

function gcd(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a;
}

/** base^(a + b) as base^a * base^b; the exponent's atoms are part of the power's name. */
function symbolicPower(base: NormalForm, exponent: NormalForm): Polynomial {
  if (base.under !== POLYNOMIAL_ONE || exponent.under !== POLYNOMIAL_ONE) {
    throw new NormalFormError("a power of or to a quotient");
  }
  if ([...exponent.over.values()].some(({ factors }) => factors.has("i") || factors.has(INFINITY))) {
    throw new NormalFormError("a power that is not real");
  }
  const value = constantOf(base.over);
  const bases = value !== null && value.numerator > 0n ? primePowers(value) : [symbolBase(base.over)];
  let power = POLYNOMIAL_ONE;
  for (const { coefficient, factors } of exponent.over.values()) {
    const name = polynomialText(monomial(factors));
    for (const { atom, count } of bases) {
      const atomPower = multiply(count, coefficient);
      const named: Atom = factors.size === 0 ? atom : { text: `${atom.text}^[${name}]` };
      power = multiplyPolynomials(power, atomPolynomial(named, atomPower));
    }
  }
  return power;
}

function monomial(factors: Term["factors"]): Polynomial {
  return [...factors.values()]
    .map(({ atom, exponent }) => atomPolynomial(atom, exponent))
    .reduce(multiplyPolynomials, POLYNOMIAL_ONE);
}

function symbolBase(base: Polynomial): PrimePower {
  const factor = onlyFactor(base);
  if (factor === null || !isOne(factor.exponent)) throw new NormalFormError("a power of a sum");
  return { atom: factor.atom, count: rational(1n) };
}
