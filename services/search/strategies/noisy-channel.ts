import { answerTo } from "../candidate.ts";
import { all, consider, gatherArrived, judge, sample } from "../operations.ts";
import type { Candidate, Prefix, Program } from "../program.ts";
import { selectHighest } from "../selection.ts";
import type { Parameter, ParameterValues, ProblemFacts, Strategy } from "../strategy.ts";
import { complaintAboutFields, pathFrom } from "../template.ts";

const PARAMETERS = {
  n: { type: "integer", default: 16, min: 1, max: 100_000, about: "Rollouts per problem." },
  lambda_1: { type: "number", default: 0, min: 0, max: 100, about: "Weight of log p(y); 0 leaves it out." },
  lambda_2: { type: "number", default: 1, min: 0, max: 100, about: "Weight of log p(y|x); 0 leaves it out." },
  channel: {
    type: "text",
    default: "{answer}\n\nThe problem that this answers:\n",
    about: "What the problem's prompt x is expected behind, for log p(x|y). {answer}: y.",
  },
  prior: {
    type: "text",
    default: "An answer:\n",
    about: "What y is expected behind for log p(y): nothing of x.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Noisy-channel reranking: y = argmax_i log p(x|y_i) + lambda_1 log p(y_i) + lambda_2 log p(y_i|x) over n independent
 * samples, ties to the lowest i. Each term is the mean over its tokens, so that long answers are not at a disadvantage, and
 * is the model's own: x as it continues a text made of y, y behind a text that says nothing of x, y behind the prompt. A
 * sample of which a weighted term is unknown or lost ranks last, and so does an empty one; a lost sample leaves n - 1.
 */
export const noisyChannel: Strategy<typeof PARAMETERS> = {
  name: "noisy-channel",
  version: 1,
  about: "Samples n answers and keeps the one that best explains its problem, by the model's own likelihood.",
  paper: "Yee et al. 2019, Simple and Effective Noisy Channel Modeling, arXiv 1908.05731, equation 4",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  isOrderAdaptive: false,
  extendsRollouts: false,
  grows: ["n"],
  needs: () => ({ likelihood: true }),
  costFormula: "n rollouts; n verifications and n likelihoods per term with a weight, at most 4n",
  cost: ({ n, lambda_1, lambda_2 }) => ({
    rollouts: n,
    verifications: n * (2 + Number(lambda_1 > 0) + Number(lambda_2 > 0)),
  }),
  check: ({ channel }) => complaintAboutFields("channel", channel, ["answer"]),

  *search(prompt, { n, ...model }, problem) {
    const samples = Array.from({ length: n }, (_, index) => explain(prompt, { index, problem, ...model }));
    const { arrived, lost } = yield* gatherArrived(samples);
    return selectHighest(arrived, lost);
  },
};

interface Sampling extends Omit<ParameterValues<typeof PARAMETERS>, "n"> {
  readonly index: number;
  readonly problem: ProblemFacts;
}

function* explain(
  prompt: Prefix,
  { index, problem, lambda_1, lambda_2, channel, prior }: Sampling,
): Program<Candidate> {
  const rollout = yield* sample(prompt);
  const { text, ask } = rollout;
  const { prefix } = answerTo(prompt, { ...rollout, index });
  const xBehindY = (yield* pathFrom(channel, prompt, { answer: text })).extend(problem.prompt);
  const yBehindNothing = (yield* pathFrom(prior, prompt)).extend(text);
  const terms = [
    { weight: 1, path: xBehindY },
    { weight: lambda_1, path: yBehindNothing },
    { weight: lambda_2, path: prefix },
  ].filter(({ weight }) => weight > 0);
  const [verdict = null, ...likelihoods] = yield* all([
    judge({ role: "outcome", prefix, of: ask }),
    // Of no rollout: a row carries what was said of its answer.
    ...terms.map(({ path }) => judge({ role: "likelihood", prefix: path, of: null })),
  ]);
  let score: number | null = text === "" ? null : 0;
  for (const [i, { weight }] of terms.entries()) {
    const likelihood = likelihoods[i]?.score ?? null;
    score = score === null || likelihood === null ? null : score + weight * likelihood;
  }
  const candidate = { index, prefix, ask, verdict, score };
  yield* consider(candidate);
  return candidate;
}
