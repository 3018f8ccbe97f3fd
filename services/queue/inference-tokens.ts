/**
 * The most tokens that a verifier which is inference may use on one path: its prompts, as long as their texts can be, and what
 * it may generate. Pure. The verifiers themselves are in workers/rollout/inference; test/workers holds the two together.
 */
import { isInferenceKind } from "./inference.ts";
import type { VerifierSpec } from "./job.ts";
import { JOINT_TOKENS_MAX, SPECIAL_TOKENS_MAX, textTokensMax } from "./token-bound.ts";

/** What is judged. */
export interface JudgedPath {
  /** The rendered prompt, and what was written behind it. */
  readonly prompt: string;
  readonly text: string;
  /** Of the problem; null where it has none. */
  readonly reference: string | null;
}

/** A host that is only asked how likely a token is samples one all the same. */
const SCORED_TOKENS = 1;

/** 0 for a verifier that asks no model. */
export function verificationTokensMax(spec: VerifierSpec, path: JudgedPath): number {
  if (!isInferenceKind(spec.kind)) return 0;
  switch (spec.kind) {
    case "process-reward":
      return processRewardTokens(spec, path);
    case "judge":
      return (
        numberOf(spec, "votes", 1) *
        (promptTokens(textOf(spec, "template", JUDGE_TEMPLATE), path) + numberOf(spec, "max_tokens", 256))
      );
    case "reward-model":
      return rewardTokens(spec, path);
    case "likelihood":
      return promptTokens("{prompt}{text}", path) + SCORED_TOKENS;
  }
}

/** Those of the declarations in workers/rollout/inference; a sweep that was parsed says them itself. */
const JUDGE_TEMPLATE = "{prompt}{text}\n\nIs this answer correct? Yes or No:";
const PROCESS_TEMPLATE = "{prompt}{text}?";

/** One prompt for the text, or one for each of its steps, each with the steps before it. */
function processRewardTokens(spec: VerifierSpec, path: JudgedPath): number {
  const template = textOf(spec, "prompt", PROCESS_TEMPLATE);
  const delimiter = spec["steps"];
  if (typeof delimiter !== "string" || delimiter === "") return promptTokens(template, path) + SCORED_TOKENS;
  const tag = textOf(spec, "tag", "");
  let text = "";
  let tokens = 0;
  for (const step of stepsOf(path.text, delimiter)) {
    text += `${textOf(spec, "between", "")}${step}${tag === "" ? delimiter : tag}`;
    tokens += promptTokens(template, { ...path, text }) + SCORED_TOKENS;
  }
  return tokens;
}

function rewardTokens(spec: VerifierSpec, path: JudgedPath): number {
  const template = textOf(spec, "template", "{prompt}{text}");
  const tag = spec["step_tag"];
  if (typeof tag !== "string") return promptTokens(template, path);
  const steps = stepsOf(path.text, textOf(spec, "step_delimiter", "\n\n"));
  return promptTokens(template, { ...path, text: steps.map((step) => step + tag).join("") });
}

/** The template with its fields filled in; each field is a joint on both sides. */
function promptTokens(template: string, { prompt, text, reference }: JudgedPath): number {
  const fields: Readonly<Record<string, string>> = {
    "{prompt}": prompt,
    "{text}": text,
    "{reference}": reference ?? "",
  };
  return template
    .split(/(\{prompt\}|\{text\}|\{reference\})/u)
    .reduce((sum, part) => sum + textTokensMax(fields[part] ?? part) + JOINT_TOKENS_MAX, SPECIAL_TOKENS_MAX);
}

/** As in workers/rollout/inference/steps.ts, which fewer steps never exceed. */
function stepsOf(text: string, delimiter: string): readonly string[] {
  const steps = text.split(delimiter).filter((step) => step.trim() !== "");
  return steps.length === 0 ? [text] : steps;
}

function textOf(spec: VerifierSpec, option: string, otherwise: string): string {
  const value = spec[option];
  return typeof value === "string" ? value : otherwise;
}

function numberOf(spec: VerifierSpec, option: string, otherwise: number): number {
  const value = spec[option];
  return typeof value === "number" ? value : otherwise;
}
