/**
 * The computer algebra system (Compute Engine), for what the normal form does not reach. It loads on its first use and
 * not with this file: half a second that only a thread which needs it pays. A verification that hangs in it is ended by
 * the pool. Its numerical comparison (`isEqual`) takes near numbers for equal and is not used: only its algebra counts.
 */
import { createRequire } from "node:module";
import type { ComputeEngine, Expression } from "@cortex-js/compute-engine";
import type { Formula, FunctionName } from "./formula.ts";

type MathJson = string | number | { readonly num: string } | readonly MathJson[];

let engine: ComputeEngine | null = null;

/** Whether the system's algebra finds two formulas equal; false says nothing. */
export function findsEqual(a: Formula, b: Formula): boolean {
  try {
    const [left, right] = [expressionOf(a), expressionOf(b)];
    const difference = expressionOf({
      kind: "sum",
      terms: [a, { kind: "product", factors: [{ kind: "number", value: MINUS_ONE }, b] }],
    });
    return isZero(difference.simplify()) || left.simplify().isSame(right.simplify());
  } catch {
    // It throws on numbers that are too large and on formulas that are too deep (RangeError); it has not decided then.
    return false;
  }
}

const MINUS_ONE = { numerator: -1n, denominator: 1n };

function isZero(expression: Expression): boolean {
  return expression.isSame(0);
}

function expressionOf(formula: Formula): Expression {
  engine ??= load();
  // The system's own type of MathJSON is narrower in form, not in content.
  return engine.expr(mathJson(formula) as Parameters<ComputeEngine["expr"]>[0]);
}

/** Loads where it stands, since a verifier answers at once. */
function load(): ComputeEngine {
  const require = createRequire(import.meta.url);
  const loaded = require("@cortex-js/compute-engine") as typeof import("@cortex-js/compute-engine");
  return new loaded.ComputeEngine();
}

const SYMBOLS: Readonly<Record<string, string>> = {
  pi: "Pi",
  e: "ExponentialE",
  i: "ImaginaryUnit",
  infinity: "PositiveInfinity",
};

/** `log` and `root` are written out; the base of `log` is a symbol, since it is not known. */
const FUNCTION_NAMES: Readonly<Record<Exclude<FunctionName, "log" | "root" | "sum" | "prod">, string>> = {
  ln: "Ln",
  exp: "Exp",
  sin: "Sin",
  cos: "Cos",
  tan: "Tan",
  cot: "Cot",
  sec: "Sec",
  csc: "Csc",
  arcsin: "Arcsin",
  arccos: "Arccos",
  arctan: "Arctan",
  sinh: "Sinh",
  cosh: "Cosh",
  tanh: "Tanh",
  abs: "Abs",
  floor: "Floor",
  ceil: "Ceil",
  factorial: "Factorial",
  binomial: "Binomial",
};

function mathJson(formula: Formula): MathJson {
  switch (formula.kind) {
    case "number": {
      const { numerator, denominator } = formula.value;
      const over: MathJson = { num: String(numerator) };
      return denominator === 1n ? over : ["Divide", over, { num: String(denominator) }];
    }
    case "symbol":
      // A name of ours is never one of the system's: those of more than one letter carry a mark.
      return SYMBOLS[formula.name] ?? symbolName(formula.name);
    case "sum":
      return ["Add", ...formula.terms.map(mathJson)];
    case "product":
      return ["Multiply", ...formula.factors.map(mathJson)];
    case "power":
      return ["Power", mathJson(formula.base), mathJson(formula.exponent)];
    case "call":
      return callJson(formula.name, formula.arguments.map(mathJson));
  }
}

function symbolName(name: string): string {
  return `our_${Array.from(name, (letter) => (/[A-Za-z0-9]/.test(letter) ? letter : `_${letter.codePointAt(0)}_`)).join("")}`;
}

function callJson(name: FunctionName, args: readonly MathJson[]): MathJson {
  const [first = 0, second = 0, from = 0, to = 0] = args;
  switch (name) {
    case "log":
      return ["Divide", ["Ln", first], ["Ln", "our_base"]];
    case "root":
      return isTwo(second) ? ["Sqrt", first] : ["Root", first, second];
    case "sum":
      return ["Sum", first, ["Limits", second, from, to]];
    case "prod":
      return ["Product", first, ["Limits", second, from, to]];
    default:
      return [FUNCTION_NAMES[name], ...args];
  }
}

function isTwo(value: MathJson): boolean {
  return typeof value === "object" && "num" in value && value.num === "2";
}
