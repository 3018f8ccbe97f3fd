/** What strategies that search a tree of thoughts declare alike: see thoughts.ts. */
import { STEPS } from "./steps.ts";
import type { Cost, Parameter, ParameterValues } from "./strategy.ts";
import { PROPOSE, PROPOSE_LAST, VALUE, VALUE_LAST } from "./thought-templates.ts";

const FIELDS =
  "{problem} as its file has it, {prompt} rendered, {path} the steps so far, {step} the last of them, {state} what its marks enclose";

export const THOUGHTS = {
  ...STEPS,
  max_steps: { ...STEPS.max_steps, default: 4 },
  step_stop: { ...STEPS.step_stop, default: ["\n"] },
  generate: {
    type: "choice",
    default: "propose",
    choices: ["propose", "sample"],
    about:
      "propose: one rollout lists the next steps, a line each; sample: next steps are sampled one by one.",
  },
  branch: {
    type: "integer",
    default: 5,
    min: 1,
    max: 1000,
    about: "Steps sampled of a state (generate: sample).",
  },
  proposals: {
    type: "integer",
    default: 50,
    min: 1,
    max: 1000,
    about: "Lines read of a rollout at most (generate: propose).",
  },
  propose: { type: "text", default: PROPOSE, about: `Asks for next steps. Fields: ${FIELDS}.` },
  propose_last: {
    type: "text",
    default: PROPOSE_LAST,
    about: "Asks for the answer where the state is the goal. The same fields.",
  },
  goal: { type: "text", default: "24", about: "The state from which only the answer is missing." },
  evaluate: {
    type: "choice",
    default: "value",
    choices: ["value", "process"],
    about:
      "value: the model says in a word what a state is worth; process: the process verifier scores its path.",
  },
  evaluations: { type: "integer", default: 3, min: 1, max: 1000, about: "Rollouts per value." },
  value: { type: "text", default: VALUE, about: "Asks for a state's value. The fields of propose." },
  value_last: {
    type: "text",
    default: VALUE_LAST,
    about: "Asks for the value of a path whose last step has no state, such as an answer. The same fields.",
  },
  value_words: {
    type: "strings",
    default: ["sure=20", "likely=1", "impossible=0.001"],
    about:
      "What the last word of a value is worth; any other word is worth 0. A value is the sum of its rollouts.",
  },
  state_marks: {
    type: "strings",
    default: ["left: ", ")"],
    about: "What stands before, and where given after, the state in the last line of a path.",
  },
  answer_mark: {
    type: "text",
    default: "answer",
    about:
      "A path of max_steps steps without it, in any case of letters, is worth 0 unasked; empty: no such rule.",
  },
  reply_stop: {
    type: "strings",
    default: [],
    about: "Strings that end what the model writes of proposals and values.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

export type ThoughtValues = ParameterValues<typeof THOUGHTS>;

/** `word=number`; a worth that is no number is NaN. */
export function valueWord(entry: string): { readonly word: string; readonly worth: number } {
  const at = entry.lastIndexOf("=");
  return { word: entry.slice(0, at).trim().toLowerCase(), worth: Number.parseFloat(entry.slice(at + 1)) };
}

/** What is wrong with parameters of thoughts; null when nothing is. */
export function checkThoughts({
  value_words,
  state_marks,
}: Pick<ThoughtValues, "value_words" | "state_marks">): string | null {
  for (const entry of value_words) {
    const { word, worth } = valueWord(entry);
    if (/^\p{L}+$/u.test(word) && Number.isFinite(worth) && worth >= 0) continue;
    return `value_words: expected "word=number" with a number from 0, found "${entry}"`;
  }
  if (state_marks.length === 1 || state_marks.length === 2) return null;
  return `state_marks: expected what stands before a state, and perhaps after it, found ${state_marks.length} texts`;
}

/** Ceiling of so many expansions, with a value of each thought. */
export function thoughtCost(
  expansions: number,
  parameters: ThoughtValues,
): Cost & { readonly thoughts: number } {
  const isProposing = parameters.generate === "propose";
  const thoughts = expansions * (isProposing ? parameters.proposals : parameters.branch);
  const calls = expansions * (isProposing ? 1 : parameters.branch);
  const byModel = parameters.evaluate === "value" ? thoughts * parameters.evaluations : 0;
  return {
    thoughts,
    rollouts: calls + byModel,
    verifications: parameters.evaluate === "process" ? thoughts : 0,
  };
}
