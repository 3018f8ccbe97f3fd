/**
 * Who may ask for how many rollouts: an allocator's rule, applied to the tasks of a sweep as they open, rest and end. No I/O;
 * what it decides is journaled and carried out by `allocation.ts`.
 *
 * Under a ceiling that may bind, tasks are opened in cohorts, and a round is divided when every task of the cohort rests. So
 * grants are a function of answers and not of their arrival (I4), and what is open is bounded (I6). A cohort's part of the
 * budget is what is left, by its share of the tasks that are left; what it does not spend flows on to later ones. Where nothing
 * binds there are no cohorts: a task that rests is granted more alone and at once. An allocator with a development fold always
 * has cohorts, and those of the fold end where it ends.
 */
import type { Allocator, TaskProgress } from "./allocator.ts";

/** A task that is open. */
export interface AllottedTask {
  readonly ordinal: number;
  readonly arm: { readonly id: string };
  readonly problem: { readonly id: string };
  readonly progress: TaskProgress;
  /** All that it waits for are rollouts which it was not granted. */
  readonly isResting: boolean;
}

/** The tasks [from, to), which are open together. */
export interface Cohort {
  readonly from: number;
  readonly to: number;
  /** An equal share of what it may spend, in rollouts. */
  readonly share: number;
  /** Rollouts charged when it began. */
  readonly charged: number;
  /** Part of what could be afforded then that is kept for later cohorts. */
  readonly kept: number;
}

/** What the ledger says. */
export interface Means {
  /** Rollouts that can be afforded; Infinity without a ceiling. */
  readonly rollouts: number;
  /** Rollouts charged so far. */
  readonly charged: number;
}

/** How long what a task says is remembered: while its cohort is open, or to the end of the run. */
export type LearnedFrom = "cohort" | "fold";

export interface Stop<T> {
  readonly task: T;
  readonly state: "completed" | "exhausted";
  readonly reason: string | null;
}

export interface Division<T> {
  readonly grants: ReadonlyMap<T, number>;
  readonly stops: readonly Stop<T>[];
}

export interface AllotmentOptions {
  readonly allocator: Allocator;
  /** Tasks of the sweep, and of each problem. */
  readonly tasks: number;
  readonly arms: number;
  /** Ordinals of tasks that an earlier attempt settled. */
  readonly settled: { has(ordinal: number): boolean };
  /** Tasks that are open together under a ceiling. */
  readonly cohortTasksMax: number;
  /** Whether any ceiling may bind. */
  readonly isBound: boolean;
  /** Whether a task is looked at only when it rests, so that what it was granted is never cut short by who answers first. */
  readonly isDeterministic: boolean;
  /** The cohort that an earlier attempt began last, and its tasks that are ended. */
  readonly begun: { readonly cohort: Cohort; readonly ended: readonly TaskProgress[] } | null;
  /** Tasks of the development fold that an earlier attempt settled before that cohort. */
  readonly fold?: readonly TaskProgress[];
}

export class Allotment<T extends AllottedTask> {
  readonly #options: AllotmentOptions;
  readonly #open = new Map<number, T>();
  readonly #resting = new Set<T>();
  /** Told to ask for no more, and not settled yet. */
  readonly #stopping = new Set<T>();
  #ended: TaskProgress[] = [];
  /** Of earlier cohorts, those of the development fold. */
  readonly #fold: TaskProgress[];
  #cohort: Cohort | null = null;
  /** Of the task that is opened next. */
  #next = 0;

  constructor(options: AllotmentOptions) {
    this.#options = options;
    this.#cohort = options.begun?.cohort ?? null;
    this.#ended = [...(options.begun?.ended ?? [])];
    this.#fold = [...(options.fold ?? [])];
    this.#advance(0);
  }

  /** Whether the next task may be opened; `begin`: once a cohort has begun. */
  get opening(): "open" | "begin" | "wait" {
    const { tasks } = this.#options;
    if (!this.#hasCohorts || this.#next >= tasks || this.#holds(this.#next)) return "open";
    return this.#open.size === 0 ? "begin" : "wait";
  }

  begin({ rollouts, charged }: Means): Cohort {
    const { tasks, arms, cohortTasksMax } = this.#options;
    // The arms of one problem stay together: an allocator may compare them.
    const size = Math.max(1, Math.floor(cohortTasksMax / arms)) * arms;
    const from = this.#next;
    const end = Math.ceil((from + 1) / arms) * arms - arms + size;
    const to = Math.min(tasks, end, from < this.#foldEnd ? this.#foldEnd : tasks);
    const left = this.#weigh(from, tasks);
    const weight = this.#weigh(from, to);
    const kept = (left - weight) / left;
    this.#fold.push(...this.#ended.filter(({ ordinal }) => ordinal < this.#foldEnd));
    this.#ended = [];
    this.#cohort = { from, to, share: Math.floor((rollouts * (1 - kept)) / weight), charged, kept };
    return this.#cohort;
  }

  /** Whether and for how long the allocator learns from how a task ends; null: it has no fold to learn for. */
  learnsFrom(ordinal: number): LearnedFrom | null {
    if (this.#foldEnd === 0) return null;
    return ordinal < this.#foldEnd ? "fold" : "cohort";
  }

  get #hasCohorts(): boolean {
    return this.#options.isBound || this.#foldEnd > 0;
  }

  /** The first ordinal behind the development fold. */
  get #foldEnd(): number {
    return (this.#options.allocator.fold ?? 0) * this.#options.arms;
  }

  /** How many shares the tasks from `from` to `to` have that are not settled. */
  #weigh(from: number, to: number): number {
    const { arms, settled } = this.#options;
    const whole = this.#foldEnd === 0 ? to : Math.min(to, Math.max(from, this.#foldEnd));
    return countFrom(from, whole, settled) + countFrom(whole, to, settled) / arms;
  }

  /** @returns Rollouts that it is granted first. */
  opened(task: T): number {
    const { ordinal, arm, problem } = task;
    this.#open.set(ordinal, task);
    this.#advance(ordinal + 1);
    const share = this.#holds(ordinal) ? (this.#cohort?.share ?? 0) : this.#hasCohorts ? 0 : Infinity;
    const first = this.#options.allocator.first({ ordinal, arm: arm.id, problem: problem.id, share });
    return Math.min(first, share);
  }

  /** Something happened to the task. @returns Whether it has enough: it is to be stopped. Said once. */
  saw(task: T): boolean {
    if (!this.#open.has(task.ordinal) || this.#stopping.has(task)) return false;
    if (task.isResting) this.#resting.add(task);
    else this.#resting.delete(task);
    if (this.#options.isDeterministic && !task.isResting) return false;
    const { progress } = task;
    if (progress.isEnded || !this.#options.allocator.isEnough(progress)) return false;
    return this.stop(task);
  }

  /** The task is to be stopped. @returns False where that was said before. */
  stop(task: T): boolean {
    if (!this.#open.has(task.ordinal) || this.#stopping.has(task)) return false;
    this.#resting.delete(task);
    this.#stopping.add(task);
    return true;
  }

  /** Whether it was said of the task that it is to be stopped. */
  isStopping(task: T): boolean {
    return this.#stopping.has(task);
  }

  settled(task: T): void {
    if (!this.#open.delete(task.ordinal)) return;
    this.#resting.delete(task);
    this.#stopping.delete(task);
    if (this.#holds(task.ordinal)) this.#ended.push(task.progress);
  }

  /** What the tasks that rest are granted now, and which of them are to be stopped. Both are empty where it is not time yet. */
  divide(means: Means): Division<T> {
    if (this.#resting.size === 0) return { grants: new Map(), stops: [] };
    if (!this.#hasCohorts) return this.#divideAlone();
    const isOpened = this.#next >= this.#options.tasks || !this.#holds(this.#next);
    if (!isOpened || this.#resting.size < this.#open.size) return { grants: new Map(), stops: [] };
    return this.#divideAmong([...this.#resting], this.#partOf(means));
  }

  #divideAlone(): Division<T> {
    const grants = new Map<T, number>();
    const stops: Stop<T>[] = [];
    for (const task of this.#resting) {
      const division = this.#divideAmong([task], Infinity);
      for (const [each, rollouts] of division.grants) grants.set(each, rollouts);
      stops.push(...division.stops);
    }
    return { grants, stops };
  }

  #divideAmong(resting: readonly T[], rollouts: number): Division<T> {
    const { allocator } = this.#options;
    const tasks = resting.map(({ progress }) => progress).toSorted((a, b) => a.ordinal - b.ordinal);
    const round = { tasks, ended: [...this.#fold, ...this.#ended], rollouts };
    const passed = allocator.passOver?.(round) ?? new Map<number, string | null>();
    const rest = tasks.filter(({ ordinal }) => !passed.has(ordinal));
    const given =
      rollouts < 1 || rest.length === 0
        ? new Map<number, number>()
        : allocator.divide({ ...round, tasks: rest });
    const grants = new Map<T, number>();
    const stops: Stop<T>[] = [];
    for (const task of resting) {
      const count = given.get(task.ordinal) ?? 0;
      if (count > 0) grants.set(task, count);
      // Nothing is in flight and nobody was granted anything: no more will come.
      else if (passed.has(task.ordinal) || given.size === 0)
        stops.push({ task, state: "exhausted", reason: passed.get(task.ordinal) ?? null });
    }
    for (const task of grants.keys()) this.#resting.delete(task);
    for (const { task } of stops) this.stop(task);
    return { grants, stops };
  }

  /** What the cohort may spend still. What it has spent was part of what could be afforded when it began. */
  #partOf({ rollouts, charged }: Means): number {
    if (this.#cohort === null) return 0;
    if (rollouts === Infinity) return Infinity;
    const spent = charged - this.#cohort.charged;
    return Math.max(0, Math.floor(rollouts - this.#cohort.kept * (rollouts + spent)));
  }

  #holds(ordinal: number): boolean {
    return this.#cohort !== null && ordinal >= this.#cohort.from && ordinal < this.#cohort.to;
  }

  #advance(from: number): void {
    const { settled } = this.#options;
    for (this.#next = from; settled.has(this.#next);) this.#next += 1;
  }
}

function countFrom(from: number, to: number, settled: AllotmentOptions["settled"]): number {
  let count = 0;
  for (let ordinal = from; ordinal < to; ordinal += 1) if (!settled.has(ordinal)) count += 1;
  return count;
}
