/** A formula as a tree, and what may go wrong in reading one. Everything that mathematics verifies starts here. */
import { rational, type Rational } from "../rational.ts";

/** Deepest nesting of a formula or an answer. */
export const FORMULA_DEPTH_MAX = 64;
/** Longest answer that is read, in characters. */
export const ANSWER_CHARS_MAX = 1_000;

export const FUNCTIONS = [
  "ln",
  "log",
  "exp",
  "sin",
  "cos",
  "tan",
  "cot",
  "sec",
  "csc",
  "arcsin",
  "arccos",
  "arctan",
  "sinh",
  "cosh",
  "tanh",
] as const;

/** Functions of one argument that are written by name. */
export type NamedFunction = (typeof FUNCTIONS)[number];

/**
 * `log` is a logarithm whose base is not written: 10 or e, nobody knows. `root` is (radicand, degree); an odd root of a
 * negative number is negative. `sum` and `prod` are (body, index, from, to).
 */
export type FunctionName =
  | NamedFunction
  | "root"
  | "abs"
  | "floor"
  | "ceil"
  | "factorial"
  | "binomial"
  | "sum"
  | "prod";

/** Subtraction, negation and division are sums, products and powers. The symbols pi, e, i and infinity are constants. */
export type Formula =
  | { readonly kind: "number"; readonly value: Rational }
  | { readonly kind: "symbol"; readonly name: string }
  | { readonly kind: "sum"; readonly terms: readonly Formula[] }
  | { readonly kind: "product"; readonly factors: readonly Formula[] }
  | { readonly kind: "power"; readonly base: Formula; readonly exponent: Formula }
  | { readonly kind: "call"; readonly name: FunctionName; readonly arguments: readonly Formula[] };

export const PI: Formula = symbolOf("pi");
export const INFINITY = "infinity";

export function numberOf(numerator: bigint, denominator?: bigint): Formula {
  return { kind: "number", value: rational(numerator, denominator) };
}

export function symbolOf(name: string): Formula {
  return { kind: "symbol", name };
}

export function callOf(name: FunctionName, ...args: readonly Formula[]): Formula {
  return { kind: "call", name, arguments: args };
}

export function productOf(...factors: readonly Formula[]): Formula {
  return factors.length === 1 && factors[0] !== undefined ? factors[0] : { kind: "product", factors };
}

export function negativeOf(formula: Formula): Formula {
  return productOf(numberOf(-1n), formula);
}

export function inverseOf(formula: Formula): Formula {
  return { kind: "power", base: formula, exponent: numberOf(-1n) };
}

/** The formulas directly inside one. */
export function partsOf(formula: Formula): readonly Formula[] {
  switch (formula.kind) {
    case "number":
    case "symbol":
      return [];
    case "sum":
      return formula.terms;
    case "product":
      return formula.factors;
    case "power":
      return [formula.base, formula.exponent];
    case "call":
      return formula.arguments;
  }
}

/**
 * Why a text is no answer that can be judged. "malformed" and "limit" are the writer's fault; "unsupported" is ours,
 * and "ambiguous" has readings that differ.
 */
export type AnswerFault = "malformed" | "limit" | "unsupported" | "ambiguous";

export class AnswerError extends Error {
  override readonly name = "AnswerError";
  readonly fault: AnswerFault;

  constructor(fault: AnswerFault, message: string) {
    super(message);
    this.fault = fault;
  }
}
