import { voteInRounds } from "../rounds.ts";
import type { Round } from "../rounds.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  first: { type: "integer", default: 2, min: 1, max: 10_000, about: "Rollouts of the first round." },
  n: { type: "integer", default: 64, min: 1, max: 10_000, about: "Rollouts per problem at most." },
  agreement: {
    type: "number",
    default: 0.75,
    min: 0.01,
    max: 1,
    about: "Share of all rollouts so far that have to give one answer.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Self-consistency by doubling: 2, 4, 8, ... samples in all, until max_a sum_i [a(y_i) = a] / n_r >= 3/4 over the n_r samples
 * of round r and all rounds before it, or n samples are drawn; the majority wins, ties to the answer of the lowest i. Every
 * round is as large as all before it, which fills an engine's batch better than one sample at a time. The next one begins
 * once the share is out of reach. A sample that abstains or is lost counts in n_r, but for no answer.
 */
export const doublingConsistency: Strategy<typeof PARAMETERS> = {
  name: "doubling-consistency",
  version: 1,
  about: "Doubles the number of samples until three quarters of them agree, and keeps the majority.",
  paper: "Wang et al. 2022, arXiv 2203.11171, with the stopping rule that its_hub proposes",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: false,
  needs: () => ({}),
  costFormula: "at most n rollouts and n verifications; first of each where the first round agrees",
  cost: ({ n }) => ({ rollouts: n, verifications: n }),

  *search(prompt, { first, n, agreement }) {
    return yield* voteInRounds(prompt, { rounds: doublings(first, n), agreement });
  },
};

function* doublings(first: number, n: number): Generator<Round, void> {
  let end = Math.min(first, n);
  yield { start: 0, end };
  while (end < n) {
    end = Math.min(2 * end, n);
    yield { start: 0, end };
  }
}
