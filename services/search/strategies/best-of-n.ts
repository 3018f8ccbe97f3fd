import { sampleCandidate } from "../candidate.ts";
import { gatherArrived } from "../operations.ts";
import type { Rollout } from "../program.ts";
import { selectHighest } from "../selection.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 64, min: 1, max: 100_000, about: "Rollouts per problem." },
  by: {
    type: "choice",
    default: "verifier",
    choices: ["verifier", "mean-logprob", "sum-logprob"],
    about:
      "verifier: its score; mean-logprob: the model's own log-probability per token; sum-logprob: of the whole answer.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

type By = ParameterValues<typeof PARAMETERS>["by"];

/**
 * Best-of-n: y = argmax_i v(x, y_i) over n independent samples, ties to the lowest i. v is the verifier's score; where it
 * gives none, correct counts 1 and incorrect 0. Or v is log p(y | x), per token or in all: the verifier's verdict is then
 * only reported. Each sample is judged as it arrives. A lost rollout leaves n - 1; one without a score, or whose host
 * reports no log-probability, ranks last.
 */
export const bestOfN: Strategy<typeof PARAMETERS> = {
  name: "best-of-n",
  version: 2,
  about: "Samples n answers and keeps the one with the highest verifier score, or log-probability.",
  paper: "Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems, arXiv 2110.14168",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  isOrderAdaptive: false,
  extendsRollouts: false,
  grows: ["n"],
  needs: ({ by }) => ({ logprobs: by !== "verifier" }),
  costFormula: "n rollouts, n verifications",
  cost: ({ n }) => ({ rollouts: n, verifications: n }),

  *search(prompt, { n, by }) {
    const rank = by === "verifier" ? undefined : (rollout: Rollout) => logprobOf(rollout, by);
    const samples = Array.from({ length: n }, (_, index) => sampleCandidate(prompt, index, rank));
    const { arrived, lost } = yield* gatherArrived(samples);
    return selectHighest(arrived, lost);
  },
};

function logprobOf({ meanLogprob, completionTokens }: Rollout, by: Exclude<By, "verifier">): number | null {
  if (by === "mean-logprob" || meanLogprob === null) return meanLogprob;
  return completionTokens === null ? null : meanLogprob * completionTokens;
}
