import type { AllocatorKind } from "./allocator.ts";
import { shareEqually } from "./shares.ts";

/**
 * Equal shares, granted whole as a task is opened: so tasks are worked off one after the other, which keeps their prefixes in
 * cache. What a task leaves over is shared equally among those that want more.
 */
export const uniform: AllocatorKind = {
  kind: "uniform",
  about: "Every task gets an equal share; what one leaves over is shared among the others.",
  paper: null,
  parameters: {},

  create: () => ({
    first: ({ share }) => share,
    isEnough: () => false,
    divide: ({ tasks, rollouts }) => shareEqually(tasks, rollouts),
  }),
};
