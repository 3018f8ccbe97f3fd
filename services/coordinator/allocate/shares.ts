/** Equal shares: what every allocator does with tasks between which it sees no difference. Pure. */
import type { Grants, TaskProgress } from "./allocator.ts";

/**
 * Shares `rollouts` equally among the tasks, each at most `most(task)`. What one cannot take goes to the others; what cannot be
 * shared goes to the lowest ordinals, one each.
 */
export function shareEqually(
  tasks: readonly TaskProgress[],
  rollouts: number,
  most: (task: TaskProgress) => number = ({ wanted }) => wanted,
): Grants {
  const claims = tasks.map((task) => ({ ordinal: task.ordinal, most: Math.min(task.wanted, most(task)) }));
  const level = levelOf(
    claims.map((claim) => claim.most).toSorted((a, b) => a - b),
    rollouts,
  );
  let left = claims.reduce((rest, claim) => rest - Math.min(claim.most, level), rollouts);
  const grants = new Map<number, number>();
  for (const claim of claims.toSorted((a, b) => a.ordinal - b.ordinal)) {
    const one = left >= 1 && level < claim.most ? 1 : 0;
    left -= one;
    const share = Math.min(claim.most, level) + one;
    if (share > 0) grants.set(claim.ordinal, share);
  }
  return grants;
}

/** The highest whole share that every claim can have, or all of what it claims. `claims` ascend. */
function levelOf(claims: readonly number[], rollouts: number): number {
  let left = rollouts;
  for (const [i, claim] of claims.entries()) {
    const share = Math.floor(left / (claims.length - i));
    if (claim > share) return share;
    left -= claim;
  }
  return claims.at(-1) ?? 0;
}
