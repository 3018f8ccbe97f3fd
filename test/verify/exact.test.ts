import { expect, test } from "vitest";
import { exact } from "../../workers/verify/verifiers/exact.ts";
import { describeVerifier, judgeExample } from "../conformance/verifier.ts";

const pattern = String.raw`^Answer: (.*)$`;

describeVerifier(exact, {
  problem: { reference: "Paris" },
  correct: [
    { reference: "Paris", text: "Paris", answer: "Paris" },
    { reference: " Paris\n", text: "\n  Paris \n", answer: "Paris" },
    { reference: "caf\u00e9", text: "cafe\u0301", answer: "caf\u00e9" },
    { reference: "PARIS", text: "paris", options: { ignore_case: true }, answer: "paris" },
    { reference: "a b", text: "a \n\t b", options: { ignore_space: true }, answer: "a b" },
    { reference: "Paris", text: "I think:\nParis\n\n", options: { extract: "last-line" }, answer: "Paris" },
    {
      reference: "B",
      text: "Answer: A\nno\nAnswer: B\n.",
      options: { extract: "pattern", pattern },
      answer: "B",
    },
    { reference: "B", text: "A or B", options: { extract: "pattern", pattern: "[A-D]" }, answer: "B" },
    { reference: "\u{1f600}", text: "\u{1f600}" },
  ],
  incorrect: [
    { reference: "Paris", text: "paris", answer: "paris", reason: 'expected "Paris", found "paris"' },
    { reference: "Paris", text: "Paris.", answer: "Paris." },
    { reference: "a b", text: "a  b" },
    {
      reference: "B",
      text: "B",
      options: { extract: "pattern", pattern },
      answer: null,
      reason: 'expected a match of "^Answer: (.*)$"',
    },
    {
      reference: "B",
      text: "Answer:  ",
      options: { extract: "pattern", pattern },
      answer: null,
      reason: "empty",
    },
  ],
  undecided: [
    { reference: null, text: " Paris ", answer: "Paris", reason: "the problem has no reference" },
    { reference: null, text: "Answer: C", options: { extract: "pattern", pattern }, answer: "C" },
  ],
});

test("a pattern without its option, an option without its pattern and a pattern that is none are refused", () => {
  const judged = (options: Readonly<Record<string, unknown>>) => () =>
    judgeExample(exact, { text: "x", reference: "x", options });
  expect(judged({ pattern: "x" })).toThrow("expected extract: pattern and a pattern together");
  expect(judged({ extract: "pattern" })).toThrow("expected extract: pattern and a pattern together");
  expect(judged({ extract: "pattern", pattern: "(" })).toThrow("pattern must be a regular expression");
  expect(judged({ ignore_case: "yes" })).toThrow("ignore_case must be true or false");
});

test("a long answer's key is short, and differs where the answers differ", () => {
  const keys = ["a", "b"].map(
    (end) => judgeExample(exact, { text: "x".repeat(5_000) + end, reference: "y" }).answer,
  );
  expect(keys[0]).toHaveLength(64 + "... sha256:".length + 32);
  expect(keys[0]).not.toBe(keys[1]);
});
