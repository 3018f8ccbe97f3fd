/** Normal forms of functions: logarithms by primes, angles by known cosines, counts by their definition. */
import { divide, fractionText, negate, rational, type Rational, subtract } from "../rational.ts";
import type { FunctionName } from "./formula.ts";
import {
  addPolynomials,
  type Atom,
  atomPolynomial,
  constantPolynomial,
  floorOf,
  leadingCoefficient,
  NormalFormError,
  onlyTerm,
  type Polynomial,
  POLYNOMIAL_ONE,
  polynomialText,
  POLYNOMIAL_ZERO,
  scale,
} from "./polynomial.ts";
import { powerForm, primePowers, rationalPower } from "./powers.ts";
import { formText, multiplyForms, type NormalForm, quotient, rationalOf, whole } from "./quotient.ts";

/** Largest number whose factorial is computed. */
const FACTORIAL_MAX = 500n;

/** The form of a function's value, given its arguments'. Throws NormalFormError. */
export function functionForm(name: FunctionName, forms: readonly NormalForm[]): NormalForm {
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
