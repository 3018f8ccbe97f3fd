import { betaConfidence } from "../../search/strategies/adaptive-consistency.ts";
import type { Parameter } from "../../search/strategy.ts";
import type { AllocatorKind, TaskProgress } from "./allocator.ts";
import { shareEqually } from "./shares.ts";

const PARAMETERS = {
  confidence: {
    type: "number",
    default: 0.95,
    min: 0.5,
    max: 1,
    about: "C: a task stops where the majority stays the majority with this chance.",
  },
  round: {
    type: "integer",
    default: 4,
    min: 1,
    max: 100_000,
    about: "Rollouts that a task gets before all are looked at again; 4 are the fewest that can reach 0.95.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Adaptive consistency over a sweep: with v1 >= v2 the counts of the two most frequent answers, a task stops when
 * P(p1 > p2 | v1, v2) >= C under Beta(v1 + 1, v2 + 1); the others share what it leaves. Needs no verdicts, only answers. Where
 * the verifier reads none, the verdicts vote: the task stops when it is clear whether most of its candidates are correct.
 */
export const agreement: AllocatorKind<typeof PARAMETERS> = {
  kind: "agreement",
  about: "A task stops once its majority is unlikely to change; the others share what it leaves.",
  paper: "Aggarwal et al. 2023, Let's Sample Step by Step: Adaptive-Consistency, arXiv 2305.11860",
  parameters: PARAMETERS,

  create: ({ confidence, round }) => ({
    first: ({ share }) => Math.min(share, round),
    isEnough: (task) => {
      const [first = 0, second = 0] = ballotsOf(task);
      return first > 0 && betaConfidence(first, second) >= confidence;
    },
    divide: ({ tasks, rollouts }) => shareEqually(tasks, rollouts, () => round),
  }),
};

function ballotsOf({ votes, judged, correct }: TaskProgress): readonly number[] {
  if (votes.length > 0) return votes;
  return [correct, judged - correct].toSorted((a, b) => b - a);
}
