import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { numeric } from "../../workers/verify/verifiers/numeric.ts";
import { describeVerifier, judgeExample } from "../conformance/verifier.ts";

describeVerifier(numeric, {
  problem: { reference: "1234567" },
  correct: [
    { reference: "18", text: "The answer is 18.", answer: "18" },
    { reference: "18", text: "It is 17. No:\n#### 18\nThat took 5 minutes.", answer: "18" },
    { reference: "18", text: "#### $18.00 per day" },
    { reference: "18", text: "#### 17, no, 18", options: { extract: "last-number" } },
    { reference: "70000", text: "He made $70,000", answer: "70000" },
    { reference: "70,000", text: "70000 dollars" },
    { reference: "$1,234.50", text: "a total of 1234.5", answer: "1234.5" },
    { reference: "-3", text: "x = -3", answer: "-3" },
    { reference: "-3", text: "it is \u22123" },
    { reference: "-3", text: "-$3" },
    { reference: "-3", text: "$-3" },
    { reference: "3", text: "8-5 = 10-7, thus 3" },
    { reference: "0.5", text: "1/2", answer: "0.5" },
    { reference: "2/3", text: "\\boxed{\\frac{4}{6}}", answer: "2/3" },
    { reference: "2/3", text: "4 / 6" },
    { reference: "1.5", text: "1 1/2 cups", answer: "1.5" },
    { reference: "1.5", text: "1\\frac{1}{2}" },
    { reference: "-0.75", text: "-\\dfrac{3}{4}", answer: "-0.75" },
    { reference: "-0.75", text: "\\frac{-3}{4}" },
    { reference: "300000", text: "about 3e5 metres", answer: "300000" },
    { reference: "300000", text: "3 \\times 10^{5}" },
    { reference: "300000", text: "3 \u00d7 10^5" },
    { reference: "0.0003", text: "3.0E-4", answer: "0.0003" },
    { reference: "50", text: "50%" },
    { reference: "50", text: "50\\%" },
    { reference: "0.5", text: "50 %", options: { percent: "fraction" } },
    { reference: "50%", text: "1/2", options: { percent: "fraction" } },
    { reference: "5", text: "so $\\boxed{x = 5}$ and 7 is not", answer: "5" },
    { reference: "5", text: "\\boxed{5\\text{ cm}}" },
    { reference: "90", text: "\\boxed{90^\\circ}" },
    { reference: "1234", text: "\\boxed{\\$1{,}234}" },
    { reference: "7", text: "\\boxed{6} or rather \\boxed{7}" },
    { reference: "0", text: "-0.0", answer: "0" },
    { reference: "18", text: "\u7b54\u6848\u662f18\u5143" },
    { reference: "5", text: "3,4,5" },
    { reference: "5", text: "The answer is.5", options: { tolerance_absolute: 4.5 } },
    { reference: "3.14159", text: "3.1416", options: { tolerance_relative: 1e-5 } },
    { reference: "100", text: "101", options: { tolerance_relative: 0.01 } },
    { reference: "100", text: "99.5", options: { tolerance_absolute: 0.5 } },
    { reference: "They sell 2*9=<<2*9=18>>18\n#### 18", text: "18" },
    { reference: "12345678901234567890123", text: "12,345,678,901,234,567,890,123" },
  ],
  incorrect: [
    { reference: "18", text: "19", answer: "19", reason: 'expected "18", found "19"' },
    { reference: "18", text: "-18" },
    { reference: "18", text: "18.01" },
    { reference: "18", text: "180" },
    { reference: "18", text: "1.8e2" },
    { reference: "18", text: "18 eggs, of which 3 are left", answer: "3" },
    {
      reference: "18",
      text: "eighteen",
      reason: 'expected a number, found none; the last line is "eighteen"',
    },
    { reference: "18", text: "the 18th", options: { extract: "hashes" }, reason: "found no ####" },
    { reference: "18", text: "18", options: { extract: "boxed" }, reason: "found no \\boxed{}" },
    { reference: "18", text: "18\n####", reason: "expected a number after ####" },
    { reference: "2", text: "x2", reason: "expected a number, found none" },
    { reference: "3", text: "\\boxed{2\\sqrt{3}}", reason: "expected one number in \\boxed{}" },
    { reference: "3", text: "\\boxed{\\sqrt{3}}", reason: "expected one number" },
    { reference: "5", text: "\\boxed{5\\pi}" },
    { reference: "5", text: "\\boxed{5x}" },
    { reference: "5", text: "\\boxed{2, 5}" },
    { reference: "5", text: "\\boxed{5", reason: "expected a \\boxed{} that ends" },
    { reference: "1.5", text: "1/2" },
    { reference: "0.5", text: "1 1/2", answer: "1.5" },
    { reference: "0.333", text: "1/3" },
    { reference: "0.5", text: "50%" },
    { reference: "50", text: "50%", options: { percent: "fraction" } },
    { reference: "5", text: "5/0", reason: "divides by zero" },
    { reference: "1", text: "1e401", reason: 'the exponent of "1e401" is beyond 400' },
    { reference: "1", text: "1".repeat(401), reason: "is longer than 400 characters" },
    { reference: "100", text: "102", options: { tolerance_relative: 0.01 } },
    { reference: "100", text: "99.4", options: { tolerance_absolute: 0.5 } },
    { reference: "9007199254740993", text: "9007199254740992" },
    { reference: "1234", text: "1,23,4" },
    { reference: "18", text: "1.2.18" },
  ],
  undecided: [
    { reference: null, text: "It is 18.", answer: "18", reason: "the problem has no reference" },
    { reference: null, text: "none", answer: null, reason: "no reference" },
    {
      reference: "many",
      text: "18",
      answer: "18",
      reason: 'expected a number in the reference, found "many"',
    },
  ],
});

test("a place or a tolerance that is not one is refused", () => {
  const judged = (options: Readonly<Record<string, unknown>>) => () =>
    judgeExample(numeric, { text: "1", reference: "1", options });
  expect(judged({ extract: "first" })).toThrow(
    'extract must be one of auto, hashes, boxed, last-number, found "\\"first\\""',
  );
  expect(judged({ tolerance_absolute: -1 })).toThrow("tolerance_absolute must be a number from 0");
});

interface WordProblem {
  readonly answer: string;
}

const words = new URL("../../../shared/data/gsm8k/test.jsonl", import.meta.url);

describe.skipIf(!existsSync(words))("the 1,319 references of GSM8K (skipped without the data)", () => {
  const answers = existsSync(words)
    ? readFileSync(words, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as WordProblem).answer)
    : [];
  const references = answers.map((answer) => answer.slice(answer.lastIndexOf("####") + 4).trim());
  const grouped = (digits: string): string => digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");

  /** The spellings that are not found correct. */
  function missed(spell: (digits: string) => string): readonly string[] {
    return references.filter((reference) => {
      const text = spell(reference.replaceAll(",", ""));
      return judgeExample(numeric, { text, reference }).verdict !== "correct";
    });
  }

  test("verify themselves in every spelling", () => {
    expect(references).toHaveLength(1_319);
    expect(
      answers.filter(
        (text, i) => judgeExample(numeric, { text, reference: references[i] ?? null }).verdict !== "correct",
      ),
    ).toEqual([]);
    expect(missed((digits) => `#### ${grouped(digits)}`)).toEqual([]);
    expect(missed((digits) => `She pays $${grouped(digits)}.`)).toEqual([]);
    expect(
      missed((digits) => `The answer is \\boxed{\\$${grouped(digits).replaceAll(",", "{,}")}}.`),
    ).toEqual([]);
    expect(missed((digits) => (digits.includes(".") ? digits : `${digits}.00`))).toEqual([]);
  });

  test("do not verify near misses", () => {
    const misses = [
      (d: string) => `${d}1`,
      (d: string) => `${d.includes(".") ? d : `${d}.`}01`,
      (d: string) => `#### ${Number(d) + 1}`,
    ];
    for (const spell of misses) expect(missed(spell)).toHaveLength(1_319);
  });
});
