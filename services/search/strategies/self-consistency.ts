import { all, consider, gather, judge, sample } from "../operations.ts";
import { LostError } from "../program.ts";
import type { Prefix, Program } from "../program.ts";
import { scoreOf, selectByVote } from "../selection.ts";
import type { Ballot } from "../selection.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 40, min: 1, max: 100_000, about: "Rollouts per problem." },
  vote: {
    type: "choice",
    default: "majority",
    choices: ["majority", "weighted"],
    about: "majority: one vote each; weighted: votes weigh what the process verifier scores the answer.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

type Values = ParameterValues<typeof PARAMETERS>;

/**
 * Self-consistency: a = argmax_a sum_i w_i [a(y_i) = a] over n independent samples. a(y) is the answer key
 * that the outcome verifier reads; where it reads none the sample abstains, and `Outcome.abstained` says how
 * many did. w is 1 (majority), or the process verifier's score of the whole answer, at least 0, an absent
 * score counting 0 (weighted).
 */
export const selfConsistency: Strategy<typeof PARAMETERS> = {
  name: "self-consistency",
  version: 1,
  about: "Samples n answers and keeps the one that most of them agree on.",
  paper: "Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning, arXiv 2203.11171",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  isOrderAdaptive: false,
  extendsRollouts: false,
  needs: ({ vote }) => ({ processVerifier: vote === "weighted" }),
  costFormula: "n rollouts; n verifications, 2n with weighted votes",
  cost: ({ n, vote }) => ({ rollouts: n, verifications: vote === "weighted" ? 2 * n : n }),

  *search(prompt, { n, vote }) {
    const { values, lost } = yield* gather(
      Array.from({ length: n }, (_, index) => ballot(prompt, { index, vote })),
    );
    const ballots = values.filter((one) => one !== undefined);
    if (ballots.length === 0 && lost !== null) throw new LostError(lost);
    return selectByVote(ballots, vote === "weighted" ? "weighted-vote" : "majority");
  },
};

function* ballot(
  prompt: Prefix,
  { index, vote }: { readonly index: number; readonly vote: Values["vote"] },
): Program<Ballot> {
  const { text, ask } = yield* sample(prompt);
  const prefix = prompt.extend(text, ask);
  const judged = [judge({ role: "outcome", prefix, of: ask })];
  if (vote === "weighted") judged.push(judge({ role: "process", prefix, of: ask }));
  const [verdict = null, process = null] = yield* all(judged);
  const weight = vote === "weighted" ? Math.max(0, scoreOf(process) ?? 0) : 1;
  const hasAnswer = (verdict?.answer ?? null) !== null;
  const candidate = { index, prefix, ask, verdict, score: hasAnswer ? weight : null };
  yield* consider(candidate);
  return { candidate, weight };
}
