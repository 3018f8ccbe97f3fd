/** Which rollouts of a problem are exported, and in which order: the same ones on every export of a run (I4). */
import { deriveSeed } from "../runtime/random.ts";
import type { StoredRollout } from "../coordinator/run-rows/stored-row.ts";
import { candidateText, type StoredTask } from "../coordinator/run-rows/stored-task.ts";

export interface PickOptions {
  readonly keep: "verified" | "all";
  /** Rollouts below it, and those without a score, are left out; null keeps all. */
  readonly scoreMin: number | null;
  /** Per problem, over all its arms; null is no limit. */
  readonly max: number | null;
  /** Of several with an equal text, or answer, the first in the order is kept. */
  readonly dedupe: "text" | "answer" | "none";
  /** score: the highest first, those without one last; shortest: by the text's length; ties by chance. first: as asked. */
  readonly order: "score" | "shortest" | "random" | "first";
  readonly seed: number;
}

/** A rollout with the whole text of its path: what a candidate is, and what a rollout that ended none would be. */
export interface Picked {
  readonly task: StoredTask;
  readonly rollout: StoredRollout;
  readonly text: string;
}

/** What became of every rollout. */
export interface ExportCounts {
  problems: number;
  /** Of these problems, those that have a row. */
  problemsWithRows: number;
  rollouts: number;
  /** With a verdict, and with the verdict "correct". */
  judged: number;
  verified: number;
  /** Left out, in this order. */
  belowScore: number;
  duplicates: number;
  overMax: number;
  rows: number;
}

export function newCounts(): ExportCounts {
  return {
    problems: 0,
    problemsWithRows: 0,
    rollouts: 0,
    judged: 0,
    verified: 0,
    belowScore: 0,
    duplicates: 0,
    overMax: 0,
    rows: 0,
  };
}

/** Every rollout of a problem that `isWanted`, as asked, arm by arm. */
export function rolloutsOf(
  tasks: readonly StoredTask[],
  isWanted: (rollout: StoredRollout) => boolean,
): readonly Picked[] {
  return tasks.flatMap((task) =>
    task.rollouts.filter(isWanted).map((rollout) => ({ task, rollout, text: candidateText(task, rollout) })),
  );
}

/** What remains, in the order of `options.order`, and how many were left out and why, added to `counts`. */
export function pick(
  found: readonly Picked[],
  options: PickOptions,
  counts: Pick<ExportCounts, "belowScore" | "duplicates" | "overMax">,
): readonly Picked[] {
  const { scoreMin, max, dedupe } = options;
  const scored = found.filter(
    ({ rollout: { score } }) => scoreMin === null || (score ?? -Infinity) >= scoreMin,
  );
  const ordered = sorted(scored, options);
  const different = dedupe === "none" ? ordered : withoutEqual(ordered, dedupe);
  const picked = max === null ? different : different.slice(0, max);
  counts.belowScore += found.length - scored.length;
  counts.duplicates += ordered.length - different.length;
  counts.overMax += different.length - picked.length;
  return picked;
}

function sorted(found: readonly Picked[], { order, seed }: PickOptions): readonly Picked[] {
  if (order === "first") return found;
  const rankOf = ({ rollout, text }: Picked): number => {
    if (order === "score") return -(rollout.score ?? -Infinity);
    return order === "shortest" ? text.length : 0;
  };
  const ranked = found.map((picked) => {
    // Names alone decide: what else is exported changes no order.
    const lot = deriveSeed(seed, "export", picked.task.id, picked.rollout.ask);
    return { picked, rank: rankOf(picked), lot };
  });
  // Compared, not subtracted: ranks may be infinite. `sort` is stable, so that equal lots stay as asked.
  const sign = (a: number, b: number): number => Number(a > b) - Number(a < b);
  return ranked.toSorted((a, b) => sign(a.rank, b.rank) || a.lot - b.lot).map(({ picked }) => picked);
}

/** An answer that was not read is equal to none: there texts are compared. */
function withoutEqual(found: readonly Picked[], by: "text" | "answer"): readonly Picked[] {
  const seen = new Set<string>();
  return found.filter(({ rollout, text }) => {
    const answer = by === "answer" ? (rollout.answer ?? null) : null;
    const key = answer === null ? `text ${normalised(text)}` : `answer ${answer}`;
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew;
  });
}

/** Texts that differ in white space, or in how Unicode writes a character, are equal. */
export function normalised(text: string): string {
  return text.normalize("NFKC").replaceAll(/\s+/gu, " ").trim();
}
