/**
 * A reward model served by hosts of its own: of a whole text (vLLM and SGLang `/classify`) or of each step that a tag marks
 * (vLLM `/pooling`, task token_classify; Qwen2.5-Math-PRM: `step_delimiter` a blank line, `step_tag` "<extra_0>").
 */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { VerdictResult } from "../../../services/queue/job.ts";
import { correct, incorrect, undecided } from "../../verify/verifier.ts";
import { promptText } from "../prompt.ts";
import {
  defineInferenceVerifier,
  fillPath,
  MODEL_OPTION,
  NO_REFERENCE,
  textOf,
  unasked,
} from "./inference-verifier.ts";
import { aggregate, AGGREGATE_OPTION, STEPS_MAX, stepsOf } from "./steps.ts";

const LABELS_MAX = 1_024;
const REWARD_MAX = 1e9;

export const rewardModel = defineInferenceVerifier({
  kind: "reward-model",
  about: "What a reward model says of the text, or of each of its steps.",
  options: {
    model: MODEL_OPTION,
    template: {
      type: "text",
      default: "{prompt}{text}",
      about:
        "What it is shown: {prompt} is the rendered prompt, {text} what was written after it, {reference} the reference.",
    },
    endpoint: {
      type: "choice",
      default: "auto",
      choices: ["auto", "classify", "pooling"],
      about:
        "classify: one reward for the text; pooling: one for each step; auto: pooling where there is a step_tag.",
    },
    step_delimiter: {
      type: "text",
      default: "\n\n",
      about: "What stands between the steps of the text, where they are tagged.",
    },
    step_tag: { type: "text", default: null, about: "What stands behind each step instead, for the model." },
    aggregate: AGGREGATE_OPTION,
    label: {
      type: "integer",
      default: -1,
      min: -LABELS_MAX,
      max: LABELS_MAX,
      about: "Which of the model's labels is the reward, from 0; -1 is the last.",
    },
    activation: {
      type: "choice",
      default: "none",
      choices: ["none", "sigmoid"],
      about: "What is made of the label's value; a server may have made a probability of it already.",
    },
    threshold: {
      type: "maybe-number",
      default: null,
      min: -REWARD_MAX,
      max: REWARD_MAX,
      about:
        "From which reward on a text is correct; absent: the verdict is undecided, with the reward as score.",
    },
  },
  check({ step_delimiter: delimiter, step_tag: tag }) {
    if (tag !== null && (delimiter === null || delimiter === ""))
      throw new CoppiceError(
        "invalid_argument",
        "verifier reward-model: step_delimiter must be a text where there is a step_tag, found none",
      );
  },
  async judge(judging, { driver, options }, signal) {
    const { step_tag: tag } = options;
    const steps = tag === null ? null : stepsOf(textOf(judging.path), options.step_delimiter ?? "");
    if (steps !== null && steps.length > STEPS_MAX)
      return unasked(`the text has more than ${STEPS_MAX} steps`);
    const tagged = steps === null ? null : [{ text: steps.map((step) => step + (tag ?? "")).join("") }];
    const path = tagged === null ? judging.path : [...judging.path.slice(0, 1), ...tagged];
    const pieces = fillPath(options.template ?? "", { ...judging, path });
    if (pieces === null) return NO_REFERENCE;
    const isByStep = options.endpoint === "auto" ? tag !== null : options.endpoint === "pooling";
    const over = isByStep ? "steps" : "text";
    const { rows, usage } = await driver.reward({ input: promptText(pieces), over }, signal);
    if (isByStep && steps !== null && rows.length !== steps.length)
      throw new CoppiceError(
        "failed_precondition",
        `reward-model: expected a reward for each of ${steps.length} steps, found ${rows.length}; ` +
          `is the model served with step pooling at the tag ${JSON.stringify(tag)}?`,
      );
    const rewards = rows.map((row) => rewardOf(row, options));
    return { result: verdictOn(aggregate(rewards, options.aggregate), options.threshold), usage };
  },
});

function rewardOf(
  row: readonly number[],
  { label, activation }: { readonly label: number; readonly activation: "none" | "sigmoid" },
): number {
  const value = row.at(label);
  if (value === undefined)
    throw new CoppiceError(
      "invalid_argument",
      `reward-model: expected a model that has label ${label}, found one of ${row.length} labels`,
    );
  return activation === "sigmoid" ? 1 / (1 + Math.exp(-value)) : value;
}

function verdictOn(score: number, threshold: number | null): VerdictResult {
  if (threshold === null) return { ...undecided(null, "a reward"), score };
  if (score >= threshold) return { ...correct(null), score };
  return { ...incorrect(null, `the reward ${score} is below ${threshold}`), score };
}
