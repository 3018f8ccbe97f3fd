/** What every verifier must do, whatever it verifies. Call it once per kind, with its own examples. */
import { describe, expect, test } from "vitest";
import type { ProblemData, VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import { judge, quote, type Verifier } from "../../workers/verify/verifier.ts";

export interface VerifierExample {
  readonly text: string;
  readonly prompt?: string;
  readonly reference?: string | null;
  /** Options beside `kind`. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** What the answer key must be, where the example says. */
  readonly answer?: string | null;
  /** What the reason must contain, where the example says. */
  readonly reason?: string;
}

export interface VerifierExamples {
  readonly correct: readonly VerifierExample[];
  readonly incorrect: readonly VerifierExample[];
  readonly undecided: readonly VerifierExample[];
  /** A problem for texts that are hostile, empty or strange. */
  readonly problem: Pick<VerifierExample, "prompt" | "reference">;
  /** Names of hostile texts that this kind reads and cannot decide; every other one is incorrect. */
  readonly undecidedTexts?: readonly string[];
}

/** Longest that one verification of any text may take on a busy machine, in milliseconds. */
const HOSTILE_MS_MAX = 2_000;

export function judgeExample(verifier: Verifier, example: VerifierExample): VerdictResult {
  const prompt = example.prompt ?? "";
  const problem: ProblemData = {
    id: "p-1",
    prompt,
    reference: example.reference ?? null,
    tests: null,
    metadata: {},
  };
  const spec: VerifierSpec = { kind: verifier.kind, ...example.options };
  return judge(verifier, spec, { prompt, text: example.text, problem });
}

export function describeVerifier(verifier: Verifier, examples: VerifierExamples): void {
  describe(`the ${verifier.kind} verifier`, () => {
    for (const verdict of ["correct", "incorrect", "undecided"] as const) {
      for (const example of examples[verdict]) {
        const { text, prompt, reference, options } = example;
        const given = JSON.stringify({ prompt, reference, ...options });
        test(`finds ${quote(text)} ${verdict} for ${given.slice(0, 120)}`, () => {
          const found = judgeExample(verifier, example);
          expect(found).toMatchObject({ kind: "verdict", verdict });
          expectWhole(found);
          if (example.answer !== undefined) expect(found.answer).toBe(example.answer);
          if (example.reason !== undefined) expect(found.reason).toContain(example.reason);
          expect(judgeExample(verifier, example)).toEqual(found);
        });
      }
    }

    test("finds an empty or blank candidate incorrect, with a reason and without an answer", () => {
      for (const text of ["", " \n\t\r\n "]) {
        const found = judgeExample(verifier, { ...examples.problem, text });
        expect(found).toMatchObject({ verdict: "incorrect", answer: null });
        expect(found.reason).toContain("empty");
      }
    });

    for (const [name, text] of Object.entries(STRANGE_TEXTS)) {
      test(`gives a whole verdict on ${name}`, () => {
        const found = judgeExample(verifier, { ...examples.problem, text });
        expect(found.verdict).toBe("incorrect");
        expectWhole(found);
      });
    }

    for (const [name, text] of Object.entries(HOSTILE_TEXTS)) {
      test(`ends soon and in little memory on ${name}`, () => {
        const startedMs = performance.now();
        const found = judgeExample(verifier, { ...examples.problem, text });
        expect(performance.now() - startedMs).toBeLessThan(HOSTILE_MS_MAX);
        const isUndecided = examples.undecidedTexts?.includes(name) ?? false;
        expect(found.verdict).toBe(isUndecided ? "undecided" : "incorrect");
        expectWhole(found);
      });
    }

    test("says of a candidate that is too long how long it may be", () => {
      const found = judgeExample(verifier, { ...examples.problem, text: "24 ".repeat(350_000) });
      expect(found).toMatchObject({ verdict: "incorrect", answer: null });
      expect(found.reason).toBe("the candidate is longer than 262144 characters");
      const short = judgeExample(verifier, {
        ...examples.problem,
        text: "24 24",
        options: { text_chars_max: 4 },
      });
      expect(short.reason).toBe("the candidate is longer than 4 characters");
    });

    test("refuses an option that it does not have or whose value is wrong", () => {
      const withOption = (options: Readonly<Record<string, unknown>>) => () =>
        judgeExample(verifier, { ...examples.problem, text: "24", options });
      expect(withOption({ timeot_ms: 3 })).toThrow(`verifier ${verifier.kind}: unknown option "timeot_ms"`);
      expect(withOption({ timeout_ms: 0 })).toThrow(
        'timeout_ms must be a whole number from 1 to 600000, found "0"',
      );
      expect(withOption({ timeout_ms: "5" })).toThrow("timeout_ms must be a whole number");
    });
  });
}

/** A verdict, its score and its reason agree, and neither reason nor answer carries a whole hostile text along. */
function expectWhole(found: VerdictResult): void {
  const score = { correct: 1, incorrect: 0, undecided: null }[found.verdict];
  expect(found.score).toBe(score);
  if (found.verdict === "correct") expect(found.reason).toBeNull();
  else expect(found.reason).toMatch(/\S/);
  expect((found.reason ?? "").length).toBeLessThan(1_000);
  expect((found.answer ?? "").length).toBeLessThan(2_000);
}

export const STRANGE_TEXTS: Readonly<Record<string, string>> = {
  "emoji and other scripts": "\u{1f600} \u7b54\u6848 \u0627\u0644\u062c\u0648\u0627\u0628 \u0661\u0662",
  "a lone surrogate": "\ud800",
  "control characters": "\u0000\u0007\u001b[31m",
  "bidirectional marks and zero-width spaces": "\u202e\u200b42\u202c\u200b!x",
};

export const HOSTILE_TEXTS: Readonly<Record<string, string>> = {
  "1 MB of letters": "a".repeat(1_000_000),
  "1 MB of digits": "7".repeat(1_000_000),
  "200,000 digits": "7".repeat(200_000),
  "a letter and 200,000 digits": `x${"7".repeat(200_000)}`,
  "10,000 nested parentheses": `${"(".repeat(10_000)}24${")".repeat(10_000)}x`,
  "100,000 open parentheses": "(".repeat(100_000),
  "100,000 minus signs": `${"-".repeat(100_000)}x`,
  "200,000 spaces before a letter": `1${" ".repeat(200_000)}x`,
  "100,000 spaced ones": "1 ".repeat(100_000),
  "100,000 ones with commas": "1,".repeat(100_000),
  "100,000 points": ".".repeat(100_000),
  "50,000 thousands": `1${",000".repeat(50_000)}`,
  "a huge exponent": "1e999999999",
  "a huge negative exponent": "#### 1e-999999999",
  "a huge power": "9**9**9**9",
  "a huge fraction": `1/${"3".repeat(100_000)}`,
  "30,000 open boxes": "\\boxed{".repeat(30_000),
  "20,000 open fractions": "\\frac{1}{".repeat(20_000),
  "100,000 currency signs": "$".repeat(100_000),
  "15,000 steps": "1 + 1 = 2 left 2\n".repeat(15_000),
  "a step with 60,000 numbers": `1 + 1 = 2 left ${"2 ".repeat(60_000)}`,
};
