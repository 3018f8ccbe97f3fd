/**
 * The host's own probability that a judging word follows the path: of all of it, or of each of its steps, as
 * log-probability process reward models are asked (Math-Shepherd: `tag` " ки", words "+" and "-"; RLHFlow: the tag ends the
 * step's message and opens the judge's, `between` is its "+" and the opening of the next).
 */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { AttemptUsage } from "../../../services/queue/job.ts";
import {
  defineInferenceVerifier,
  fillPath,
  MODEL_OPTION,
  NO_REFERENCE,
  sumOfUsages,
  textOf,
  unasked,
} from "./inference-verifier.ts";
import { aggregate, AGGREGATE_OPTION, STEPS_MAX, stepsOf } from "./steps.ts";

export const processReward = defineInferenceVerifier({
  kind: "process-reward",
  about:
    "The model's probability that a good word rather than a bad one follows the path, or each of its steps.",
  options: {
    prompt: {
      type: "text",
      default: "{prompt}{text}?",
      about:
        "What the word follows: {prompt} is the rendered prompt, {text} what was written after it, {reference} the problem's reference.",
    },
    positive: { type: "text", default: " good", about: "The word for a path that is right so far." },
    negative: { type: "text", default: " bad", about: "The word for a path that is not." },
    steps: {
      type: "text",
      default: null,
      about: "What stands between the steps of the text; each is scored then. Absent: the text as a whole.",
    },
    tag: { type: "text", default: "", about: "What stands behind each step, in the place of `steps`." },
    between: { type: "text", default: "", about: "What stands between a step's tag and the next step." },
    aggregate: AGGREGATE_OPTION,
    model: MODEL_OPTION,
  },
  check({ steps, tag, between }) {
    if (steps === "" || (steps === null && (tag !== "" || between !== "")))
      throw new CoppiceError(
        "invalid_argument",
        "verifier process-reward: steps must be what stands between steps where there is a tag, found none",
      );
  },
  async judge(judging, { driver, options }, signal) {
    const scores: number[] = [];
    const usages: AttemptUsage[] = [];
    const paths = pathsOf(judging.path, options);
    if (paths.length > STEPS_MAX) return unasked(`the text has more than ${STEPS_MAX} steps`);
    // One after another: each is the beginning of the next, and an ask has one place at the host.
    for (const path of paths) {
      const pieces = fillPath(options.prompt ?? "", { ...judging, path });
      if (pieces === null) return NO_REFERENCE;
      const request = { pieces, positive: options.positive ?? "", negative: options.negative ?? "" };
      const { score, usage } = await driver.score(request, signal);
      scores.push(score);
      usages.push(usage);
    }
    const score = aggregate(scores, options.aggregate);
    return {
      result: { kind: "verdict", verdict: "undecided", score, answer: null, reason: "a process reward" },
      usage: sumOfUsages(usages),
    };
  },
});

type Path = Parameters<typeof textOf>[0];

/** The path at the end of each of its steps; the path itself where there are none. */
function pathsOf(
  path: Path,
  {
    steps,
    tag,
    between,
  }: { readonly steps: string | null; readonly tag: string | null; readonly between: string | null },
): readonly Path[] {
  if (steps === null) return [path];
  let text = "";
  return stepsOf(textOf(path), steps).map((step, index) => {
    text += `${index === 0 ? "" : (between ?? "")}${step}${tag === "" ? steps : (tag ?? "")}`;
    return [...path.slice(0, 1), { text }];
  });
}
