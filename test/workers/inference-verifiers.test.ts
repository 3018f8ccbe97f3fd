/** Verifiers that are inference, each over a host whose answers are known. */
import { describe, expect, test } from "vitest";
import type { RewardAnswer, SampleRequest } from "../../workers/rollout/driver.ts";
import { judge } from "../../workers/rollout/inference/judge.ts";
import { likelihood } from "../../workers/rollout/inference/likelihood.ts";
import { processReward } from "../../workers/rollout/inference/process-reward.ts";
import { rewardModel } from "../../workers/rollout/inference/reward-model.ts";
import { aggregate, stepsOf } from "../../workers/rollout/inference/steps.ts";
import { promptText } from "../../workers/rollout/prompt.ts";
import {
  describeInferenceVerifier,
  judgeOn,
  PATH,
  PROBLEM,
  watchedDriver,
} from "../conformance/inference-verifier.ts";

const TEXT = promptText(PATH.slice(1));
const USAGE = { promptTokens: 5, cachedTokens: 4, completionTokens: 1 };

describeInferenceVerifier(likelihood, { options: {} });
describeInferenceVerifier(processReward, {
  options: { steps: "\n", aggregate: "prod" },
  wrong: [
    [{ tag: " ки" }, "steps must be what stands between steps"],
    [{ steps: "" }, "steps must be what stands between steps"],
    [{ aggregate: "median" }, "aggregate must be one of last, min, prod, mean, max"],
  ],
});
describeInferenceVerifier(rewardModel, {
  options: { threshold: 0.5 },
  wrong: [
    [{ step_delimiter: "", step_tag: "<extra_0>" }, "step_delimiter must be a text"],
    [{ threshold: "0.5" }, "threshold must be a number from"],
  ],
});
describeInferenceVerifier(judge, {
  options: {
    template: "{prompt}{text}",
    votes: 5,
    temperature: 1,
    number: "= (\\d+)",
    scale: 100,
    pass: 0.2,
  },
  wrong: [
    [{ votes: 3 }, "temperature must be above 0 for several votes"],
    [{ number: "([0-9]" }, "number must be a regular expression"],
    [{ number: "[0-9]+" }, "number must be a regular expression with a group"],
    [{ yes: [""] }, "yes and no must name a word each"],
  ],
});

describe("steps", () => {
  test("are what stands between delimiters", () => {
    expect(stepsOf("a\n\nb\n\n", "\n\n")).toEqual(["a", "b"]);
    expect(stepsOf("\n\n", "\n\n")).toEqual(["\n\n"]);
    expect(stepsOf("", "\n")).toEqual([""]);
  });

  test("have one score by each rule", () => {
    const scores = [0.5, 0.25, 0.75];
    const by = (how: Parameters<typeof aggregate>[1]) => aggregate(scores, how);
    expect([by("last"), by("min"), by("max"), by("prod"), by("mean")]).toEqual([
      0.75, 0.25, 0.75, 0.09375, 0.5,
    ]);
  });
});

describe("a process reward", () => {
  /** Scores by how long the prompt is: 1 / characters. */
  const byLength = () =>
    watchedDriver(() => ({
      score: async ({ pieces }) => ({ score: 1 / promptText(pieces).length, usage: USAGE }),
    }));

  test("of the whole path keeps the token ids of its pieces", async () => {
    const { driver, pieces } = byLength();
    const { result, usage } = await judgeOn(driver, { kind: "process-reward" });
    expect(pieces).toEqual([[...PATH, { text: "?" }]]);
    expect(result).toMatchObject({ verdict: "undecided", score: 1 / (promptText(PATH).length + 1) });
    expect(usage).toEqual(USAGE);
  });

  test("of each step is asked at each tag, with what stands between, and is one by the rule", async () => {
    const { driver, pieces } = byLength();
    const options = { prompt: "Q: {prompt}A: {text}", steps: "\n", tag: " ки", between: "\n" };
    const { result, usage } = await judgeOn(driver, { kind: "process-reward", ...options, aggregate: "min" });
    const [first = "", second = "", third = ""] = TEXT.split("\n");
    const prompts = [
      `Q: 4 5 6 10\nA: ${first} ки`,
      `Q: 4 5 6 10\nA: ${first} ки\n${second} ки`,
      `Q: 4 5 6 10\nA: ${first} ки\n${second} ки\n${third} ки`,
    ];
    expect(pieces.map(promptText)).toEqual(prompts);
    expect(result.score).toBe(1 / (prompts[2] ?? "").length);
    expect(usage).toEqual({ promptTokens: 15, cachedTokens: 12, completionTokens: 3 });
  });

  test("of more steps than anyone writes is none, and costs nothing", async () => {
    const { driver, pieces } = byLength();
    const path = [{ text: "p" }, { text: "x\n".repeat(2_000) }];
    const { result, usage } = await judgeOn(driver, { kind: "process-reward", steps: "\n" }, { path });
    expect(result).toMatchObject({
      verdict: "undecided",
      score: null,
      reason: "the text has more than 1024 steps",
    });
    expect(usage).toMatchObject({ promptTokens: 0 });
    expect(pieces).toHaveLength(0);
  });
});

describe("a reward model", () => {
  const saying = (rows: RewardAnswer["rows"]) => {
    const asked: unknown[] = [];
    const { driver } = watchedDriver(() => ({
      async reward(request) {
        asked.push(request);
        return { rows, usage: USAGE };
      },
    }));
    return { driver, asked };
  };

  test("is shown the whole text, and its last label is the reward", async () => {
    const { driver, asked } = saying([[0.2, 0.8]]);
    const { result, usage } = await judgeOn(driver, { kind: "reward-model" });
    expect(asked).toEqual([{ input: promptText(PATH), over: "text" }]);
    expect(result).toMatchObject({ verdict: "undecided", score: 0.8, reason: "a reward" });
    expect(usage).toEqual(USAGE);
  });

  test("is shown each step with its tag, and says one reward for each", async () => {
    const { driver, asked } = saying([
      [0.1, 0.9],
      [0.6, 0.4],
      [0.3, 0.7],
    ]);
    const options = { template: "{prompt}|{text}|{reference}", step_delimiter: "\n", step_tag: "<extra_0>" };
    const { result } = await judgeOn(driver, { kind: "reward-model", ...options, aggregate: "prod" });
    const steps = TEXT.trimEnd()
      .split("\n")
      .map((step) => `${step}<extra_0>`);
    expect(asked).toEqual([{ input: `4 5 6 10\n|${steps.join("")}|24`, over: "steps" }]);
    expect(result.score).toBeCloseTo(0.9 * 0.4 * 0.7);
  });

  test("decides where there is a threshold, by the value that is made of its label", async () => {
    const ask = async (options: Readonly<Record<string, unknown>>, row: readonly number[]) =>
      (await judgeOn(saying([row]).driver, { kind: "reward-model", ...options })).result;
    const zero = await ask({ label: 0, activation: "sigmoid", threshold: 0.5 }, [0, 99]);
    expect(zero).toMatchObject({ verdict: "correct", score: 0.5, reason: null });
    expect(await ask({ threshold: 0.5 }, [0.25])).toMatchObject({
      verdict: "incorrect",
      score: 0.25,
      reason: "the reward 0.25 is below 0.5",
    });
    await expect(ask({ label: 2 }, [0, 1])).rejects.toThrow(
      /expected a model that has label 2, found one of 2 labels/,
    );
  });

  test("that does not answer for each step is not believed", async () => {
    const { driver } = saying([[1], [1]]);
    const spec = { kind: "reward-model", step_delimiter: "\n", step_tag: "<extra_0>" };
    await expect(judgeOn(driver, spec)).rejects.toThrow(
      /expected a reward for each of 3 steps, found 2; is the model served with step pooling at the tag "<extra_0>"/,
    );
  });

  test("that wants a reference judges nothing without one", async () => {
    const { driver, asked } = saying([[1]]);
    const problem = { ...PROBLEM, reference: null };
    const { result } = await judgeOn(driver, { kind: "reward-model", template: "{reference}" }, { problem });
    expect(result).toMatchObject({ verdict: "undecided", reason: "the problem has no reference" });
    expect(asked).toHaveLength(0);
  });
});

describe("a judge", () => {
  const saying = (...texts: readonly string[]) => {
    const asked: SampleRequest[] = [];
    const { driver } = watchedDriver(() => ({
      async sample(request) {
        const text = texts[asked.length] ?? "";
        asked.push(request);
        const result = {
          kind: "rollout",
          text,
          finishReason: "stop",
          stopString: null,
          meanLogprob: null,
        } as const;
        return { result, usage: USAGE };
      },
    }));
    return { driver, asked };
  };
  const votesOf = (count: number) => ({ kind: "judge", votes: count, temperature: 0.7 });

  test("decides by the majority of the votes that can be read; the score is their mean", async () => {
    const { driver, asked } = saying("Now, no... wait. Yes!", "No.", "Hmm", "the answer is YES");
    const { result, usage } = await judgeOn(driver, votesOf(4));
    expect(result).toMatchObject({ verdict: "correct", score: 2 / 3, reason: null });
    expect(usage).toEqual({ promptTokens: 20, cachedTokens: 16, completionTokens: 4 });
    expect(asked.map(({ sample }) => sample)).toEqual([0, 1, 2, 3]);
    expect(new Set(asked.map(({ seed }) => seed)).size).toBe(4);
    const prompt = `${promptText(PATH)}\n\nIs this answer correct? Yes or No:`;
    for (const { pieces, depth, sampling } of asked) {
      expect(promptText(pieces)).toBe(prompt);
      expect(pieces).toContain(pieces.find(({ tokens }) => tokens !== undefined));
      expect({ depth, temperature: sampling.temperature }).toEqual({ depth: 1, temperature: 0.7 });
    }
  });

  test("says how the votes were where they are against it, tied or unreadable", async () => {
    const against = await judgeOn(saying("no", "no", "yes", "?").driver, votesOf(4));
    expect(against.result).toMatchObject({
      verdict: "incorrect",
      reason: "1 of 3 votes for it, 1 that could not be read",
    });
    const tied = await judgeOn(saying("no", "yes").driver, votesOf(2));
    expect(tied.result).toMatchObject({ verdict: "undecided", score: 0.5, reason: "1 of 2 votes for it" });
    const mute = await judgeOn(saying("maybe", "nothing known").driver, votesOf(2));
    expect(mute.result).toMatchObject({
      verdict: "undecided",
      score: null,
      reason: 'none of 2 votes could be read: "nothing known"',
    });
  });

  test("reads grades, the last that its text names, by their scale", async () => {
    const spec = {
      kind: "judge",
      number: "grade: ([\\d.]+)",
      scale: 10,
      votes: 3,
      temperature: 1,
      pass: 0.7,
    };
    const { result } = await judgeOn(saying("Grade: 2? No, grade: 9", "grade: 7.", "grade: 99").driver, spec);
    expect(result.verdict).toBe("correct");
    expect(result.score).toBeCloseTo((0.9 + 0.7 + 1) / 3);
  });

  test("votes by words of any alphabet, and not by parts of words", async () => {
    const spec = { kind: "judge", yes: ["да", "+"], no: ["нет", "-"] };
    expect((await judgeOn(saying("дата: нет").driver, spec)).result.verdict).toBe("incorrect");
    expect((await judgeOn(saying("+").driver, spec)).result.verdict).toBe("correct");
  });
});
