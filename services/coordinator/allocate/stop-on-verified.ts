import type { Parameter } from "../../search/strategy.ts";
import type { AllocatorKind } from "./allocator.ts";
import { shareEqually } from "./shares.ts";

const PARAMETERS = {
  round: {
    type: "integer",
    default: 8,
    min: 1,
    max: 100_000,
    about: "Rollouts that a task gets before all are looked at again.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/** Rounds of equal size over the tasks that are not solved; what a solved one would have had goes to the others. */
export const stopOnVerified: AllocatorKind<typeof PARAMETERS> = {
  kind: "stop-on-verified",
  about: "A task stops once a candidate is verified correct; the others share what it leaves.",
  paper: "Brown et al. 2024, Large Language Monkeys, arXiv 2407.21787 (coverage under a verifier)",
  parameters: PARAMETERS,

  create: ({ round }) => ({
    first: ({ share }) => Math.min(share, round),
    isEnough: ({ correct }) => correct > 0,
    divide: ({ tasks, rollouts }) => shareEqually(tasks, rollouts, () => round),
  }),
};
