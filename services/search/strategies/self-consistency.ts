import { sampleBallot } from "../ballot.ts";
import { gatherArrived } from "../operations.ts";
import { selectByVote } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 40, min: 1, max: 100_000, about: "Rollouts per problem." },
  vote: {
    type: "choice",
    default: "majority",
    choices: ["majority", "weighted"],
    about: "majority: one vote each; weighted: votes weigh what a verifier scores the answer.",
  },
  weight_by: {
    type: "choice",
    default: "process",
    choices: ["process", "outcome"],
    about: "Whose score a weighted vote weighs: the process verifier's or the outcome verifier's.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Self-consistency: a = argmax_a sum_i w_i [a(y_i) = a] over n independent samples. a(y) is the answer key that the outcome
 * verifier reads; where it reads none the sample abstains, and `Outcome.abstained` says how many did. w is 1 (majority), or
 * a verifier's score of the whole answer (weighted; with the outcome verifier's this is weighted best-of-n). A negative or
 * absent score weighs 0. Ties go to the answer of the lowest i. A lost rollout has no vote.
 */
export const selfConsistency: Strategy<typeof PARAMETERS> = {
  name: "self-consistency",
  version: 2,
  about: "Samples n answers and keeps the one that most of them agree on.",
  paper: "Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning, arXiv 2203.11171",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  isOrderAdaptive: false,
  extendsRollouts: false,
  grows: ["n"],
  needs: ({ vote, weight_by }) => ({ processVerifier: vote === "weighted" && weight_by === "process" }),
  costFormula: "n rollouts; n verifications, 2n where votes weigh what the process verifier scores",
  cost: ({ n, vote, weight_by }) => ({
    rollouts: n,
    verifications: vote === "weighted" && weight_by === "process" ? 2 * n : n,
  }),

  *search(prompt, { n, vote, weight_by }) {
    const weight = vote === "weighted" ? weight_by : "one";
    const { arrived } = yield* gatherArrived(
      Array.from({ length: n }, (_, index) => sampleBallot(prompt, { index, weight })),
    );
    return selectByVote(arrived, vote === "weighted" ? "weighted-vote" : "majority");
  },
};
