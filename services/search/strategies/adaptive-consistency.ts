import { AnswerCounts, sampleBallot, selectMajority } from "../ballot.ts";
import { graver, openGroup } from "../operations.ts";
import type { Loss } from "../program.ts";
import type { Ballot } from "../selection.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 40, min: 1, max: 10_000, about: "Rollouts per problem at most." },
  parallel: {
    type: "integer",
    default: 4,
    min: 1,
    max: 10_000,
    about: "Rollouts in flight at once; 1 is the paper's, and 4 the fewest answers that can stop it at 0.95.",
  },
  criterion: {
    type: "choice",
    default: "beta",
    choices: ["beta", "majority", "entropy"],
    about:
      "What has to reach the confidence: the chance that the majority stands; its share; 1 - H / log(answers).",
  },
  confidence: { type: "number", default: 0.95, min: 0.5, max: 1, about: "C: where the search stops." },
  answers_min: { type: "integer", default: 3, min: 1, max: 10_000, about: "Answers before it may stop." },
} as const satisfies Readonly<Record<string, Parameter>>;

type Criterion = ParameterValues<typeof PARAMETERS>["criterion"];

/**
 * Adaptive-Consistency: samples until the majority is unlikely to change, then stops the others. With v1 >= v2 the counts of
 * the two most frequent answers, it stops when P(p1 > p2 | v1, v2) >= C under Beta(v1 + 1, v2 + 1); see `betaConfidence`.
 * The other criteria look at all counts: the share v1 / sum v, or the certainty 1 - H(v) / log(sum v). The majority wins, ties
 * to the answer of the lowest index. A window of `parallel` samples is kept in flight. A lost sample, or one that abstains, is
 * replaced while fewer than n were drawn.
 */
export const adaptiveConsistency: Strategy<typeof PARAMETERS> = {
  name: "adaptive-consistency",
  version: 1,
  about: "Samples answers until their majority is unlikely to change, then stops the rest.",
  paper: "Aggarwal et al. 2023, Let's Sample Step by Step: Adaptive-Consistency, arXiv 2305.11860",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: true,
  extendsRollouts: false,
  grows: ["n"],
  needs: () => ({}),
  costFormula: "at most n rollouts and n verifications; 4 of each where the first 4 answers agree",
  cost: ({ n }) => ({ rollouts: n, verifications: n }),

  *search(prompt, { n, parallel, criterion, confidence, answers_min }) {
    const group = openGroup<Ballot>();
    const ballots: Ballot[] = [];
    const counts = new AnswerCounts();
    let lost: Loss | null = null;
    let started = 0;
    for (; started < Math.min(n, parallel); started++)
      yield* group.add(sampleBallot(prompt, { index: started }));

    for (let member = yield* group.next(); member !== null; member = yield* group.next()) {
      if (member.lost === null) {
        ballots.push(member.value);
        counts.add(member.value);
      } else {
        lost = graver(lost, member.lost);
      }
      if (counts.total >= answers_min && confidenceOf(counts, criterion) >= confidence) {
        yield* group.cancelAll();
        break;
      }
      if (started < n && lost?.reason !== "budget")
        yield* group.add(sampleBallot(prompt, { index: started++ }));
    }
    return selectMajority(ballots, lost);
  },
};

/** In [0, 1]. */
function confidenceOf({ counts, total }: AnswerCounts, criterion: Criterion): number {
  const [first = 0, second = 0] = counts;
  switch (criterion) {
    case "beta":
      return betaConfidence(first, second);
    case "majority":
      return total === 0 ? 0 : first / total;
    case "entropy": {
      if (total < 2) return 0;
      const entropy = counts.reduce((sum, count) => sum - (count / total) * Math.log(count / total), 0);
      return 1 - entropy / Math.log(total);
    }
  }
}

/**
 * P(p1 > p2) under Beta(v1 + 1, v2 + 1), v1 >= v2: the integral over [1/2, 1] in closed form, with n = v1 + v2 + 1:
 * sum_{j=0..v1} C(n, j) / 2^n. What is summed is the other tail, j = 0..v2 by symmetry, which is the shorter one, from its
 * largest term down.
 */
export function betaConfidence(v1: number, v2: number): number {
  const n = v1 + v2 + 1;
  let logTerm = -n * Math.LN2;
  for (let i = 1; i <= v2; i++) logTerm += Math.log((n - v2 + i) / i);
  let term = Math.exp(logTerm);
  let tail = 0;
  for (let j = v2; j >= 0 && term > 0; j--) {
    tail += term;
    term *= j / (n - j + 1);
  }
  return 1 - tail;
}
