/** What the journal of a run says of its earlier attempts. */
import type { TaskProgress } from "./allocate/allocator.ts";
import type { Cohort } from "./allocate/allotment.ts";
import { CoppiceError } from "../runtime/errors.ts";
import { JOURNAL_FORMAT } from "./journal-entry.ts";
import type {
  AnswerEntry,
  ElapsedEntry,
  JournalEntry,
  JournalHeader,
  LossEntry,
  OrderEntry,
  SpentEntry,
  StopEntry,
} from "./journal-entry.ts";
import { Ledger } from "./ledger.ts";
import type { ProblemsFile } from "./run-directory.ts";
import { SettledOrdinals } from "./settled-ordinals.ts";
import type { Sweep } from "./sweep.ts";
import { type TaskTally, Totals } from "./tally.ts";

/** An entry that settles one ask. */
export type TaskEntry = AnswerEntry | LossEntry | SpentEntry;

/** What else changes a task: rollouts granted to it, and the word to ask for no more. */
export interface GrantedEntry {
  readonly kind: "granted";
  readonly task: string;
  readonly rollouts: number;
}

export type PastEntry = TaskEntry | GrantedEntry | StopEntry;

/** The header that this sweep would write. */
export function headerOf(sweep: Sweep, problems: ProblemsFile): JournalHeader {
  return {
    kind: "sweep",
    format: JOURNAL_FORMAT,
    seed: sweep.seed,
    deterministic: sweep.deterministic,
    problems: problems.count,
    problemsSha256: problems.sha256,
    arms: sweep.arms.map((arm) => ({
      id: arm.id,
      strategy: arm.strategy.name,
      version: arm.strategy.version,
      ...(arm.strategy.module === undefined ? {} : { module: arm.strategy.module.sha256 }),
      parameters: arm.parameters,
    })),
  };
}

/** Everything that a run knows before it opens its first task. Entries of settled tasks are not kept (I6). */
export class Past {
  readonly totals: Totals;
  readonly ledger: Ledger;
  readonly settled = new SettledOrdinals();
  readonly entries = new Map<string, PastEntry[]>();
  /** The last one that began, and the tallies of its tasks that settled. */
  cohort: Cohort | null = null;
  readonly cohortTallies = new Map<number, TaskTally>();
  /** How tasks of the development fold ended. */
  readonly fold: TaskProgress[] = [];
  readonly elapsed = new Map<number, ElapsedEntry>();
  /** Tasks that were opened and not settled: asks of them may have been with hosts when the last attempt ended. */
  readonly opened = new Set<string>();
  order: OrderEntry["order"] = "running";
  rolloutsEnd = 0;
  resultsEnd = 0;

  constructor(sweep: Sweep) {
    this.totals = new Totals(sweep);
    this.ledger = new Ledger(sweep);
  }

  /** What all attempts took. */
  get time(): { readonly ms: number; readonly gpuMs: number } {
    return [...this.elapsed.values()].reduce(
      (sum, { ms, gpuMs }) => ({ ms: sum.ms + ms, gpuMs: sum.gpuMs + gpuMs }),
      { ms: 0, gpuMs: 0 },
    );
  }

  /** Asks of a task that were stopped after they had been sent. */
  spentBefore(task: string): ReadonlySet<string> {
    const entries = this.entries.get(task) ?? [];
    return new Set(
      entries.flatMap((entry) => (entry.kind === "spent" && entry.isHedge !== true ? [entry.ask] : [])),
    );
  }

  visit(entry: JournalEntry): void {
    switch (entry.kind) {
      case "settled":
        this.totals.add(entry.tally);
        this.settled.add(entry.ordinal);
        if (entry.tally.isOfFold === true && entry.tally.progress !== undefined)
          this.fold.push(entry.tally.progress);
        if (this.cohort !== null) this.cohortTallies.set(entry.ordinal, entry.tally);
        this.entries.delete(entry.task);
        this.opened.delete(entry.task);
        this.ledger.close(entry.task);
        this.rolloutsEnd = entry.rolloutsEnd;
        this.resultsEnd = entry.resultsEnd;
        return;
      case "cohort":
        this.cohort = { ...entry, share: entry.share ?? Infinity };
        this.cohortTallies.clear();
        return;
      case "grant":
        for (const [task, rollouts] of Object.entries(entry.grants))
          this.#remember({ kind: "granted", task, rollouts });
        return;
      case "stop":
        return this.#remember(entry);
      case "elapsed":
        this.elapsed.set(entry.attempt, entry);
        return;
      case "opened":
        this.opened.add(entry.task);
        return;
      case "order":
        this.order = entry.order;
        return;
      case "answer":
      case "spent":
      case "loss":
        this.ledger.restore(this.ledger.accountOf(entry.task, armOf(entry.task)), entry.charge);
        return this.#remember(entry);
      case "fence":
        return;
      case "sweep":
        throw new CoppiceError("data_loss", "journal: expected one header, found a second");
    }
  }

  #remember(entry: PastEntry): void {
    const known = this.entries.get(entry.task);
    if (known === undefined) this.entries.set(entry.task, [entry]);
    else known.push(entry);
  }
}

/** The arm of a task, by the task's id (`taskId`): no arm's id has a slash. */
function armOf(task: string): string {
  return task.slice(0, task.indexOf("/"));
}
