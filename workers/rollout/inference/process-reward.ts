/** The host's own probability that a judging word follows the path. */
import { defineInferenceVerifier, fillPath, MODEL_OPTION } from "./inference-verifier.ts";

export const processReward = defineInferenceVerifier({
  kind: "process-reward",
  about: "The model's probability that a good word rather than a bad one follows the path.",
  options: {
    prompt: {
      type: "text",
      default: "{prompt}{text}?",
      about: "What the word follows: {prompt} is the rendered prompt, {text} what was written after it.",
    },
    positive: { type: "text", default: " good", about: "The word for a path that is right so far." },
    negative: { type: "text", default: " bad", about: "The word for a path that is not." },
    model: MODEL_OPTION,
  },
  async judge({ path }, { driver, options }, signal) {
    const pieces = fillPath(options.prompt ?? "", path);
    const request = { pieces, positive: options.positive ?? "", negative: options.negative ?? "" };
    const { score, usage } = await driver.score(request, signal);
    return {
      result: { kind: "verdict", verdict: "undecided", score, answer: null, reason: "a process reward" },
      usage,
    };
  },
});
