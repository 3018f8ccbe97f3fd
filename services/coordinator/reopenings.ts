/**
 * Which settlements of a journal still hold: a run that was revised takes tasks up again that were settled. Read before the
 * journal is read for good, since a task's entries are kept only where it is not settled (I6: a few numbers for each task here).
 */
import type { JournalEntry, RevisedEntry } from "./journal-entry.ts";
import type { SweepMark } from "./revision.ts";
import type { SettledState } from "./tally.ts";

export class Reopenings {
  /** The sweep as the last revision left it; null without any. */
  mark: SweepMark | null = null;
  /** Rows of tasks that were taken up again are still in the run's files. */
  hasStaleRows = false;
  readonly #arms: readonly string[];
  /** By ordinal: which of all settlements is the one that holds, from 1; 0 or none: there is none. */
  readonly #holding: number[] = [];
  readonly #states: (SettledState | "enough")[] = [];
  /** Tasks that their allocator stopped since they had enough, and that are not settled yet. */
  readonly #enough = new Set<string>();
  #settlements = 0;

  /** @param arms Their ids, in order. */
  constructor(arms: readonly string[]) {
    this.#arms = arms;
  }

  visit(entry: JournalEntry): void {
    if (entry.kind === "stop" && entry.state === "completed") this.#enough.add(entry.task);
    else if (entry.kind === "settled") {
      this.#settlements += 1;
      this.#holding[entry.ordinal] = this.#settlements;
      this.#states[entry.ordinal] = this.#enough.delete(entry.task) ? "enough" : entry.tally.state;
    } else if (entry.kind === "revised") this.#revise(entry);
    else if (entry.kind === "rows") this.hasStaleRows = false;
  }

  /** @param settlement Its number among all settlements of the journal, from 1. */
  holds(ordinal: number, settlement: number): boolean {
    return this.#holding[ordinal] === settlement;
  }

  #revise({ arms, ceilings, reopens }: RevisedEntry): void {
    this.mark = { arms, ceilings };
    for (const [ordinal, holding] of this.#holding.entries()) {
      if (holding === undefined || holding === 0) continue;
      const state = this.#states[ordinal];
      const arm = this.#arms[ordinal % this.#arms.length] ?? "";
      const isReopened =
        (state === "exhausted" && reopens.exhausted) || (state === "completed" && reopens.arms.includes(arm));
      if (!isReopened) continue;
      this.#holding[ordinal] = 0;
      this.hasStaleRows = true;
    }
  }
}
