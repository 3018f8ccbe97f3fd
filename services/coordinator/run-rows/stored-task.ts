/** The rows of one task, and the texts of its candidates put together from them. */
import { damagedRow, type StoredResult, type StoredRollout } from "./stored-row.ts";

export interface StoredTask {
  readonly id: string;
  readonly strategy: string;
  /** In the order of their asks. */
  readonly rollouts: readonly StoredRollout[];
  readonly byAsk: ReadonlyMap<string, StoredRollout>;
  /** Null where the run was killed before it had settled. */
  readonly result: StoredResult | null;
}

/** @throws data_loss for two rows of one ask. */
export function storedTask(
  rollouts: readonly StoredRollout[],
  place: Pick<StoredTask, "id" | "strategy" | "result">,
): StoredTask {
  const byAsk = new Map<string, StoredRollout>();
  for (const rollout of rollouts) {
    const other = byAsk.get(rollout.ask);
    if (other !== undefined)
      throw damagedRow(rollout.at, `ask ${rollout.ask} of task ${place.id} stands at ${other.at} too`);
    byAsk.set(rollout.ask, rollout);
  }
  return { ...place, rollouts, byAsk };
}

/**
 * The whole text of the path that ends with this rollout, without the prompt.
 * @throws data_loss naming the row whose parent is not there, or is below itself.
 */
export function candidateText(task: StoredTask, rollout: StoredRollout): string {
  if (rollout.candidate_text !== undefined) return rollout.candidate_text;
  const texts = [rollout.text];
  for (let row = rollout; row.parent !== null;) {
    const parent = task.byAsk.get(row.parent);
    if (parent === undefined)
      throw damagedRow(row.at, `its parent ${row.parent} is no rollout of task ${task.id}`);
    if (texts.length > task.rollouts.length)
      throw damagedRow(row.at, `its parent ${row.parent} is below itself`);
    texts.push(parent.text);
    row = parent;
  }
  return texts.toReversed().join("");
}
