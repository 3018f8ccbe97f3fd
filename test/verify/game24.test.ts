import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { game24 } from "../../workers/verify/verifiers/game24.ts";
import { describeVerifier, judgeExample } from "../conformance/verifier.ts";

const prompt = "4 5 6 10";

describeVerifier(game24, {
  problem: { prompt },
  correct: [
    { prompt, text: "Answer: (5 * 4) + (10 - 6) = 24", answer: "10 + 4 * 5 - 6" },
    { prompt, text: "10-6+4*5", answer: "10 + 4 * 5 - 6" },
    { prompt, text: "ANSWER:4*5-6+10=24", answer: "10 + 4 * 5 - 6" },
    { prompt, text: "Steps:\nanything at all\nanswer: 4*5 - (6 - 10) = 25\n\n" },
    { prompt, text: "-(6 - 10) + 5*4" },
    { prompt: "4 5 6 10\n", text: "4*5+10-6" },
    { prompt: "Use 4 5 6 10 to make 24.\nAnswer:", text: "4*5+10-6" },
    { prompt: "Make 24 of the numbers 4 5 6 10.", text: "4*5+10-6" },
    { prompt: "Numbers (4, 5, 6, 10):\n", text: "4*5+10-6" },
    { prompt: "1 1 4 6\n1 * 4 = 4 left 1 4 6\n\n4 5 6 10\r\n", text: "4*5+10-6" },
    { prompt: "3 3 8 8", text: "8 / (3 - 8 / 3) = 24" },
    {
      prompt,
      text: "10 - 6 = 4 left 4 4 5\n4 * 5 = 20 left 4 20\n20 + 4 = 24 left 24",
      answer: "10 + 4 * 5 - 6",
    },
    { prompt, text: "10 - 6 = 4 (left: 4 4 5)\n4 * 5 = 20 (left: 4 20)\n4 + 20 = 24 (left: 24)\n" },
    { prompt, text: "Steps:\n10-6=4 left: 5 4 4\r\n\r\n4*5 = 20 left: 20 4\r\n4 + 20 = 24 left: 24\r\n" },
    { prompt: "3 3 8 8", text: "8 / 3 = 8/3 left 3 8 8/3\n3 - 8/3 = 1/3 left 8 1/3\n8 / 1/3 = 24 left 24" },
    { prompt: "2 4 6 12", text: "2 - 4 = -2 left -2 6 12\n-2 * 6 = -12 left -12 12\n12 - -12 = 24 left 24" },
    {
      prompt: "4 5 6 10",
      text: "5 / 4 = 1.25 left 6 10 1.25\n1.25 * 10 = 12.5 left 6 12.5\n6 + 12.5 = 18.5 left 18.5\nAnswer: 4 * 5 + 10 - 6",
    },
  ],
  incorrect: [
    {
      prompt,
      text: "(4 * 5) + 6 - 10 = 24",
      reason: "expected the value 24, found 16",
      answer: "6 + 4 * 5 - 10",
    },
    { prompt, text: "4 * 6 = 24", reason: 'each once, found "4 6"' },
    { prompt, text: "4*5+10-6+4-4", reason: "expected the numbers 4 5 6 10 each once" },
    { prompt, text: "4 * 5 + (10 - 6", reason: 'expected an operator or ")" at character 16, found the end' },
    { prompt, text: "4 5 6 10", reason: 'expected an operator or the end at character 3, found "5"' },
    { prompt, text: "4 \u00d7 5 + 10 - 6", reason: 'found "\u00d7"' },
    { prompt, text: "4 ** 5 + 10 - 6", reason: 'found "*"' },
    { prompt, text: "04 * 5 + 10 - 6", reason: "each once" },
    { prompt, text: "4.0 * 5 + 10 - 6", reason: 'found "."' },
    { prompt, text: "\uff14 * 5 + 10 - 6", reason: 'found "\uff14"' },
    { prompt, text: "Answer: None", reason: 'found "N"' },
    { prompt, text: "Answer: = 24", reason: "expected an expression on the last line" },
    { prompt: "1 1 1 24", text: "24 / (1 - 1) * 1", reason: "divides by zero" },
    { prompt, text: `${"(".repeat(70)}4*5+10-6${")".repeat(70)}`, reason: "nested deeper than 64 levels" },
    {
      prompt,
      text: `${"(".repeat(10_000)}24${")".repeat(10_000)}`,
      reason: "the expression is longer than 400 characters",
    },
    {
      prompt,
      text: "10 - 6 = 4 left 4 4 5\n4 * 5 = 20 left 4 20",
      reason: "expected 3 steps for 4 numbers, found 2",
    },
    {
      prompt,
      text: "10 - 6 = 4 left 4 4 5\n4 * 5 = 20 left 4 20\n20 - 4 = 16 left 16",
      reason: "expected the last step to leave 24, found 16",
    },
    {
      prompt,
      text: "10 - 6 = 5 left 4 5 5\n4 * 5 = 20 left 5 20\n20 + 5 = 25 left 25",
      reason: "step 1: expected the result 4, found 5",
    },
    {
      prompt,
      text: "10 - 7 = 3 left 3 4 5\n4 * 5 = 20 left 3 20\n20 + 3 = 23 left 23",
      reason: "step 1: expected two of the numbers 4 5 6 10, found 10 and 7",
    },
    {
      prompt,
      text: "5 + 5 = 10 left 4 6 10\n4 * 6 = 24 left 10 24\n24 - 10 = 14 left 14",
      reason: "step 1: expected two of the numbers",
    },
    {
      prompt,
      text: "10 - 6 = 4 left 4 4 6\n4 * 6 = 24 left 4 24\n24 + 4 = 28 left 24",
      reason: "step 1: expected 4 4 5 left, found 4 4 6",
    },
    {
      prompt,
      text: "10 - 6 = 4 left 4 5\n4 * 5 = 20 left 20\n20 + 4 = 24 left 24",
      reason: "step 1: expected 4 4 5 left, found 4 5",
    },
    {
      prompt,
      text: "so 10 - 6 = 4 left 4 4 5\n4 * 5 = 20 left 4 20\n4 + 20 = 24 left 24",
      reason: 'step 1: expected "a + b = c left d"',
    },
    {
      prompt: "1 1 4 6",
      text: "1 - 1 = 0 left 0 4 6\n4 / 0 = 24 left 6 24\n24 - 6 = 18 left 18",
      reason: "step 2: it divides by zero",
    },
    {
      prompt: "2 5 8 11",
      text: "11 / 5 = 2.2 left 2 8 2.2\n8 / 2.2 = 3.636 left 2 3.636\n2 * 3.636 = 7.272 left 7.272",
      reason: "step 2: expected the result 40/11",
    },
  ],
  undecided: [
    { prompt: "Make 24.", text: "24", reason: "expected 2 to 16 numbers in the problem's prompt" },
    { prompt: "x4 5y 6.5 10-11", text: "4*6", reason: "expected 2 to 16 numbers" },
    { prompt: "", text: "4*6", reason: "expected 2 to 16 numbers" },
    { prompt: "1 ".repeat(100), text: "4*6", reason: "expected 2 to 16 numbers" },
  ],
});

describe("one answer key", () => {
  const key = (text: string): string | null => judgeExample(game24, { prompt, text }).answer;

  test("for expressions that differ in order, parentheses, spacing and minus only", () => {
    const texts = [
      "4*5+10-6",
      "10 - 6 + 5 * 4",
      "((5)*(4)) - (6 - 10)",
      "-(6 - (10 + 4*5))",
      "10 - -4*5 - 6",
    ];
    expect(new Set(texts.map(key))).toEqual(new Set(["10 + 4 * 5 - 6"]));
    expect(key("4/(5/6)*10")).toBe(key("4*6*10/5"));
    expect(key("-4*-5*6*10")).toBe("4 * 5 * 6 * 10");
  });

  test("for each other expression", () => {
    const texts = ["4*5+10-6", "(4*5+10)*6", "4*(5+10)-6", "4-5-6-10", "4/5/6/10", "4*5/(6-10)"];
    expect(new Set(texts.map(key)).size).toBe(texts.length);
    expect(key("4*5/(6-10)")).toBe("4 * 5 / (6 - 10)");
    expect(key("4-5-6-10")).toBe("4 - 5 - 6 - 10");
  });
});

interface ChainRecord {
  readonly prompt: string;
  readonly text: string;
  readonly graded: 0 | 1;
}

interface TreeRecord {
  readonly prompt: string;
  readonly answers: readonly string[];
  readonly graded: readonly (0 | 1)[];
}

describe("the published grades of Game of 24", () => {
  const chains = new URL("../../../shared/data/game24/gpt4-cot-100.records.jsonl", import.meta.url);
  const trees = new URL("../../../shared/data/game24/gpt4-tot-bfs.trace.jsonl", import.meta.url);

  function recordsOf<T>(url: URL): readonly T[] {
    return readFileSync(url, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as T); // The data's own form.
  }

  test.skipIf(!existsSync(chains))(
    "agree on all 10,000 chains of thought, 403 of them correct (skipped without the data)",
    () => {
      let correct = 0;
      const disagreed: ChainRecord[] = [];
      const records = recordsOf<ChainRecord>(chains);
      for (const record of records) {
        const isCorrect = judgeExample(game24, record).verdict === "correct";
        if (isCorrect) correct += 1;
        if (isCorrect !== (record.graded === 1)) disagreed.push(record);
      }
      expect(disagreed).toEqual([]);
      expect({ correct, of: records.length }).toEqual({ correct: 403, of: 10_000 });
    },
  );

  test.skipIf(!existsSync(trees))(
    "agree on all 500 answers of the tree search, 119 of them correct (skipped without the data)",
    () => {
      const verdicts = recordsOf<TreeRecord>(trees).flatMap(({ prompt: puzzle, answers, graded }) =>
        answers.map((text, index) => ({
          verdict: judgeExample(game24, { prompt: puzzle, text }).verdict,
          graded: graded[index],
        })),
      );
      expect(verdicts.filter(({ verdict, graded }) => (verdict === "correct") !== (graded === 1))).toEqual(
        [],
      );
      expect(verdicts.filter(({ verdict }) => verdict === "correct")).toHaveLength(119);
      expect(verdicts).toHaveLength(500);
    },
  );
});
