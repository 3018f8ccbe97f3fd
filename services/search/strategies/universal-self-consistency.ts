import { answerText, sampleCandidate } from "../candidate.ts";
import { chosenIn } from "../choice.ts";
import { excerpt } from "../excerpt.ts";
import { gatherArrived, orNull, sample } from "../operations.ts";
import type { Candidate, Prefix, Program, Rollout } from "../program.ts";
import { outcomeOf, selectBy } from "../selection.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";
import { complaintAboutFields, pathFrom } from "../template.ts";

const PARAMETERS = {
  n: {
    type: "integer",
    default: 8,
    min: 1,
    max: 100,
    about: "Rollouts per problem; all have to fit a context.",
  },
  fallback: {
    type: "choice",
    default: "mean-logprob",
    choices: ["mean-logprob", "majority"],
    about: "What chooses where the model names no response; mean-logprob: the majority where none is known.",
  },
  template: {
    type: "text",
    default:
      "{prompt}\n\nI have generated the following responses to this:\n\n{responses}\n\nThe most consistent of these " +
      "responses, by majority consensus, is Response",
    about: "Asks for a response by its number. {responses}: all of them; {n}: how many.",
  },
  response_chars: {
    type: "integer",
    default: 4000,
    min: 16,
    max: 100_000,
    about: "Characters of a response that are shown; of a longer one its beginning and its end.",
  },
  judge_tokens: {
    type: "integer",
    default: 16,
    min: 1,
    max: 100_000,
    about: "Tokens of the choice at most.",
  },
  judge_stop: { type: "strings", default: ["\n"], about: "Strings that end the choice." },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Universal self-consistency: the model reads its n answers, greedily, and names the one that is most consistent with the
 * others, so no answer key is needed. Where it names none, or that rollout is lost, the highest mean log-probability chooses;
 * where no host reports one, the majority of answer keys. Ties go to the lowest index. The judge's rollout is no candidate; it
 * is left out where a single answer arrived or the budget refused one. A lost answer is not shown.
 */
export const universalSelfConsistency: Strategy<typeof PARAMETERS> = {
  name: "universal-self-consistency",
  version: 1,
  about: "Samples n answers and lets the model choose the one that is most consistent with the others.",
  paper: "Chen et al. 2023, Universal Self-Consistency for Large Language Model Generation, arXiv 2311.17311",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  isOrderAdaptive: false,
  extendsRollouts: false,
  needs: ({ fallback }) => ({ logprobs: fallback === "mean-logprob" }),
  costFormula: "n + 1 rollouts, n verifications; the last rollout reads all n answers",
  cost: ({ n }) => ({ rollouts: n + 1, verifications: n }),
  check: ({ template }) => complaintAboutFields("template", template, ["responses"]),

  *search(prompt, parameters) {
    const { n, fallback } = parameters;
    const rank = fallback === "majority" ? undefined : ({ meanLogprob }: Rollout) => meanLogprob;
    const samples = Array.from({ length: n }, (_, index) => sampleCandidate(prompt, index, rank));
    const { arrived, lost } = yield* gatherArrived(samples);
    if (arrived.length > 1 && lost?.reason !== "budget") {
      const chosen = yield* orNull(choose(arrived, { ...parameters, prompt }));
      if (chosen !== null) return outcomeOf(chosen, "model-choice");
    }
    const isRanked = fallback === "mean-logprob" && arrived.some(({ score }) => score !== null);
    return selectBy(isRanked ? "verifier" : "majority", arrived, lost);
  },
};

type ChoiceOptions = ParameterValues<typeof PARAMETERS> & { readonly prompt: Prefix };

function* choose(
  candidates: readonly Candidate[],
  { prompt, template, response_chars, judge_tokens, judge_stop }: ChoiceOptions,
): Program<Candidate | null> {
  const responses = candidates.map(
    (candidate, i) => `Response ${i + 1}:\n${excerpt(answerText(candidate, prompt), response_chars)}`,
  );
  const question = yield* pathFrom(template, prompt, {
    responses: responses.join("\n\n"),
    n: String(candidates.length),
  });
  const { text } = yield* sample(question, { temperature: 0, maxTokens: judge_tokens, stop: judge_stop });
  const chosen = chosenIn(text, candidates.length);
  return chosen === null ? null : (candidates[chosen] ?? null);
}
