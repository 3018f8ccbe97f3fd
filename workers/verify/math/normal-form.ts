/**
 * The normal form of a formula: a quotient of polynomials over atoms. Two formulas with one normal form are equal
 * (wherever both are defined); of two numbers without atoms, different forms are different numbers.
 */
import { divide, fractionText, multiply, negate, rational, type Rational, subtract } from "../rational.ts";
import { type Formula, type FunctionName, INFINITY } from "./formula.ts";
import {
  addPolynomials,
  type Atom,
  atomPolynomial,
  constantOf,
  constantPolynomial,
  type Factor,
  floorOf,
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
  wholePower,
} from "./polynomial.ts";

export interface NormalForm {
  readonly over: Polynomial;
  /** Never zero; 1 where a single term could be divided by. */
  readonly under: Polynomial;
}

/** Largest number whose factors are looked for, by trial division up to its bound. */
const TRIAL_MAX = 2_000n;
const FACTORIAL_MAX = 500n;
/** Most conjugates that make a denominator rational. */
const CONJUGATES_MAX = 4;

/** Null where the rules do not reach, or a limit is passed, or it divides by zero. */
export function normalFormOf(formula: Formula): NormalForm | null {
  try {
    return formOf(formula);
  } catch (error) {
    if (error instanceof NormalFormError) return null;
    throw error;
  }
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
function rationalOf({ over, under }: NormalForm): Rational | null {
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

function formOf(formula: Formula): NormalForm {
  switch (formula.kind) {
    case "number":
      return whole(constantPolynomial(formula.value));
    case "symbol":
      return whole(atomPolynomial(formula.name === "i" ? I_ATOM : { text: formula.name }));
    case "sum":
      return formula.terms.map(formOf).reduce(addForms);
    case "product":
      return formula.factors.map(formOf).reduce(multiplyForms);
    case "power":
      return powerForm(formOf(formula.base), formOf(formula.exponent));
    case "call":
      return callForm(formula.name, formula.arguments);
  }
}

function whole(over: Polynomial): NormalForm {
  return { over, under: POLYNOMIAL_ONE };
}

function addForms(a: NormalForm, b: NormalForm): NormalForm {
  if (a.under === b.under || polynomialText(a.under) === polynomialText(b.under)) {
    return quotient(addPolynomials(a.over, b.over), a.under);
  }
  const over = addPolynomials(multiplyPolynomials(a.over, b.under), multiplyPolynomials(b.over, a.under));
  return quotient(over, multiplyPolynomials(a.under, b.under));
}

function multiplyForms(a: NormalForm, b: NormalForm): NormalForm {
  return quotient(multiplyPolynomials(a.over, b.over), multiplyPolynomials(a.under, b.under));
}

function quotient(over: Polynomial, under: Polynomial): NormalForm {
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

function powerForm(base: NormalForm, exponent: NormalForm): NormalForm {
  const constant = rationalOf(exponent);
  if (constant === null) return whole(symbolicPower(base, exponent));
  if (constant.denominator === 1n) return integerPower(base, constant.numerator);
  const value = rationalOf(base);
  if (value !== null) return whole(rationalPower(value, constant));
  if (base.under !== POLYNOMIAL_ONE) throw new NormalFormError("a root of a quotient");
  return whole(rootOf(base.over, constant));
}

function integerPower(base: NormalForm, exponent: bigint): NormalForm {
  if (exponent < 0n) return integerPower(quotient(base.under, base.over), -exponent);
  if (exponent === 0n && base.over.size === 0) throw new NormalFormError("zero to the power of zero");
  return quotient(wholePower(base.over, exponent), wholePower(base.under, exponent));
}

/** A number to a power that is not whole: primes to that power, and i for the square root of -1. */
function rationalPower(base: Rational, exponent: Rational): Polynomial {
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
function primePowers({ numerator, denominator }: Rational): readonly PrimePower[] {
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

function callForm(name: FunctionName, args: readonly Formula[]): NormalForm {
  if (name === "sum" || name === "prod") throw new NormalFormError("a series");
  const forms = args.map(formOf);
  const [first = whole(POLYNOMIAL_ZERO), second = whole(POLYNOMIAL_ONE)] = forms;
  const value = rationalOf(first);
  const atom = (): NormalForm => whole(atomPolynomial({ text: `${name}(${forms.map(formText).join(",")})` }));
  switch (name) {
    case "root":
      return rootForm(first, second);
    case "ln":
      return logarithm(first) ?? atom();
    case "log":
      return multiplyForms(
        logarithm(first) ?? whole(atomPolynomial({ text: `ln(${formText(first)})` })),
        LOG_UNIT,
      );
    case "exp":
      return powerForm(whole(atomPolynomial({ text: "e" })), first);
    case "sin":
    case "cos":
      return whole(trigonometric(name, first));
    case "tan":
      return ratio("sin", "cos", first);
    case "cot":
      return ratio("cos", "sin", first);
    case "sec":
      return quotient(POLYNOMIAL_ONE, trigonometric("cos", first));
    case "csc":
      return quotient(POLYNOMIAL_ONE, trigonometric("sin", first));
    case "abs":
      return value === null
        ? atom()
        : whole(constantPolynomial(value.numerator < 0n ? negate(value) : value));
    case "floor":
    case "ceil": {
      if (value === null) return atom();
      const rounded = name === "floor" ? floorOf(value) : -floorOf(negate(value));
      return whole(constantPolynomial(rational(rounded)));
    }
    case "factorial":
      return isCount(value) ? whole(constantPolynomial(rational(factorial(value.numerator)))) : atom();
    case "binomial": {
      const below = rationalOf(second);
      if (!isCount(value) || !isCount(below)) return atom();
      return whole(constantPolynomial(rational(binomial(value.numerator, below.numerator))));
    }
    default:
      return atom();
  }
}

/** One over the logarithm of the base that nobody wrote. */
const LOG_UNIT = whole(atomPolynomial({ text: "ln(base)" }, rational(-1n)));

function rootForm(radicand: NormalForm, degree: NormalForm): NormalForm {
  const n = rationalOf(degree);
  if (n === null || n.denominator !== 1n || n.numerator < 2n)
    throw new NormalFormError("a root of that degree");
  const value = rationalOf(radicand);
  const exponent = rational(1n, n.numerator);
  if (value !== null && value.numerator < 0n && n.numerator % 2n === 1n) {
    return whole(scale(rationalPower(negate(value), exponent), rational(-1n)));
  }
  return powerForm(radicand, whole(constantPolynomial(exponent)));
}

/** The logarithm of a product of primes and of a power of e, null for any other. */
function logarithm({ over, under }: NormalForm): NormalForm | null {
  const term = under === POLYNOMIAL_ONE ? onlyTerm(over) : null;
  if (term === null || term.coefficient.numerator <= 0n) return null;
  const powers = [...primePowers(term.coefficient)];
  let sum = POLYNOMIAL_ZERO;
  for (const { atom, exponent } of term.factors.values()) {
    if (atom.text === "e") sum = addPolynomials(sum, constantPolynomial(exponent));
    else if (atom.prime === undefined) return null;
    else powers.push({ atom, count: exponent });
  }
  for (const { atom, count } of powers) {
    sum = addPolynomials(sum, scale(atomPolynomial({ text: `ln(${atom.text})` }), count));
  }
  return whole(sum);
}

function ratio(over: "sin" | "cos", under: "sin" | "cos", angle: NormalForm): NormalForm {
  return quotient(trigonometric(over, angle), trigonometric(under, angle));
}

/** Cosines of the multiples of pi in the first quadrant that are square roots of rational numbers: their squares. */
const COSINE_SQUARES: ReadonlyMap<string, Rational> = new Map([
  ["0", rational(1n)],
  ["1/6", rational(3n, 4n)],
  ["1/4", rational(1n, 2n)],
  ["1/3", rational(1n, 4n)],
  ["1/2", rational(0n)],
]);

function trigonometric(name: "sin" | "cos", angle: NormalForm): Polynomial {
  if (angle.under !== POLYNOMIAL_ONE) throw new NormalFormError("a function of a quotient");
  const turn = piMultiple(angle.over);
  if (turn !== null) return cosineOfPi(name === "cos" ? turn : subtract(rational(1n, 2n), turn));
  const isFlipped = leadingCoefficient(angle.over).numerator < 0n;
  const text = polynomialText(isFlipped ? scale(angle.over, rational(-1n)) : angle.over);
  const sine: Atom = { text: `sin(${text})` };
  if (name === "cos") return atomPolynomial({ text: `cos(${text})`, sine });
  return scale(atomPolynomial(sine), rational(isFlipped ? -1n : 1n));
}

/** The q of q * pi; null for other angles. */
function piMultiple(angle: Polynomial): Rational | null {
  if (angle.size === 0) return rational(0n);
  const term = angle.get("pi");
  return angle.size === 1 && term !== undefined ? term.coefficient : null;
}

function cosineOfPi(turn: Rational): Polynomial {
  const half = rational(floorOf(divide(turn, rational(2n)) ?? turn) * 2n);
  let angle = subtract(turn, half);
  if (angle.numerator > angle.denominator) angle = subtract(rational(2n), angle);
  const isObtuse = angle.numerator * 2n > angle.denominator;
  if (isObtuse) angle = subtract(rational(1n), angle);
  const square = COSINE_SQUARES.get(fractionText(angle));
  const cosine =
    square === undefined
      ? atomPolynomial({ text: `cos(${fractionText(angle)}*pi)` })
      : rationalPower(square, rational(1n, 2n));
  return scale(cosine, rational(isObtuse ? -1n : 1n));
}

function isCount(value: Rational | null): value is Rational {
  return (
    value !== null && value.denominator === 1n && value.numerator >= 0n && value.numerator <= FACTORIAL_MAX
  );
}

function factorial(n: bigint): bigint {
  let product = 1n;
  for (let factor = 2n; factor <= n; factor += 1n) product *= factor;
  return product;
}

function binomial(n: bigint, k: bigint): bigint {
  return k > n ? 0n : factorial(n) / (factorial(k) * factorial(n - k));
}
