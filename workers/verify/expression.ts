/**
 * Arithmetic as the Game of 24 writes it: whole numbers, + - * /, parentheses and unary minus. Parsing is bounded in
 * length and depth, so that a hostile text costs nothing.
 */
import type { Rational } from "./rational.ts";
import { add, divide, multiply, negate, rational, subtract } from "./rational.ts";

/** Longest expression, in characters. */
export const EXPRESSION_CHARS_MAX = 400;
/** Deepest nesting of parentheses and unary minus. */
export const EXPRESSION_DEPTH_MAX = 64;

export type Operator = "+" | "-" | "*" | "/";

export type Expression =
  | { readonly kind: "number"; readonly digits: string }
  | { readonly kind: "negative"; readonly of: Expression }
  | {
      readonly kind: "binary";
      readonly operator: Operator;
      readonly left: Expression;
      readonly right: Expression;
    };

/** What is wrong with an expression; `message` is a verdict's reason. */
export class ExpressionError extends Error {
  override readonly name = "ExpressionError";
}

/** Throws ExpressionError saying what was expected, what was found and at which character (from 1). */
export function parseExpression(text: string): Expression {
  if (text.length > EXPRESSION_CHARS_MAX) {
    throw new ExpressionError(`the expression is longer than ${EXPRESSION_CHARS_MAX} characters`);
  }
  let at = 0;

  /** The next character that is not a space; "" at the end. */
  function peek(): string {
    while (at < text.length && text.charAt(at).trim() === "") at += 1;
    const code = text.codePointAt(at);
    return code === undefined ? "" : String.fromCodePoint(code);
  }

  function fail(expected: string): never {
    const found = peek();
    const what = found === "" ? "the end" : JSON.stringify(found.toWellFormed());
    throw new ExpressionError(`expected ${expected} at character ${at + 1}, found ${what}`);
  }

  function sum(depth: number): Expression {
    let left = product(depth);
    for (let operator = peek(); operator === "+" || operator === "-"; operator = peek()) {
      at += 1;
      left = { kind: "binary", operator, left, right: product(depth) };
    }
    return left;
  }

  function product(depth: number): Expression {
    let left = unary(depth);
    for (let operator = peek(); operator === "*" || operator === "/"; operator = peek()) {
      at += 1;
      left = { kind: "binary", operator, left, right: unary(depth) };
    }
    return left;
  }

  function unary(depth: number): Expression {
    if (depth > EXPRESSION_DEPTH_MAX) {
      throw new ExpressionError(`the expression is nested deeper than ${EXPRESSION_DEPTH_MAX} levels`);
    }
    const next = peek();
    if (next === "-") {
      at += 1;
      return { kind: "negative", of: unary(depth + 1) };
    }
    if (next === "(") {
      at += 1;
      const inner = sum(depth + 1);
      if (peek() !== ")") fail('an operator or ")"');
      at += 1;
      return inner;
    }
    const digits = /^[0-9]+/.exec(text.slice(at))?.[0];
    if (digits === undefined) fail('a number, "-" or "("');
    at += digits.length;
    return { kind: "number", digits };
  }

  const expression = sum(0);
  if (peek() !== "") fail("an operator or the end");
  return expression;
}

/** The whole numbers of an expression as written, in order. */
export function numbersOf(expression: Expression): readonly string[] {
  switch (expression.kind) {
    case "number":
      return [expression.digits];
    case "negative":
      return numbersOf(expression.of);
    case "binary":
      return [...numbersOf(expression.left), ...numbersOf(expression.right)];
  }
}

/** The exact value; null where it divides by zero. */
export function valueOf(expression: Expression): Rational | null {
  if (expression.kind === "number") return rational(BigInt(expression.digits));
  if (expression.kind === "negative") {
    const value = valueOf(expression.of);
    return value === null ? null : negate(value);
  }
  const left = valueOf(expression.left);
  const right = valueOf(expression.right);
  return left === null || right === null ? null : apply(expression.operator, left, right);
}

/** The exact value of one operation; null for a division by zero. */
export function apply(operator: Operator, left: Rational, right: Rational): Rational | null {
  switch (operator) {
    case "+":
      return add(left, right);
    case "-":
      return subtract(left, right);
    case "*":
      return multiply(left, right);
    case "/":
      return divide(left, right);
  }
}

/**
 * One text for expressions that differ only in the order of terms and factors, in redundant parentheses, in spacing
 * and in where a minus stands: the answer key for votes. `6 + 4*5` and `(5 * 4) + 6` are both `6 + 4 * 5`.
 */
export function canonicalText(expression: Expression): string {
  const terms = termsOf(expression, 1);
  terms.sort((a, b) => b.sign - a.sign || compareText(a.text, b.text));
  return terms
    .map(({ sign, text }, index) => {
      if (index === 0) return sign < 0 ? `-${text}` : text;
      return sign < 0 ? ` - ${text}` : ` + ${text}`;
    })
    .join("");
}

interface Term {
  readonly sign: 1 | -1;
  readonly text: string;
}

function termsOf(expression: Expression, sign: 1 | -1): Term[] {
  const opposite = sign === 1 ? -1 : 1;
  if (expression.kind === "negative") return termsOf(expression.of, opposite);
  if (expression.kind === "binary" && (expression.operator === "+" || expression.operator === "-")) {
    return [
      ...termsOf(expression.left, sign),
      ...termsOf(expression.right, expression.operator === "+" ? sign : opposite),
    ];
  }
  const factors = factorsOf(expression, false);
  const isFlipped = factors.filter((factor) => factor.isNegative).length % 2 === 1;
  const over = factors
    .filter((factor) => !factor.isInverse && factor.text !== "")
    .map((factor) => factor.text)
    .toSorted(compareText);
  const under = factors
    .filter((factor) => factor.isInverse)
    .map((factor) => factor.text)
    .toSorted(compareText);
  return [{ sign: isFlipped ? opposite : sign, text: [over.join(" * "), ...under].join(" / ") }];
}

interface Factor {
  readonly isInverse: boolean;
  readonly isNegative: boolean;
  /** "" for a unary minus, which only turns the sign. */
  readonly text: string;
}

function factorsOf(expression: Expression, isInverse: boolean): Factor[] {
  if (expression.kind === "number") return [{ isInverse, isNegative: false, text: expression.digits }];
  if (expression.kind === "negative") {
    const minus: Factor = { isInverse: false, isNegative: true, text: "" };
    return [minus, ...factorsOf(expression.of, isInverse)];
  }
  const { operator, left, right } = expression;
  if (operator === "*" || operator === "/") {
    return [...factorsOf(left, isInverse), ...factorsOf(right, operator === "*" ? isInverse : !isInverse)];
  }
  return [{ isInverse, isNegative: false, text: `(${canonicalText(expression)})` }];
}

/** Shorter first, then by code unit: numbers stand in ascending order. */
function compareText(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
