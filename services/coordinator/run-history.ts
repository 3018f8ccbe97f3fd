/**
 * What a run has behind it, as its journal says, and what is new in the sweep that goes on with it: more budget, more samples. Then
 * tasks are taken up again that were settled; the journal says so first, and their rows are cut from the run's files.
 */
import { join } from "node:path";
import type { Disk } from "../runtime/disk.ts";
import { Journal } from "./journal.ts";
import { checkHeader, type JournalEntry, type JournalHeader } from "./journal-entry.ts";
import { headerOf, Past } from "./past.ts";
import { Reopenings } from "./reopenings.ts";
import { checkCeilings, grownArms, revisionOf, type SweepMark } from "./revision.ts";
import { type ProblemsFile, replaceFile, RUN_FILES } from "./run-directory.ts";
import { removeCopies } from "./row-copies.ts";
import { dropStaleRows } from "./stale-rows.ts";
import type { Sweep } from "./sweep.ts";

export interface HistoryOptions {
  readonly problems: ProblemsFile;
  /** Of the run's lock. */
  readonly generation: number;
  /** A new `resolved.yaml`, of a sweep that was changed. */
  readonly resolved?: string | undefined;
  readonly disk: Disk;
}

export interface History {
  readonly journal: Journal;
  readonly past: Past;
  /** Bytes of the journal that did not count. */
  readonly tornBytes: number;
}

/** @throws data_loss; failed_precondition for a run that searches differently, invalid_argument for a budget below what is spent. */
export async function openHistory(
  sweep: Sweep,
  { problems, generation, resolved, disk }: HistoryOptions,
): Promise<History> {
  const directory = sweep.output;
  const first = new Past(sweep);
  const reopenings = new Reopenings(sweep.arms.map(({ id }) => id));
  const visit = (entry: JournalEntry): void => {
    first.visit(entry);
    reopenings.visit(entry);
  };
  const { journal, header, tornBytes } = await Journal.reopen(join(directory, RUN_FILES.journal), visit, {
    disk,
    generation,
  });
  try {
    await removeCopies(directory, [RUN_FILES.rollouts, RUN_FILES.results], disk);
    const mark = reopenings.mark ?? header;
    const expected = headerOf(sweep, problems);
    checkHeader(expected, asGrown(header, mark, sweep), directory);
    checkCeilings(sweep, mark, { ledger: first.ledger, time: first.time, where: directory });
    // Before the journal says so: should we die between the two, the next attempt finds the change again.
    if (resolved !== undefined) await replaceFile(join(directory, RUN_FILES.resolved), resolved, disk);
    const revision = revisionOf(sweep, expected, mark);
    if (revision !== null) {
      await journal.append(revision);
      reopenings.visit(revision);
    }
    // A run that was never revised is read once.
    if (reopenings.mark === null) return { journal, past: first, tornBytes };
    const past = new Past(sweep, reopenings);
    await journal.reread((entry) => past.visit(entry));
    if (reopenings.hasStaleRows) {
      const { reopened: tasks, rolloutsEnd, resultsEnd } = past;
      const confirm = (): Promise<void> => journal.confirm();
      const rows = await dropStaleRows(directory, { tasks, rolloutsEnd, resultsEnd, disk, confirm });
      await journal.append(rows);
      past.visit(rows);
    }
    return { journal, past, tornBytes };
  } catch (error) {
    await journal.close();
    throw error;
  }
}

/** The header as the run has it now, and as this sweep would have it where only parameters have grown that may. */
function asGrown(header: JournalHeader, mark: SweepMark, sweep: Sweep): JournalHeader {
  const grown = grownArms(sweep.arms, mark);
  const arms = mark.arms.map((arm) => {
    const now = grown.includes(arm.id) ? sweep.arms.find(({ id }) => id === arm.id) : undefined;
    return now === undefined ? arm : { ...arm, parameters: now.parameters };
  });
  return { ...header, arms };
}
