import { sampleCandidate } from "../candidate.ts";
import { graver, openGroup } from "../operations.ts";
import type { Candidate, Loss } from "../program.ts";
import { outcomeOf, selectHighest } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 64, min: 1, max: 100_000, about: "Rollouts per problem at most." },
  parallel: { type: "integer", default: 8, min: 1, max: 100_000, about: "Rollouts in flight at once." },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Samples until one answer verifies correct, and then stops the others. A window of `parallel` samples is
 * kept in flight; where none is correct the highest score of all n is kept. pass@k is not defined over its
 * rollouts: how many there are depends on whether they were correct.
 */
export const firstCorrect: Strategy<typeof PARAMETERS> = {
  name: "first-correct",
  version: 1,
  about: "Samples answers until one verifies correct, then stops the rest.",
  paper: "Brown et al. 2024, Large Language Monkeys, arXiv 2407.21787 (coverage with an exact verifier)",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: true,
  extendsRollouts: false,
  grows: ["n"],
  needs: () => ({}),
  costFormula:
    "at most n rollouts and n verifications; about 1/p of each where a rollout is correct with chance p",
  cost: ({ n }) => ({ rollouts: n, verifications: n }),

  *search(prompt, { n, parallel }) {
    const group = openGroup<Candidate>();
    const candidates: Candidate[] = [];
    let lost: Loss | null = null;
    let started = 0;
    for (; started < Math.min(n, parallel); started++) yield* group.add(sampleCandidate(prompt, started));

    for (let member = yield* group.next(); member !== null; member = yield* group.next()) {
      if (member.lost !== null) {
        lost = graver(lost, member.lost);
      } else if (member.value.verdict?.verdict === "correct") {
        yield* group.cancelAll();
        return outcomeOf(member.value, "first-correct");
      } else {
        candidates.push(member.value);
      }
      if (started < n && lost?.reason !== "budget") yield* group.add(sampleCandidate(prompt, started++));
    }
    return selectHighest(candidates, lost);
  },
};
