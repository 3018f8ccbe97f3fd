import type { Parameter } from "../../search/strategy.ts";
import type { AllocatorKind, Grants, Round, TaskProgress } from "./allocator.ts";
import { shareEqually } from "./shares.ts";

const PARAMETERS = {
  probe: {
    type: "integer",
    default: 8,
    min: 1,
    max: 100_000,
    about: "Rollouts that every task gets first.",
  },
  eta: {
    type: "number",
    default: 2,
    min: 1.1,
    max: 64,
    about: "One in eta of a rung's tasks goes on to the next.",
  },
  explore: {
    type: "number",
    default: 0.5,
    min: 0,
    max: 100,
    about: "Weight of what is not known yet of a task beside its best score.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Successive halving over the tasks that are not solved. Of the tasks that have come furthest, the most promising one in eta
 * goes on, and a rung's part of the budget is shared among those. Promise is the best score so far and an upper confidence
 * bound on top, so that a task which comes close is preferred to one whose candidates are all worthless. When the top rung is
 * solved, or has had all that it may ask for, the one below goes on: the budget is used up. A task that is solved is done.
 */
export const halving: AllocatorKind<typeof PARAMETERS> = {
  kind: "halving",
  about: "Rungs: each time the most promising of the unsolved tasks go on with more.",
  paper:
    "Jamieson and Talwalkar 2016, arXiv 1502.07943; Zuo and Zhu 2025, Strategic Scaling, arXiv 2506.12721",
  parameters: PARAMETERS,

  create: ({ probe, eta, explore }) => ({
    first: ({ share }) => Math.min(share, probe),
    isEnough: ({ correct }) => correct > 0,
    divide({ tasks, ended, rollouts }: Round): Grants {
      const furthest = Math.max(...tasks.map(({ granted }) => granted));
      // Those that could not have their first rollouts yet come before any rung.
      const unprobed = tasks.filter(({ granted }) => granted < Math.min(probe, furthest));
      if (unprobed.length > 0) return shareEqually(unprobed, rollouts, ({ granted }) => probe - granted);
      const rung = tasks.filter(({ granted }) => granted === furthest);
      const made = [...tasks, ...ended].reduce((sum, task) => sum + task.made, 0);
      const best = rung
        .toSorted(
          (a, b) => promise(b, { made, explore }) - promise(a, { made, explore }) || a.ordinal - b.ordinal,
        )
        .slice(0, Math.ceil(rung.length / eta));
      const rungs = Math.max(1, Math.ceil(Math.log(rung.length) / Math.log(eta)));
      const each = Math.floor(rollouts / rungs / best.length);
      // A whole share each, so that a rung stays together.
      return shareEqually(best, each < 1 ? rollouts : each * best.length, () => Math.max(1, each));
    },
  }),
};

/** Best score so far and a UCB bonus, explore sqrt(ln N / n). A verdict without a score counts 0 here: the task is unsolved. */
function promise(
  { bestScore, made }: TaskProgress,
  { made: all, explore }: { readonly made: number; readonly explore: number },
): number {
  return (bestScore ?? 0) + explore * Math.sqrt(Math.log(Math.max(1, all)) / Math.max(1, made));
}
