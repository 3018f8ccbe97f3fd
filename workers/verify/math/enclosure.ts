/**
 * Enclosures: a complex number in double precision, and a radius within which the true value lies. Two values whose
 * enclosures do not touch are different: this is how formulas are proven unequal. Touching enclosures prove nothing.
 */
import type { Rational } from "../rational.ts";
import { type Formula, type FunctionName, INFINITY } from "./formula.ts";

export interface Enclosure {
  readonly re: number;
  /** Exactly zero for a value that is known to be real; then the radius is one of reals. */
  readonly im: number;
  readonly radius: number;
}

/** A symbol's value. */
export type Values = ReadonlyMap<string, number>;

/** Relative error of one operation or one function of Math: a hundred times what it is. */
const EPSILON = 2e-14;

/** Null where the value is not known to be finite, is of several branches, or belongs to a function not known here. */
export function enclose(formula: Formula, values: Values): Enclosure | null {
  const found = valueOf(formula, values);
  return found !== null && Number.isFinite(found.re + found.im + found.radius) ? found : null;
}

export function areApart(a: Enclosure, b: Enclosure): boolean {
  return Math.hypot(a.re - b.re, a.im - b.im) > (a.radius + b.radius) * (1 + EPSILON) + EPSILON * size(a);
}

function valueOf(formula: Formula, values: Values): Enclosure | null {
  switch (formula.kind) {
    case "number":
      return encloseRational(formula.value);
    case "symbol":
      return encloseSymbol(formula.name, values);
    case "sum":
      return fold(formula.terms, values, sum);
    case "product":
      return fold(formula.factors, values, product);
    case "power":
      return encloseAll([formula.base, formula.exponent], values, power);
    case "call":
      return encloseAll(formula.arguments, values, (first, second) =>
        call(formula.name, first, second, values),
      );
  }
}

function encloseRational({ numerator, denominator }: Rational): Enclosure | null {
  const value = Number(numerator) / Number(denominator);
  return Number.isFinite(value) ? ball(value, 0, 0) : null;
}

function encloseSymbol(name: string, values: Values): Enclosure | null {
  if (name === "pi") return ball(Math.PI, 0, 0);
  if (name === "e") return ball(Math.E, 0, 0);
  if (name === "i") return { re: 0, im: 1, radius: 0 };
  const value = name === INFINITY ? undefined : values.get(name);
  return value === undefined ? null : ball(value, 0, 0);
}

type Operation = (a: Enclosure, b: Enclosure) => Enclosure | null;

function fold(formulas: readonly Formula[], values: Values, operation: Operation): Enclosure | null {
  let total: Enclosure | null = null;
  for (const [index, formula] of formulas.entries()) {
    const next = enclose(formula, values);
    if (next === null) return null;
    total = index === 0 || total === null ? next : operation(total, next);
    if (total === null) return null;
  }
  return total;
}

function encloseAll(formulas: readonly Formula[], values: Values, operation: Operation): Enclosure | null {
  const found = formulas.map((formula) => enclose(formula, values));
  const [first, second] = found;
  if (first === undefined || first === null || second === null) return null;
  return operation(first, second ?? first);
}

/** A value with the error of its own rounding added to the radius. */
function ball(re: number, im: number, radius: number): Enclosure {
  return { re, im, radius: radius * (1 + EPSILON) + EPSILON * Math.hypot(re, im) };
}

function size({ re, im }: Enclosure): number {
  return Math.hypot(re, im);
}

function sum(a: Enclosure, b: Enclosure): Enclosure {
  return ball(a.re + b.re, a.im + b.im, a.radius + b.radius);
}

function product(a: Enclosure, b: Enclosure): Enclosure {
  const radius = size(a) * b.radius + size(b) * a.radius + a.radius * b.radius + EPSILON * size(a) * size(b);
  return ball(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re, radius);
}

function inverse(a: Enclosure): Enclosure | null {
  const least = size(a) - a.radius;
  if (!(least > 0)) return null;
  const square = a.re * a.re + a.im * a.im;
  if (square === 0 || !Number.isFinite(square)) return null;
  return ball(
    a.re / square,
    a.im === 0 ? 0 : -a.im / square,
    a.radius / least / size(a) + (2 * EPSILON) / size(a),
  );
}

function power(base: Enclosure, exponent: Enclosure): Enclosure | null {
  const isWhole = exponent.im === 0 && Number.isInteger(exponent.re) && exponent.radius < 1e-9;
  if (isWhole && Math.abs(exponent.re) <= 64) return wholePower(base, exponent.re);
  // Whether a cube root of -8 is -2 depends on who writes it; only square roots of negative numbers have one reading.
  const isSquareRoot = exponent.im === 0 && Number.isInteger(2 * exponent.re);
  if (base.im === 0 && base.re < 0 && !isSquareRoot) return null;
  const log = logarithm(base);
  return log === null ? null : exponential(product(log, exponent));
}

/** An exponent this near to a whole number is that number: exponents come from exact numbers. */
function wholePower(base: Enclosure, exponent: number): Enclosure | null {
  let result: Enclosure = { re: 1, im: 0, radius: 0 };
  for (let count = 0; count < Math.abs(exponent); count += 1) result = product(result, base);
  return exponent < 0 ? inverse(result) : result;
}

function exponential(a: Enclosure): Enclosure | null {
  const scale = Math.exp(a.re);
  const radius = scale * Math.expm1(a.radius) * (1 + EPSILON) + EPSILON * scale;
  return a.im === 0 ? ball(scale, 0, radius) : ball(scale * Math.cos(a.im), scale * Math.sin(a.im), radius);
}

/** Null at zero and near the cut, which is where the branch is in doubt; a real negative number is on its upper side. */
function logarithm(a: Enclosure): Enclosure | null {
  const least = size(a) - a.radius;
  if (!(least > 0)) return null;
  if (a.im !== 0 && a.re < 0 && Math.abs(a.im) <= a.radius) return null;
  // Not by atan2 for a real number: its zero may have a sign.
  const angle = a.im === 0 ? (a.re > 0 ? 0 : Math.PI) : Math.atan2(a.im, a.re);
  return ball(Math.log(size(a)), angle, a.radius / least + EPSILON);
}

function call(name: FunctionName, a: Enclosure, b: Enclosure, values: Values): Enclosure | null {
  switch (name) {
    case "ln":
      return logarithm(a);
    case "log": {
      const base = values.get("log");
      const log = logarithm(a);
      const under = base === undefined ? null : inverse(ball(Math.log(base), 0, 0));
      return log === null || under === null ? null : product(log, under);
    }
    case "exp":
      return exponential(a);
    case "root":
      return root(a, b);
    case "abs":
      return ball(size(a), 0, a.radius);
    default:
      return a.im === 0 ? realFunction(name, a) : null;
  }
}

function root(a: Enclosure, degree: Enclosure): Enclosure | null {
  const n = Math.round(degree.re);
  if (n % 2 !== 0 && a.im === 0 && a.re < 0) {
    const positive = root({ ...a, re: -a.re }, degree);
    return positive === null ? null : { ...positive, re: -positive.re };
  }
  const under = inverse(degree);
  return under === null ? null : power(a, under);
}

/** Functions of a real number: the value in the middle, and a bound on the slope around it. */
function realFunction(name: FunctionName, { re, radius }: Enclosure): Enclosure | null {
  const spread = (value: number, slope: number): Enclosure =>
    ball(value, 0, radius * slope + EPSILON * (1 + Math.abs(value)));
  const over = (under: Enclosure): Enclosure | null => inverse(under);
  const sine = spread(Math.sin(re), 1);
  const cosine = spread(Math.cos(re), 1);
  const ratio = (a: Enclosure, b: Enclosure): Enclosure | null => {
    const under = over(b);
    return under === null ? null : product(a, under);
  };
  const edge = Math.min(1, Math.abs(re) + radius);
  switch (name) {
    case "sin":
      return sine;
    case "cos":
      return cosine;
    case "tan":
      return ratio(sine, cosine);
    case "cot":
      return ratio(cosine, sine);
    case "sec":
      return over(cosine);
    case "csc":
      return over(sine);
    case "arctan":
      return spread(Math.atan(re), 1);
    case "arcsin":
      return edge < 1 ? spread(Math.asin(re), 1 / Math.sqrt(1 - edge * edge)) : null;
    case "arccos":
      return edge < 1 ? spread(Math.acos(re), 1 / Math.sqrt(1 - edge * edge)) : null;
    case "sinh":
      return spread(Math.sinh(re), Math.cosh(Math.abs(re) + radius));
    case "cosh":
      return spread(Math.cosh(re), Math.sinh(Math.abs(re) + radius));
    case "tanh":
      return spread(Math.tanh(re), 1);
    default:
      return null;
  }
}
