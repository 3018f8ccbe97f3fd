/**
 * Whether two answers are the same. "equal" comes from exact arithmetic, from the normal form or from the algebra system,
 * and no enclosure may contradict it; "different" is proven by numbers or by structure; all else is unknown.
 */
import { divide } from "../rational.ts";
import { findsEqual } from "./algebra-system.ts";
import type { Answer } from "./answer.ts";
import { areApart, enclose } from "./enclosure.ts";
import {
  type Formula,
  INFINITY,
  inverseOf,
  negativeOf,
  numberOf,
  partsOf,
  PI,
  productOf,
  symbolOf,
} from "./formula.ts";
import { leadingCoefficient, scale } from "./polynomial.ts";
import { normalFormOf } from "./normal-form.ts";
import { areUnique, formText, isSameForm } from "./quotient.ts";

export type Equivalence =
  | { readonly kind: "equal" }
  | { readonly kind: "different" }
  | { readonly kind: "unknown"; readonly reason: string };

const EQUAL: Equivalence = { kind: "equal" };
const DIFFERENT: Equivalence = { kind: "different" };

function unknown(reason: string): Equivalence {
  return { kind: "unknown", reason };
}

/** Whether the candidate's answer is the reference's. Names, and units that only one of them has, are left out. */
export function compareAnswers(reference: Answer, candidate: Answer): Equivalence {
  if (reference.kind === "named" && candidate.kind === "named" && reference.name !== candidate.name) {
    return unknown(`the answers are named ${reference.name} and ${candidate.name}`);
  }
  if (reference.kind === "equation" || (reference.kind === "named" && candidate.kind === "equation")) {
    const [one, other] = [asEquation(reference), asEquation(candidate)];
    if (one !== null && other !== null) return compareEquations(one, other);
  }
  if (candidate.kind === "equation") {
    const result = resultOf(candidate);
    return result === null ? compareKinds(reference, candidate) : compareAnswers(reference, result);
  }
  if (reference.kind === "named") return compareAnswers(reference.value, unnamed(candidate));
  if (candidate.kind === "named") return compareAnswers(reference, candidate.value);
  switch (reference.kind) {
    case "value":
      return candidate.kind === "value"
        ? compareValues(reference, candidate)
        : compareKinds(reference, candidate);
    case "list":
    case "set":
      if (candidate.kind !== "list" && candidate.kind !== "set") return compareKinds(reference, candidate);
      return compareCollections(reference, candidate);
    case "union":
      return candidate.kind === "union"
        ? atMostUnknown(compareUnordered(reference.parts, candidate.parts))
        : compareKinds(reference, candidate);
    case "tuple":
      return candidate.kind === "tuple"
        ? compareTuples(reference, candidate)
        : compareKinds(reference, candidate);
    case "matrix":
      if (candidate.kind !== "matrix") return compareKinds(reference, candidate);
      if (reference.isDeterminant !== candidate.isDeterminant) return unknown("one of them is a determinant");
      if (reference.rows.length !== candidate.rows.length) return DIFFERENT;
      return all(reference.rows.map((row, at) => compareOrdered(row, candidate.rows[at] ?? [])));
    case "equation":
      return compareKinds(reference, candidate);
    case "words":
      if (candidate.kind !== "words") return compareKinds(reference, candidate);
      return reference.words === candidate.words ? EQUAL : unknown("the answers are different words");
  }
}

function unnamed(answer: Answer): Answer {
  return answer.kind === "named" ? answer.value : answer;
}

/** A value is no list of several and no interval; other pairs of kinds may be two ways to write one thing. */
function compareKinds(reference: Answer, candidate: Answer): Equivalence {
  const several = ["list", "set", "tuple", "union"];
  const [a, b] = [reference, candidate];
  if (a.kind === "value" && several.includes(b.kind))
    return countOf(b) === 1 ? unknown(kinds(a, b)) : DIFFERENT;
  if (b.kind === "value" && several.includes(a.kind))
    return countOf(a) === 1 ? unknown(kinds(a, b)) : DIFFERENT;
  return unknown(kinds(a, b));
}

function kinds(reference: Answer, candidate: Answer): string {
  return `the reference is of kind ${reference.kind}, the answer of kind ${candidate.kind}`;
}

function countOf(answer: Answer): number {
  return "elements" in answer ? answer.elements.length : 2;
}

function atMostUnknown(found: Equivalence): Equivalence {
  return found.kind === "different" ? unknown("unions are compared part by part") : found;
}

type Collection = Extract<Answer, { readonly kind: "list" | "set" }>;

/** A set has each element once; of lists, those that repeat an element may mean it. */
function compareCollections(reference: Collection, candidate: Collection): Equivalence {
  if (areNamed(reference) !== areNamed(candidate)) return unknown("the elements of one of them have names");
  const found = compareUnordered(reference.elements, candidate.elements);
  if (found.kind !== "equal" || reference.kind === "set" || candidate.kind === "set") return found;
  const isSameCount = reference.elements.every(
    (one) => countIn(reference.elements, one) === countIn(candidate.elements, one),
  );
  return isSameCount ? EQUAL : unknown("one of the lists repeats an element");
}

/** Whether elements have several names, as in `x = 1, y = 2`: without the names it is not known which is which. */
function areNamed({ elements }: Collection): boolean {
  return new Set(elements.map((element) => (element.kind === "named" ? element.name : ""))).size > 1;
}

function countIn(elements: readonly Answer[], answer: Answer): number {
  return elements.filter((element) => compareAnswers(answer, element).kind === "equal").length;
}

/** Each element of one with its own of the other; repeated ones count once. */
function compareUnordered(reference: readonly Answer[], candidate: readonly Answer[]): Equivalence {
  const table = reference.map((one) => candidate.map((other) => compareAnswers(one, other)));
  const rows = table.map(best);
  const columns = candidate.map((_, at) => best(table.map((row) => row[at] ?? DIFFERENT)));
  return all([...rows, ...columns]);
}

/** An element is there when it equals one, and is not when it differs from all. */
function best(found: readonly Equivalence[]): Equivalence {
  return (
    found.find(({ kind }) => kind === "equal") ?? found.find(({ kind }) => kind === "unknown") ?? DIFFERENT
  );
}

function compareOrdered(reference: readonly Answer[], candidate: readonly Answer[]): Equivalence {
  if (reference.length !== candidate.length) return DIFFERENT;
  return all(reference.map((one, at) => compareAnswers(one, candidate[at] ?? one)));
}

/** Equal when all are, different when one is. */
function all(found: readonly Equivalence[]): Equivalence {
  return (
    found.find(({ kind }) => kind === "different") ?? found.find(({ kind }) => kind === "unknown") ?? EQUAL
  );
}

type Tuple = Extract<Answer, { readonly kind: "tuple" }>;

function compareTuples(reference: Tuple, candidate: Tuple): Equivalence {
  const inside = compareOrdered(reference.elements, candidate.elements);
  const { variable } = reference;
  if (variable !== null && candidate.variable !== null && variable !== candidate.variable) {
    return unknown(`the inequalities are about ${variable} and ${candidate.variable}`);
  }
  const isSameBrackets = reference.open === candidate.open && reference.close === candidate.close;
  if (isSameBrackets || inside.kind !== "equal") return inside;
  const isVector = reference.open === "langle" || candidate.open === "langle";
  return isVector ? unknown("the brackets differ") : DIFFERENT;
}

type Value = Extract<Answer, { readonly kind: "value" }>;

function compareValues(reference: Value, candidate: Value): Equivalence {
  const found = compareFormulas(reference.formula, candidate.formula);
  const [a, b] = [reference.unit, candidate.unit];
  if (a === b) return found;
  if (a !== "" && b !== "") return unknown(`the units are ${a} and ${b}`);
  if (found.kind === "equal") return found;
  const converted = compareFormulas(inUnit(reference), inUnit(candidate));
  if (converted.kind !== "equal") return found;
  return a === "%" || b === "%" ? unknown("one of them is a percentage") : EQUAL;
}

/** The value with what its unit means, where that is a number. */
function inUnit({ formula, unit }: Value): Formula {
  if (unit === "%") return productOf(formula, inverseOf(numberOf(100n)));
  return unit === "\u00b0" ? productOf(formula, PI, inverseOf(numberOf(180n))) : formula;
}

/** Whether two formulas have one value for every value of their symbols. */
export function compareFormulas(a: Formula, b: Formula): Equivalence {
  const [one, other] = [normalFormOf(a), normalFormOf(b)];
  if (one !== null && other !== null && areUnique(one, other))
    return isSameForm(one, other) ? EQUAL : DIFFERENT;
  if (isInfinite(a) !== isInfinite(b) && !(hasInfinity(a) && hasInfinity(b))) return DIFFERENT;
  const nearness = nearnessOf(a, b);
  const isRefuted = nearness === "apart";
  if (one !== null && other !== null && isSameForm(one, other)) {
    return isRefuted ? unknown("the algebra and the numbers contradict each other") : EQUAL;
  }
  if (isRefuted) return differsByCase(a, b) ? unknown("the symbols differ by their case") : DIFFERENT;
  if (hasInfinity(a) || hasInfinity(b))
    return isInfinite(a) && isInfinite(b) ? DIFFERENT : unknown("infinity is no number");
  if (nearness === "unknown" && isEnclosable(a) && isEnclosable(b))
    return unknown("one of them has no value");
  return findsEqual(a, b) ? EQUAL : unknown("neither equality nor difference could be proven");
}

function hasInfinity(formula: Formula): boolean {
  return symbolsOf(formula).has(INFINITY);
}

/** Infinity, with its sign, and nothing else. */
function isInfinite(formula: Formula): boolean {
  const form = normalFormOf(formula);
  return form !== null && /^-?infinity$/.test(formText(form));
}

function differsByCase(a: Formula, b: Formula): boolean {
  const [one, other] = [[...symbolsOf(a)].toSorted().join(), [...symbolsOf(b)].toSorted().join()];
  return one !== other && one.toLowerCase() === other.toLowerCase();
}

/** Where formulas are compared: values that nothing singles out, and whole numbers for letters that often stand for them. */
const SAMPLES = [
  [0.7236, 1.4321, 2.2361, 3.3166, 0.5772],
  [1.2021, 0.9159, 1.7725, 2.6651, 3.1463],
] as const;
const COUNTS = [3, 4, 5, 7, 11] as const;
/** Bases that `\log` may have: a difference must show under each. */
const LOG_BASES: readonly number[] = [10, Math.E];

/**
 * "apart": for each base, enclosures do not touch at some sample. "near": they touch wherever both are known.
 * Symbols are positive there, so that roots have one reading.
 */
function nearnessOf(a: Formula, b: Formula): "apart" | "near" | "unknown" {
  const symbols = [...new Set([...symbolsOf(a), ...symbolsOf(b)])].toSorted();
  let isKnown = false;
  const isApart = LOG_BASES.every((base) =>
    SAMPLES.some((sample) => {
      const values = new Map([["log", base]]);
      for (const [at, symbol] of symbols.entries()) values.set(symbol, sampleOf(symbol, at, sample));
      const [one, other] = [enclose(a, values), enclose(b, values)];
      if (one === null || other === null) return false;
      isKnown = true;
      return areApart(one, other);
    }),
  );
  if (isApart) return "apart";
  return isKnown ? "near" : "unknown";
}

/** Whether every function in it has enclosures: then a formula without a value divides by zero, or worse. */
function isEnclosable(formula: Formula): boolean {
  const isCounted =
    formula.kind === "call" && /^(?:sum|prod|floor|ceil|factorial|binomial)$/.test(formula.name);
  return !isCounted && partsOf(formula).every(isEnclosable);
}

function sampleOf(symbol: string, at: number, sample: readonly number[]): number {
  const cycle = Math.floor(at / sample.length);
  const counts = /^[jklmnpqN]$/.test(symbol) ? COUNTS : sample;
  return (counts[at % counts.length] ?? 1) + cycle;
}

function symbolsOf(formula: Formula): ReadonlySet<string> {
  if (formula.kind === "symbol")
    return new Set(["pi", "e", "i"].includes(formula.name) ? [] : [formula.name]);
  return new Set(partsOf(formula).flatMap((part) => [...symbolsOf(part)]));
}

type Equation = Extract<Answer, { readonly kind: "equation" }>;

/** Equations are the same when the difference of the sides of one is a number times that of the other. */
function compareEquations(reference: Equation, candidate: Equation): Equivalence {
  const [a, b] = [normalFormOf(difference(reference)), normalFormOf(difference(candidate))];
  if (a === null || b === null) return unknown("the equations have no normal form");
  const factor = divide(leadingCoefficient(a.over), leadingCoefficient(b.over));
  const scaled = factor === null ? b : { over: scale(b.over, factor), under: b.under };
  return isSameForm(a, scaled) ? EQUAL : unknown("the equations are not multiples of each other");
}

function difference({ left, right }: Equation): Formula {
  return { kind: "sum", terms: [left, negativeOf(right)] };
}

/** `y = 2x` as an equation; null where the name is no symbol or what it names no formula. */
function asEquation(answer: Answer): Equation | null {
  if (answer.kind === "equation") return answer;
  if (answer.kind !== "named" || answer.value.kind !== "value" || !/^[A-Za-z]$/.test(answer.name))
    return null;
  return { kind: "equation", left: symbolOf(answer.name), right: answer.value.formula };
}

/** What a sum written out comes to: `16` of `8 * 2 = 16`; null when it holds symbols or is wrong. */
function resultOf({ left, right }: Equation): Answer | null {
  const isClosed = symbolsOf(left).size === 0 && compareFormulas(left, right).kind === "equal";
  return isClosed ? { kind: "value", formula: right, unit: "" } : null;
}
