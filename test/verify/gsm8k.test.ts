import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { math } from "../../workers/verify/verifiers/math.ts";
import { numeric } from "../../workers/verify/verifiers/numeric.ts";
import { judgeExample } from "../conformance/verifier.ts";

interface WordProblem {
  readonly answer: string;
}

const words = new URL("../../../shared/data/gsm8k/test.jsonl", import.meta.url);
const hasWords = existsSync(words);
const answers = hasWords
  ? readFileSync(words, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as WordProblem).answer)
  : [];
const references = answers.map((answer) => answer.slice(answer.lastIndexOf("####") + 4).trim());

/** `1234567` as `1,234,567`. */
function grouped(digits: string): string {
  const [whole = "", places] = digits.split(".");
  const commas = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return places === undefined ? commas : `${commas}.${places}`;
}

/** Usual spellings of the number with these digits. */
const SPELLINGS: Readonly<Record<string, (digits: string) => string>> = {
  plain: (digits) => digits,
  "grouped by commas": grouped,
  "in dollars": (digits) => `$${grouped(digits)}`,
  boxed: (digits) => `We find \\boxed{${digits}}.`,
  "boxed in dollars": (digits) => `\\boxed{\\$${grouped(digits).replaceAll(",", "{,}")}}`,
  "in mathematics": (digits) => `The result is $${digits}$.`,
  "after the phrase": (digits) => `It took 12 steps.\nThe answer is ${digits}.`,
  "in bold after the word": (digits) => `Answer: **${grouped(digits)}**`,
  "after hashes": (digits) => `7 + 5 = 12\n#### ${grouped(digits)}`,
  "with cents": (digits) => (digits.includes(".") ? digits : `${digits}.00`),
  "with a unit": (digits) => `${digits} eggs`,
  "boxed with a unit": (digits) => `\\boxed{${digits}\\text{ miles}}`,
  "with a percent sign": (digits) => `${digits}%`,
  "in a sentence": (digits) => `Out of 1000, she thus pays $${grouped(digits)}.`,
  "after a name": (digits) => `x = ${digits}`,
};

function digitsOf(reference: string): string {
  return reference.replaceAll(",", "");
}

/** Numbers that are near the one with these digits and are not it. */
const MISSES: Readonly<Record<string, (digits: string, index: number) => string>> = {
  "one more": (digits) => String(Number(digits) + 1),
  "one less": (digits) => String(Number(digits) - 1),
  "of the other sign": (digits) => (digits.startsWith("-") ? digits.slice(1) : `-${digits}`),
  "ten times as large": (digits) => String(Number(digits) * 10),
  "a digit more": (digits) => `${digits}1`,
  "a hundredth more": (digits) => `${digits.includes(".") ? digits : `${digits}.`}01`,
  "with its first digits swapped": (digits) => digits.replace(/(\d)(\d)/, "$2$1"),
  "of the next problem": (_, index) => digitsOf(references[(index + 1) % references.length] ?? ""),
};

describe.skipIf(!hasWords)("the 1,319 references of GSM8K (skipped: ../shared/data/gsm8k is absent)", () => {
  test("are all there", () => {
    expect(references).toHaveLength(1_319);
    expect(references.every((reference) => /^-?[\d,]+(?:\.\d+)?$/.test(reference))).toBe(true);
  });

  for (const verifier of [numeric, math]) {
    const isFound = (text: string, reference: string): boolean =>
      judgeExample(verifier, { text, reference }).verdict === "correct";

    test(`are found correct by ${verifier.kind} in their published solutions`, () => {
      expect(answers.filter((text, index) => !isFound(text, references[index] ?? ""))).toEqual([]);
      expect(answers.filter((text, index) => !isFound(references[index] ?? "", text))).toEqual([]);
    });

    test.each(Object.entries(SPELLINGS))(`are found correct by ${verifier.kind}: %s`, (_, spell) => {
      expect(references.filter((reference) => !isFound(spell(digitsOf(reference)), reference))).toEqual([]);
    });

    test.each(Object.entries(MISSES))(`are not met for ${verifier.kind} by the number %s`, (_, miss) => {
      const misses = references
        .map((reference, index) => ({ reference, text: miss(digitsOf(reference), index) }))
        .filter(({ reference, text }) => Number(text) !== Number(digitsOf(reference)));
      expect(misses.length).toBeGreaterThan(700);
      for (const wrap of [
        (text: string) => text,
        (text: string) => `#### ${text}`,
        (text: string) => `\\boxed{${text}}`,
      ]) {
        const found = misses.map(({ reference, text }) =>
          judgeExample(verifier, { text: wrap(text), reference }),
        );
        expect(found.filter(({ verdict }) => verdict !== "incorrect")).toEqual([]);
      }
    });
  }
});
