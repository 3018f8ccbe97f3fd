import { sampleCandidate } from "../candidate.ts";
import { gather } from "../operations.ts";
import { selectHighest } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 64, min: 1, max: 100_000, about: "Rollouts per problem." },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Best-of-n: y = argmax_i v(x, y_i) over n independent samples, ties to the lowest i. v is the verifier's
 * score; where it gives none, correct counts 1 and incorrect 0. Each sample is judged as it arrives.
 */
export const bestOfN: Strategy<typeof PARAMETERS> = {
  name: "best-of-n",
  version: 1,
  about: "Samples n answers and keeps the one with the highest verifier score.",
  paper: "Cobbe et al. 2021, Training Verifiers to Solve Math Word Problems, arXiv 2110.14168",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  isOrderAdaptive: false,
  extendsRollouts: false,
  needs: () => ({}),
  costFormula: "n rollouts, n verifications",
  cost: ({ n }) => ({ rollouts: n, verifications: n }),

  *search(prompt, { n }) {
    const samples = Array.from({ length: n }, (_, index) => sampleCandidate(prompt, index));
    const { values, lost } = yield* gather(samples);
    return selectHighest(
      values.filter((candidate) => candidate !== undefined),
      lost,
    );
  },
};
