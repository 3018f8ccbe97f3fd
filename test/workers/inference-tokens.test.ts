import { describe, expect, test } from "vitest";
import { verificationTokensMax } from "../../services/queue/inference-tokens.ts";
import type { AttemptUsage, PromptPiece, VerifierSpec } from "../../services/queue/job.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { Driver } from "../../workers/rollout/driver.ts";
import { createJudge } from "../../workers/rollout/inference/create-judge.ts";
import { promptText } from "../../workers/rollout/prompt.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";

/** The tokenizer that makes most of a text: each of its bytes is a token, between BOS and EOS. */
function greedyDriver(): Driver {
  const usageOf = (text: string, completionTokens: number): AttemptUsage => {
    const promptTokens = Buffer.byteLength(text.normalize("NFKC")) + 2;
    return { promptTokens, cachedTokens: 0, completionTokens };
  };
  const driver = createSeededDriver();
  return {
    ...driver,
    async sample({ pieces, sampling: { maxTokens } }) {
      const result = {
        kind: "rollout",
        text: "no",
        finishReason: "length",
        stopString: null,
        meanLogprob: null,
      };
      return {
        result: { ...result, kind: "rollout", finishReason: "length" },
        usage: usageOf(promptText(pieces), maxTokens),
      };
    },
    async score({ pieces }) {
      return { score: 0.5, usage: usageOf(promptText(pieces), 1) };
    },
    async likelihood({ pieces, continuation }) {
      return { meanLogprob: -1, usage: usageOf(promptText([...pieces, continuation]), 1) };
    },
    async reward({ input, over }) {
      const rows =
        over === "text"
          ? [[1]]
          : input
              .split("<s>")
              .slice(0, -1)
              .map(() => [1]);
      return { rows, usage: usageOf(input, 0) };
    },
  };
}

const SPECS: readonly VerifierSpec[] = [
  { kind: "process-reward" },
  { kind: "process-reward", prompt: "{prompt}|{text}|{reference}|{text}?" },
  { kind: "process-reward", steps: "\n", tag: " \u043a\u0438", between: "next: " },
  { kind: "process-reward", steps: "\n" },
  { kind: "judge" },
  { kind: "judge", votes: 5, temperature: 1, max_tokens: 7, template: "Is {text} right for {prompt}?" },
  { kind: "reward-model" },
  { kind: "reward-model", step_delimiter: "\n", step_tag: "<s>" },
  { kind: "likelihood" },
];
const WORDS = [
  "4 + 5 = 9 left 6 9",
  "\n",
  "\n\n",
  "\u00fcber",
  "\ufdfa",
  "\ud834\udd60",
  "\u4e2d\u6587",
  " ",
  "x",
];

describe("the most tokens of a verification", () => {
  test.each(SPECS.map((spec) => [JSON.stringify(spec), spec] as const))(
    "are never fewer than %s uses",
    async (_, spec) => {
      const random = createRandom(7);
      const words = (count: number): string =>
        Array.from({ length: count }, () => WORDS[Math.floor(random.next() * WORDS.length)]).join("");
      for (let n = 0; n < 200; n += 1) {
        const [prompt, reference] = [`p${words(4)}`, n % 2 === 0 ? words(2) : "r"];
        const path: PromptPiece[] = [{ text: prompt }];
        for (let i = 0; i <= random.next() * 3; i += 1) path.push({ text: `s${words(6)}` });
        const problem = JSON.stringify({ id: "p", prompt, reference, tests: null, metadata: {} });
        const judge = createJudge({ spec: JSON.stringify(spec), problem, driver: greedyDriver() });
        const { usage } = await judge({ path, seed: n }, new AbortController().signal);
        const used = (usage.promptTokens ?? Infinity) + (usage.completionTokens ?? Infinity);
        const most = verificationTokensMax(spec, { prompt, text: promptText(path.slice(1)), reference });
        expect(used).toBeGreaterThan(0);
        expect(most).toBeGreaterThanOrEqual(used);
        // Nor so many that a budget could hardly be used.
        expect(most).toBeLessThan(4 * used + 600);
      }
    },
  );

  test("are none where no model is asked", () => {
    expect(verificationTokensMax({ kind: "game24" }, { prompt: "p", text: "t", reference: null })).toBe(0);
  });
});
