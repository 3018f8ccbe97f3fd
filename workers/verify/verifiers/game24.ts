/**
 * Game of 24: the puzzle's numbers, each once, make 24. The rules are those behind the published grades of
 * "Tree of Thoughts" (Yao et al., 2023): an expression on the last line, after an optional "answer:" and before "=".
 * A candidate whose last line is a step (`10 - 4 = 6 left 5 6 6`) is judged step by step instead.
 */
import type { VerdictResult } from "../../../services/queue/job.ts";
import type { Expression } from "../expression.ts";
import { apply, canonicalText, ExpressionError, numbersOf, parseExpression, valueOf } from "../expression.ts";
import type { Rational } from "../rational.ts";
import { fractionText, isEqual, rational } from "../rational.ts";
import { correct, defineVerifier, incorrect, lastLine, quote, undecided } from "../verifier.ts";
import { parseStep, type Step } from "../game24-step.ts";

const TARGET = rational(24n);
/** Numbers that a puzzle may have. */
const PUZZLE_NUMBERS_MAX = 16;

export const game24 = defineVerifier({
  kind: "game24",
  about:
    "The problem's numbers, each once, make 24 with + - * / and parentheses; an expression or a list of steps.",
  options: {},
  verify({ text, problem }) {
    const numbers = puzzleNumbers(problem.prompt);
    if (numbers === null) {
      return undecided(
        null,
        `expected 2 to ${PUZZLE_NUMBERS_MAX} numbers in the problem's prompt, found ${quote(problem.prompt)}`,
      );
    }
    const last = lastLine(text);
    if (last === "") return incorrect(null, "the candidate is empty");
    return parseStep(last) === null ? verifyExpression(last, numbers) : verifySteps(text, numbers);
  },
});

/**
 * The puzzle's numbers as written: the last two or more whole numbers of one line with nothing but space or commas
 * between them. Null when there are none, or more than a puzzle has.
 */
function puzzleNumbers(prompt: string): readonly string[] | null {
  const runs: string[][] = [];
  for (const line of prompt.split("\n")) {
    let isOpen = false;
    for (const word of line.split(/\s+/)) {
      const [, digits, comma, end] = /^[("[]?(\d{1,9})(,?)([)"\].:;!?]*)$/.exec(word) ?? [];
      if (digits !== undefined && isOpen) runs.at(-1)?.push(digits);
      else if (digits !== undefined) runs.push([digits]);
      isOpen = digits !== undefined && (end === "" || comma !== "");
    }
  }
  const numbers = runs.findLast((run) => run.length > 1);
  return numbers === undefined || numbers.length > PUZZLE_NUMBERS_MAX ? null : numbers;
}

function verifyExpression(line: string, numbers: readonly string[]): VerdictResult {
  const written =
    line
      .replace(/^answer:/i, "")
      .split("=", 1)[0]
      ?.trim() ?? "";
  if (written === "") return incorrect(null, `expected an expression on the last line, found ${quote(line)}`);
  let expression: Expression;
  try {
    expression = parseExpression(written);
  } catch (error) {
    if (error instanceof ExpressionError) return incorrect(null, `${error.message} in ${quote(written)}`);
    throw error;
  }
  const answer = canonicalText(expression);
  const used = numbersOf(expression);
  if (inOrder(used) !== inOrder(numbers)) {
    return incorrect(
      answer,
      `expected the numbers ${numbers.join(" ")} each once, found ${quote(used.join(" "))}`,
    );
  }
  const value = valueOf(expression);
  if (value === null) return incorrect(answer, `${quote(written)} divides by zero`);
  if (isEqual(value, TARGET)) return correct(answer);
  return incorrect(answer, `expected the value 24, found ${fractionText(value)}`);
}

/** A number that is left, and the expression that made it. */
interface Left {
  readonly value: Rational;
  readonly expression: Expression;
}

function verifySteps(text: string, numbers: readonly string[]): VerdictResult {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (/^steps:?$/i.test(lines[0] ?? "")) lines.shift();
  if (lines.length !== numbers.length - 1) {
    return incorrect(
      null,
      `expected ${numbers.length - 1} steps for ${numbers.length} numbers, found ${lines.length}`,
    );
  }
  let left: readonly Left[] = numbers.map((digits) => ({
    value: rational(BigInt(digits)),
    expression: { kind: "number", digits },
  }));
  for (const [index, line] of lines.entries()) {
    const step = parseStep(line);
    const name = `step ${index + 1}`;
    if (step === null) return incorrect(null, `${name}: expected "a + b = c left d", found ${quote(line)}`);
    const after = take(left, step);
    if (typeof after === "string") return incorrect(null, `${name}: ${after}`);
    left = after;
  }
  const end = left[0];
  if (end === undefined) return incorrect(null, "no number is left");
  const answer = canonicalText(end.expression);
  return isEqual(end.value, TARGET)
    ? correct(answer)
    : incorrect(answer, `expected the last step to leave 24, found ${fractionText(end.value)}`);
}

/** What is left after a step; a text saying what is wrong with it otherwise. */
function take(left: readonly Left[], step: Step): readonly Left[] | string {
  const first = left.findIndex((item) => isEqual(item.value, step.a));
  const second = left.findIndex((item, index) => index !== first && isEqual(item.value, step.b));
  const a = left[first];
  const b = left[second];
  if (a === undefined || b === undefined) {
    const wanted = `${fractionText(step.a)} and ${fractionText(step.b)}`;
    return `expected two of the numbers ${textOf(left.map((item) => item.value))}, found ${wanted}`;
  }
  const value = apply(step.operator, a.value, b.value);
  if (value === null) return "it divides by zero";
  if (!isEqual(value, step.result))
    return `expected the result ${fractionText(value)}, found ${fractionText(step.result)}`;
  const made: Left = {
    value,
    expression: { kind: "binary", operator: step.operator, left: a.expression, right: b.expression },
  };
  // Of two equal numbers a later step takes the one that was given: the made one stands last.
  const after = [...left.filter((_, index) => index !== first && index !== second), made];
  const expected = textOf(after.map((item) => item.value));
  const found = textOf(step.left);
  return expected === found ? after : `expected ${expected} left, found ${found}`;
}

/** Numbers in an order of their own, so that equal multisets are equal texts. */
function textOf(values: readonly Rational[]): string {
  return inOrder(values.map(fractionText));
}

function inOrder(numbers: readonly string[]): string {
  return numbers.toSorted((a, b) => a.length - b.length || (a < b ? -1 : Number(a > b))).join(" ");
}
