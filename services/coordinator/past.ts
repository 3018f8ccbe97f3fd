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
import type { Reopenings } from "./reopenings.ts";
import { ceilingsOf } from "./revision.ts";
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

/** From here to the matching `joined`, what was asked may differ from what the entries are about: see `TaskRun.fork`. */
export interface ForkEntry {
  readonly kind: "forked" | "joined";
  readonly task: string;
}

export type PastEntry = TaskEntry | GrantedEntry | StopEntry | ForkEntry;

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
    ceilings: ceilingsOf(sweep),
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
  /** Tasks that were settled once, and are not now: they were taken up again. */
  readonly reopened = new Set<string>();
  order: OrderEntry["order"] = "running";
  rolloutsEnd = 0;
  resultsEnd = 0;
  readonly #reopenings: Reopenings | null;
  #settlements = 0;

  /** @param reopenings Which settlements hold; null: all do. */
  constructor(sweep: Sweep, reopenings: Reopenings | null = null) {
    this.#reopenings = reopenings;
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
        this.rolloutsEnd = entry.rolloutsEnd;
        this.resultsEnd = entry.resultsEnd;
        this.opened.delete(entry.task);
        this.#settlements += 1;
        if (this.#reopenings?.holds(entry.ordinal, this.#settlements) === false) {
          this.reopened.add(entry.task);
          return;
        }
        this.reopened.delete(entry.task);
        this.totals.add(entry.tally);
        this.settled.add(entry.ordinal);
        if (entry.tally.isOfFold === true && entry.tally.progress !== undefined)
          this.fold.push(entry.tally.progress);
        if (this.cohort !== null) this.cohortTallies.set(entry.ordinal, entry.tally);
        this.entries.delete(entry.task);
        this.ledger.close(entry.task);
        return;
      case "revised":
        this.cohort = null;
        this.cohortTallies.clear();
        for (const [task, entries] of this.entries) this.entries.set(task, revised(task, entries));
        return;
      case "rows":
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

/** Without what a revision of the run made void. */
function revised(task: string, entries: readonly PastEntry[]): PastEntry[] {
  const isVoid = (entry: PastEntry): boolean =>
    (entry.kind === "stop" && entry.state === "exhausted") ||
    (entry.kind === "loss" && entry.loss.reason === "budget");
  const kept: PastEntry[] = [];
  let isForked = false;
  for (const entry of entries) {
    if (isVoid(entry) && !isForked) {
      isForked = true;
      kept.push({ kind: "forked", task });
    }
    if (!isVoid(entry) && entry.kind !== "granted") kept.push(entry);
  }
  if (isForked) kept.push({ kind: "joined", task });
  return kept;
}

/** The arm of a task, by the task's id (`taskId`): no arm's id has a slash. */
function armOf(task: string): string {
  return task.slice(0, task.indexOf("/"));
}
