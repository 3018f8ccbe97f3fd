/**
 * How the asks and the tasks of a run are settled. An ask: journal, then ledger, then search. A task: rows, then journal, then totals.
 * There is no other way in which either is.
 *
 * Invariants: I1 (an ask is settled once: `OpenAsk.accepting`), I2 (`settle` resolves after the journal's write), I3 (a charge takes
 * the place of its reservation), I4 (searches are told in journal order).
 */
import type { FailureClass } from "../queue/failure-classes.ts";
import { NO_TOKENS, UNKNOWN_TOKENS } from "../queue/job.ts";
import type { OpenAsk } from "./backlog.ts";
import { addressee, type Word } from "./hedges.ts";
import type { LossEntry, StopEntry } from "./journal-entry.ts";
import { NOTHING } from "./amount.ts";
import type { Past, PastEntry, TaskEntry } from "./past.ts";
import { endOf } from "./report-entry.ts";
import type { RunFiles } from "./run-files.ts";
import type { RunParts } from "./run-parts.ts";
import type { SettledState } from "./tally.ts";
import type { TaskDispatch } from "./task-dispatch.ts";
import type { TaskRun } from "./task-run.ts";
import type { Watchers } from "./watchers.ts";
import { Withdrawals } from "./withdrawals.ts";

/** Why the rest of a sweep is settled as it stands. */
export type CutShort = "budget" | "cancelled";

/** What the run says of itself, and what it wants to be told. */
export interface SettlementOwner {
  readonly id: string;
  readonly isOver: boolean;
  readonly cutShort: CutShort | null;
  /** The task has something to do. */
  stir(task: TaskRun): void;
  /** The task's rows stand, and it is open no more. */
  settled(task: TaskRun): void;
  /** The run directory cannot be written any more. */
  fail(error: unknown): void;
}

export class Settlement {
  readonly #owner: SettlementOwner;
  readonly #parts: RunParts;
  readonly #files: RunFiles;
  readonly #past: Past;
  readonly #dispatch: TaskDispatch;
  readonly #watchers: Watchers;
  readonly #withdrawals: Withdrawals;
  readonly #openedMs = new Map<TaskRun, number>();
  readonly #settling = new WeakSet<TaskRun>();

  constructor(
    owner: SettlementOwner,
    options: {
      readonly parts: RunParts;
      readonly files: RunFiles;
      readonly past: Past;
      readonly dispatch: TaskDispatch;
      readonly watchers: Watchers;
    },
  ) {
    this.#owner = owner;
    this.#parts = options.parts;
    this.#files = options.files;
    this.#past = options.past;
    this.#dispatch = options.dispatch;
    this.#watchers = options.watchers;
    const { clock, limits, withdraw } = options.parts;
    this.#withdrawals = new Withdrawals({ clock, withdraw, patienceMs: limits.withdrawalMs });
  }

  /** The task begins: its time runs, and what earlier attempts at the run had settled of it is told to its search. */
  begin(task: TaskRun, refusal: string | null): void {
    this.#openedMs.set(task, this.#parts.clock.monotonicMs());
    if (refusal !== null) task.refuse(refusal);
    else this.withdraw(task, task.start());
    for (const entry of this.#past.entries.get(task.id) ?? []) this.#replay(task, entry);
    this.#past.entries.delete(task.id);
    this.#afterStep(task);
  }

  #replay(task: TaskRun, entry: PastEntry): void {
    switch (entry.kind) {
      case "granted":
        return task.grant(entry.rollouts);
      case "forked":
        return task.fork();
      case "joined":
        return task.join();
      case "stop":
        return this.withdraw(task, task.stop(entry));
      default:
        return this.withdraw(task, task.apply(entry));
    }
  }

  /** The task asks for no more rollouts: journal, then search. Those in flight are withdrawn, and what they hold flows back. */
  async stop(task: TaskRun, entry: StopEntry): Promise<void> {
    this.#dispatch.over(task);
    try {
      await this.#files.journal.append(entry);
    } catch (error) {
      return this.#owner.fail(error);
    }
    this.withdraw(task, task.stop(entry));
    this.#afterStep(task);
  }

  /** Whether its rows are being written. */
  isSettling(task: TaskRun): boolean {
    return this.#settling.has(task);
  }

  async settle(task: TaskRun, open: OpenAsk, end: TaskEntry): Promise<void> {
    open.effort.ended(this.#parts.dispatcher.gpus);
    const entry: TaskEntry = { ...end, ...open.effort.read() };
    try {
      await this.#files.journal.append(entry);
    } catch (error) {
      this.#owner.fail(error);
      throw error;
    }
    if (open.reservation !== null) {
      this.#past.ledger.charge(open.reservation, entry.charge);
      this.#dispatch.release();
    }
    if (open.job !== null) this.#parts.dispatcher.settled(open.job, open.ask.id);
    task.copies.delete(open);
    this.withdraw(task, task.apply(entry));
    this.#afterStep(task);
  }

  /** What no worker waits to hear of. A journal that fails ends the run. */
  settleUntold(task: TaskRun, open: OpenAsk, entry: TaskEntry): void {
    open.accepting = this.settle(task, open, entry);
    open.accepting.catch(() => undefined);
  }

  /** It will have no answer. @param failure The class of the failure. */
  lose(task: TaskRun, open: OpenAsk, loss: LossEntry["loss"], failure?: FailureClass): void {
    const cost =
      loss.reason === "budget" ? { usage: NO_TOKENS, charge: NOTHING } : this.#unknownEnd(task, open);
    const why = failure === undefined ? {} : { failure };
    this.settleUntold(task, open, { kind: "loss", task: task.id, ask: open.ask.id, loss, ...why, ...cost });
  }

  /** Nobody will say what a withdrawn ask had cost: of one that a host may have, the worst is charged (I3). */
  assumeStopped(task: TaskRun, open: OpenAsk): void {
    const hedge = open.isHedge ? ({ isHedge: true } as const) : {};
    const end = this.#unknownEnd(task, open);
    this.settleUntold(task, open, { kind: "spent", task: task.id, ask: open.ask.id, ...hedge, ...end });
  }

  #unknownEnd({ prices }: TaskRun, open: OpenAsk): ReturnType<typeof endOf> {
    return endOf(open, UNKNOWN_TOKENS, { prices, isAccepted: false });
  }

  /** Nobody wants these any more, nor second copies of them; workers may hold them. */
  withdraw(task: TaskRun, asks: readonly OpenAsk[]): void {
    const ids = new Set(asks.map(({ ask }) => ask.id));
    const copies = [...task.copies].filter((copy) => !copy.isWithdrawn && ids.has(copy.ask.id));
    for (const copy of copies) copy.isWithdrawn = true;
    this.#tellWithdrawn(task, [...asks, ...copies]);
  }

  /** Whom a word from a job is about; of an ask that was sent twice, the job that lost is told. */
  addressee(task: TaskRun, word: Word): OpenAsk | undefined {
    const { open, loser } = addressee(task, word);
    if (loser !== null) this.#tellWithdrawn(task, [loser]);
    return open;
  }

  #tellWithdrawn(task: TaskRun, asks: readonly OpenAsk[]): void {
    // One that came back from a worker waits for nobody's word; what it had used until then is written.
    for (const open of asks) if (open.job === null && open.accepting === null) this.assumeStopped(task, open);
    this.#withdrawals.tell(asks, (open) => {
      const isHeld = open.isHedge ? task.copies.has(open) : task.asks.get(open.ask.id) === open;
      if (!isHeld || open.accepting !== null || this.#owner.isOver) return;
      if (open.job !== null) this.#parts.dispatcher.settled(open.job, open.ask.id);
      this.assumeStopped(task, open);
    });
  }

  /** Ends a search where it stands, as the rest of the sweep is cut short. */
  cut(task: TaskRun): void {
    if (!task.isEnded) {
      if (this.#owner.cutShort === "budget") task.outOfBudget();
      this.withdraw(task, task.cancel());
    }
    // Who cancels does not wait for workers to say what they had done: what is in flight is charged as the worst.
    if (this.#owner.cutShort === "cancelled")
      for (const open of [...task.asks.values(), ...task.copies])
        if (open.accepting === null) this.assumeStopped(task, open);
    this.#settleIfDone(task);
  }

  /** The run is about to be interrupted: workers need not finish what they hold, it is asked again when the run goes on. */
  stopWork(task: TaskRun): void {
    for (const open of task.asks.values())
      if (open.job !== null && open.accepting === null) this.#parts.withdraw(open.job, [open.ask.id]);
  }

  /** What others hold for a task that is over, asks of it that still run included. */
  letGo(task: TaskRun): void {
    const { dispatcher, segments } = this.#parts;
    for (const open of [...task.asks.values(), ...task.copies]) {
      open.effort.ended(dispatcher.gpus);
      if (open.job !== null) dispatcher.settled(open.job, open.ask.id);
    }
    task.copies.clear();
    for (const id of task.segments.ids) segments.release(id);
    this.#dispatch.over(task);
  }

  #afterStep(task: TaskRun): void {
    if (this.#owner.cutShort === null) this.#settleIfDone(task);
    else this.cut(task);
    this.#owner.stir(task);
  }

  #settleIfDone(task: TaskRun): void {
    const isDone = task.isEnded && task.asks.size + task.copies.size === 0;
    if (!isDone || this.#settling.has(task) || this.#owner.isOver) return;
    this.#settling.add(task);
    this.#dispatch.over(task);
    void this.#settleTask(task).catch((error: unknown) => this.#owner.fail(error));
  }

  async #settleTask(task: TaskRun): Promise<void> {
    const { clock, log } = this.#parts;
    const state: SettledState =
      this.#owner.cutShort === "cancelled" && task.isCut ? "cancelled" : task.settledState;
    const wallMs = clock.monotonicMs() - (this.#openedMs.get(task) ?? 0);
    const tally = task.tally(state);
    const result = task.resultRow(state, wallMs);
    const ends = await this.#files.rows.append(task.rolloutRows(), result);
    await this.#files.journal.append({
      kind: "settled",
      task: task.id,
      ordinal: task.ordinal,
      tally,
      ...ends,
    });
    this.#past.totals.add(tally);
    this.#past.ledger.close(task.id);
    this.#openedMs.delete(task);
    this.letGo(task);
    const verdict = task.selectedVerdict;
    if (state === "failed")
      log.error({ sweep: this.#owner.id, task: task.id, error: result["error"] }, "task_failed");
    const { id, opening } = task;
    this.#watchers.tell({ kind: "task", task: id, state, verdict, rollouts: tally.rollouts, opening });
    this.#owner.settled(task);
  }
}
