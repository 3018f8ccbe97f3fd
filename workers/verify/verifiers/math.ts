/**
 * Equivalence of mathematical answers: by spelling, by exact arithmetic and a normal form, at last by a computer algebra
 * system. It is undecided rather than wrong: "correct" is proven, "incorrect" is too, or the answer cannot be read.
 */
import type { VerdictResult } from "../../../services/queue/job.ts";
import { answerKey } from "../answer-key.ts";
import { type Answer, isGroupedNumber, parseAnswer } from "../math/answer.ts";
import { extractAnswer, PLACES, referenceText } from "../math/answer-extraction.ts";
import { answerText } from "../math/answer-text.ts";
import { compareAnswers } from "../math/equivalence.ts";
import { ANSWER_CHARS_MAX, AnswerError } from "../math/formula.ts";
import { bareSpelling } from "../math/spelling.ts";
import { correct, defineVerifier, incorrect, quote, undecided } from "../verifier.ts";

export const math = defineVerifier({
  kind: "math",
  about:
    "The candidate's answer is mathematically the reference; undecided where neither that nor its opposite is proven.",
  options: {
    extract: {
      type: "choice",
      default: "auto",
      choices: PLACES,
      about:
        'Where the answer stands: in the last \\boxed{}, after the last ####, after "the answer is" (phrase), on the last line, or the last number; auto takes the first of the first four that is there.',
    },
  },
  verify({ text, problem }, { extract }) {
    const found = extractAnswer(text, extract);
    const candidate = found.kind === "answer" ? read(found.text) : null;
    const key = found.kind === "answer" && candidate !== null ? keyFor(found.text, candidate) : null;
    if (problem.reference === null) return undecided(key, "the problem has no reference");
    if (problem.reference.trim() === "") return undecided(key, "the problem's reference is empty");
    if (found.kind === "none" || candidate === null) {
      return incorrect(null, found.kind === "none" ? found.reason : "the answer is empty");
    }
    return compare(referenceText(problem.reference), found.text, candidate, key);
  },
});

function compare(expected: string, found: string, candidate: Reading, key: string | null): VerdictResult {
  if (found === expected) return correct(key);
  if (found.length > ANSWER_CHARS_MAX) {
    return incorrect(key, `the answer is longer than ${ANSWER_CHARS_MAX} characters`);
  }
  if (bareSpelling(found) === bareSpelling(expected)) return correct(key);
  const reference = read(expected);
  if (reference instanceof AnswerError) {
    return undecided(key, `the reference ${quote(expected)} cannot be read: ${reference.message}`);
  }
  if (candidate instanceof AnswerError) {
    const isItsFault = candidate.fault === "malformed" || candidate.fault === "limit";
    const reason = `the answer ${quote(found)} cannot be read: ${candidate.message}`;
    return isItsFault ? incorrect(key, reason) : undecided(key, reason);
  }
  const equivalence = compareAnswers(reference, candidate);
  const what = `expected ${quote(expected)}, found ${quote(found)}`;
  switch (equivalence.kind) {
    case "equal":
      return correct(key);
    case "different":
      return isGroupedNumber(found) !== isGroupedNumber(expected) && reference.kind !== candidate.kind
        ? undecided(key, `${what}: commas may group thousands or part elements`)
        : incorrect(key, what);
    case "unknown":
      return undecided(key, `${what}: ${equivalence.reason}`);
  }
}

type Reading = Answer | AnswerError;

function read(text: string): Reading {
  if (text.length > ANSWER_CHARS_MAX) {
    return new AnswerError("limit", `the answer is longer than ${ANSWER_CHARS_MAX} characters`);
  }
  try {
    return parseAnswer(text);
  } catch (error) {
    if (error instanceof AnswerError) return error;
    throw error;
  }
}

function keyFor(text: string, reading: Reading): string {
  const canonical = reading instanceof AnswerError ? null : answerText(reading);
  return answerKey(canonical ?? bareSpelling(text));
}
