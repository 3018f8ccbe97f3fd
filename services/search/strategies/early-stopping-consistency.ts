import { voteInRounds } from "../rounds.ts";
import type { Round } from "../rounds.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 40, min: 1, max: 10_000, about: "L: rollouts per problem at most." },
  window: { type: "integer", default: 5, min: 1, max: 10_000, about: "w: rollouts of a window." },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Early-stopping self-consistency: samples come in windows of w, and the search ends after the first window whose w answers
 * are all the same, or after L samples; a = argmax_a sum_i [a(y_i) = a] over all of them, ties to the answer of the lowest
 * i. Windows are made of indexes, not of arrivals: window k is samples kw to kw + w - 1, so the order of arrival changes
 * nothing. The next one begins once two answers of a window differ. A sample that abstains or is lost agrees with no other,
 * and ends no search.
 */
export const earlyStoppingConsistency: Strategy<typeof PARAMETERS> = {
  name: "early-stopping-consistency",
  version: 1,
  about: "Samples answers in windows until all those of one window agree, and keeps the majority.",
  paper: "Li et al. 2024, Escape Sky-high Cost: Early-stopping Self-Consistency, arXiv 2401.10480",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: false,
  needs: () => ({}),
  costFormula: "at most n rollouts and n verifications; window of each where the first window agrees",
  cost: ({ n }) => ({ rollouts: n, verifications: n }),

  *search(prompt, { n, window }) {
    return yield* voteInRounds(prompt, { rounds: windows(n, window), agreement: 1 });
  },
};

function* windows(n: number, window: number): Generator<Round, void> {
  for (let start = 0; start < n; start += window) yield { start, end: Math.min(n, start + window) };
}
