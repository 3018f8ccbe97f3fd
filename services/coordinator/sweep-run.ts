/**
 * The runner of one sweep: asks -> reserve -> coalesce siblings into a job -> lane; report -> journal -> acknowledge ->
 * charge -> tell. It owns the sweep's open tasks and their states; `TaskDispatch` carries asks out, `Reception` takes what
 * comes back, `Settlement` settles it; it calls the dispatcher and is called by the coordinator's desk.
 *
 * Invariants: I1 and I2 (`accept` resolves once the settlement has it on disk), I4 (seeds are derived), I5 (what a task throws
 * ends that task), I6 (tasks are opened just ahead of need).
 */
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import type { Job, Report } from "../queue/job.ts";
import { Allocation } from "./allocation.ts";
import type { OpenAsk } from "./backlog.ts";
import type { SweepRun } from "./coordinator-api.ts";
import { DecisionLog } from "./decision-log.ts";
import { untilOver } from "./leaving.ts";
import { Hedges } from "./hedges.ts";
import { PlacementNews } from "./placement-news.ts";
import type { Decision } from "./scheduler/decision.ts";
import type { TaskTree } from "./task-tree.ts";
import type { JobOwner } from "./scheduler/dispatcher.ts";
import type { JournalEntry } from "./journal-entry.ts";
import type { Past } from "./past.ts";
import { tryRenderPrompt } from "./sweep-file/prompt-template.ts";
import { budgetLoss } from "./report-entry.ts";
import { RunFiles } from "./run-files.ts";
import type { RunParts } from "./run-parts.ts";
import type { Summary, SweepEvent, SweepState, SweepStatus } from "./status.ts";
import { Reception } from "./reception.ts";
import { Retries } from "./retries.ts";
import { Routes } from "./routes.ts";
import type { Arm, Sweep } from "./sweep.ts";
import { budgetOf, curvePointOf, statusOf } from "./sweep-status.ts";
import { TaskDispatch } from "./task-dispatch.ts";
import { TaskLine, type TaskToOpen } from "./task-line.ts";
import { TaskOpener } from "./task-opener.ts";
import { type CutShort, Settlement, type SettlementOwner } from "./settlement.ts";
import { taskId, TaskRun } from "./task-run.ts";
import { TimeSpent } from "./time-spent.ts";
import { presentGpus } from "./present-gpus.ts";
import { Timers, Watchers } from "./watchers.ts";

export class Run implements SweepRun, JobOwner {
  readonly id: string;
  readonly #sweep: Sweep;
  readonly #parts: RunParts;
  readonly #files: RunFiles;
  readonly #past: Past;
  readonly #attempt: number;
  readonly #total: number;
  readonly #time: TimeSpent;
  readonly #tasks = new Map<string, TaskRun>();
  /** Tasks that have something to do since the last pass. */
  readonly #stirred = new Set<TaskRun>();
  readonly #opener: TaskOpener;
  readonly #routes: ReadonlyMap<Arm, Routes>;
  readonly #dispatch: TaskDispatch;
  readonly #settlement: Settlement;
  readonly #allocation: Allocation;
  readonly #reception: Reception;
  readonly #watchers = new Watchers();
  readonly #timers: Timers;
  readonly #decisions: DecisionLog;
  readonly #news: PlacementNews;
  /** Null where the sweep does not want it. */
  readonly #hedges: Hedges | null;
  #isPassQueued = false;
  #isLeaving = false;
  #state: SweepState = "running";
  /** Set once: how the rest of the sweep is to be settled. */
  #cutShort: CutShort | null = null;
  #failure: Error | null = null;
  readonly #end = Promise.withResolvers<Summary>();

  private constructor(options: {
    readonly id: string;
    readonly sweep: Sweep;
    readonly parts: RunParts;
    readonly files: RunFiles;
    readonly past: Past;
  }) {
    this.id = options.id;
    this.#sweep = options.sweep;
    this.#parts = options.parts;
    this.#files = options.files;
    this.#past = options.past;
    this.#attempt = Math.max(0, ...options.past.elapsed.keys()) + 1;
    this.#total = options.files.problems * options.sweep.arms.length;
    const { clock, limits, log } = options.parts;
    this.#timers = new Timers(clock);
    const decisionOptions = { clock, log, attempt: this.#attempt, limits: limits.decisions };
    this.#decisions = new DecisionLog(options.files.decisions, decisionOptions);
    const rule = options.sweep.hedge;
    const { scheduler } = options.parts.dispatcher;
    const isUp = (host: string): boolean => scheduler.host(host)?.isUp ?? false;
    this.#hedges = rule === null ? null : new Hedges({ rule, limits: limits.hedges, clock, isUp });
    const tell = (event: SweepEvent): void => this.#watchers.tell(event);
    this.#news = new PlacementNews({ clock, perSecondMax: limits.placedPerSecondMax, tell });
    this.#opener = new TaskOpener(
      new TaskLine(options.sweep, options.past.settled, options.parts.disk),
      (next) => {
        if (!this.#isOver) this.#openTask(next);
      },
    );
    this.#routes = new Map(options.sweep.arms.map((arm) => [arm, new Routes(options.sweep, arm)]));
    this.#time = new TimeSpent({
      sweep: options.sweep,
      clock,
      ledger: options.past.ledger,
      attempt: this.#attempt,
      earlier: options.past.time,
      aheadMs: limits.metricsMs,
      gpus: presentGpus(options.parts.dispatcher, this.#routes.values()),
      onReached: () => this.#cutRest("budget"),
    });
    this.#dispatch = new TaskDispatch({
      id: options.id,
      attempt: this.#attempt,
      siblingsMax: limits.siblingsMax,
      dispatcher: options.parts.dispatcher,
      ledger: options.past.ledger,
      owner: this,
      isSending: () => this.#state === "running" && !this.#isLeaving,
      outOfBudget: (task, open, shortage) => this.#settlement.lose(task, open, budgetLoss(shortage)),
      onMissing: (message) => this.notice(message),
      onDecision: (tree, decision, asks) => this.#decided(tree, decision, asks),
    });
    this.#settlement = new Settlement(this.#settlementOwner(), {
      parts: options.parts,
      files: options.files,
      past: options.past,
      dispatch: this.#dispatch,
      watchers: this.#watchers,
    });
    this.#reception = new Reception({
      parts: options.parts,
      dispatch: this.#dispatch,
      settlement: this.#settlement,
      retries: new Retries({
        send: (task, open) => this.#dispatch.retry(task, open),
        notice: (message) => this.notice(message),
      }),
      hedges: this.#hedges,
      isCutShort: () => this.#cutShort !== null,
      stir: (task) => this.#stir(task),
    });
    this.#allocation = new Allocation({
      sweep: options.sweep,
      past: options.past,
      problems: options.files.problems,
      cohortTasksMax: Math.min(limits.cohortTasksMax, limits.openTasksMax),
      note: (entry) => this.#note(entry),
      stop: (task, entry) => void this.#settlement.stop(task, entry),
      funded: (task) => this.#dispatch.stir(task),
    });
    // Somebody may only ever watch; a run that fails is told to watchers too.
    this.ended.catch(() => undefined);
  }

  /** Opens the run directory of a sweep, new or not, rebuilds what its journal says, and starts. */
  static async open(id: string, sweep: Sweep, parts: RunParts, resolved?: string): Promise<Run> {
    let lost: (error: CoppiceError) => void = () => undefined;
    const { clock, say: onWatching } = parts;
    const onLost = (error: CoppiceError): void => lost(error);
    const lockOptions = { clock, onLost, ...(onWatching === undefined ? {} : { onWatching }) };
    const { files, past } = await RunFiles.open(sweep, { ...parts, lockOptions, resolved });
    const run = new Run({ id, sweep, parts, files, past });
    lost = (error) => void run.#fail(error);
    run.#start();
    return run;
  }

  get ended(): Promise<Summary> {
    return this.#end.promise;
  }

  status(): SweepStatus {
    const run = {
      id: this.id,
      sweep: this.#sweep,
      state: this.#state,
      total: this.#total,
      time: this.#time,
    };
    return statusOf(run, {
      totals: this.#past.totals,
      ledger: this.#past.ledger,
      open: [...this.#tasks.values()],
      dispatcher: this.#parts.dispatcher,
    });
  }

  watch(listener: (event: SweepEvent) => void): () => void {
    const unwatch = this.#watchers.add(listener);
    listener({ kind: "status", status: this.status() });
    for (const message of this.#dispatch.missing) listener({ kind: "log", level: "warn", message });
    if (this.#isOver) listener({ kind: "ended", summary: this.#summary() });
    return unwatch;
  }

  pause(): void {
    if (this.#state === "running") this.#changeState("paused");
    this.#note({ kind: "order", order: "paused" });
  }

  resume(): void {
    if (this.#state !== "paused") return;
    this.#changeState("running");
    this.#note({ kind: "order", order: "running" });
    this.#dispatch.release();
    this.pump();
  }

  async cancel(reason: string): Promise<void> {
    if (this.#isOver || this.#cutShort !== null) return;
    this.#watchers.tell({ kind: "log", level: "warn", message: `cancelled: ${reason}` });
    this.#note({ kind: "order", order: "cancelled" });
    this.#cutRest("cancelled");
    await this.ended.catch(() => undefined);
  }

  async interrupt(graceMs = 0): Promise<void> {
    if (this.#isOver) return;
    this.#isLeaving = true;
    await untilOver(this.#parts.clock, graceMs, () => this.#isOver || this.status().in_flight === 0);
    for (const task of this.#tasks.values()) this.#settlement.stopWork(task);
    await this.#close("interrupted");
  }

  /** Dispatches what there is room and budget for, soon; many calls in one turn are one pass. */
  pump(): void {
    if (this.#isPassQueued || this.#isOver) return;
    this.#isPassQueued = true;
    setImmediate(() => {
      this.#isPassQueued = false;
      try {
        this.#pass();
      } catch (error) {
        void this.#fail(error);
      }
    });
  }

  /** Something that whoever watches the sweep should know. */
  notice(message: string): void {
    this.#watchers.tell({ kind: "log", level: "warn", message });
  }

  /** A report of a worker. Resolves once it needs no sending again. */
  accept(report: Report): Promise<void> {
    const task = this.#tasks.get(report.task);
    if (this.#state === "interrupted") {
      return Promise.reject(
        new CoppiceError("unavailable", `sweep ${this.id} is interrupted; its journal is closed`),
      );
    }
    if (task === undefined || this.#isOver) return Promise.resolve();
    return this.#reception.accept(task, report);
  }

  returned(job: Job, asks: readonly string[], isLost: boolean): void {
    const task = this.#tasks.get(job.task);
    if (task !== undefined) this.#reception.returned(task, job, { asks, isLost });
  }

  givenUp(job: Job, asks: readonly string[], why: string): void {
    const task = this.#tasks.get(job.task);
    if (task !== undefined) this.#reception.givenUp(task, job, { asks, why });
  }

  #settlementOwner(): SettlementOwner {
    const isOver = (): boolean => this.#isOver;
    const cutShort = (): CutShort | null => this.#cutShort;
    return {
      id: this.id,
      get isOver() {
        return isOver();
      },
      get cutShort() {
        return cutShort();
      },
      stir: (task) => this.#stir(task),
      settled: (task) => this.#taskSettled(task),
      fail: (error) => void this.#fail(error),
    };
  }

  #start(): void {
    const { limits } = this.#parts;
    this.#parts.dispatcher.scheduler.hasMore(this.id, true);
    void this.#writeMetrics();
    this.#timers.every(limits.statusMs, () => this.#watchers.tell({ kind: "status", status: this.status() }));
    this.#timers.every(limits.metricsMs, () => void this.#writeMetrics());
    const hedges = this.#hedges;
    if (hedges !== null) {
      const hedge = (): void =>
        hedges.look(this.#tasks.values(), (task, open) => this.#dispatch.hedge(task, open));
      this.#timers.every(limits.hedges.everyMs, hedge);
    }
    this.#parts.log.info(
      { sweep: this.id, attempt: this.#attempt, tasks: this.#total, settled: this.#past.settled.size },
      "sweep_started",
    );
    if (this.#past.order === "paused") this.#changeState("paused");
    if (this.#past.order === "cancelled") this.#cutRest("cancelled");
    this.pump();
  }

  #pass(): void {
    if (this.#isOver) return;
    this.#time.update();
    for (const task of this.#stirred) {
      if (this.#settlement.isSettling(task)) continue;
      for (const { open, entry } of task.takeEchoes()) this.#settlement.settleUntold(task, open, entry);
      if (this.#allocation.saw(task)) this.#dispatch.stir(task);
    }
    this.#allocation.divide();
    // A tree that sends nothing for a while holds no room at its host.
    for (const task of this.#stirred) if (task.isResting) this.#dispatch.over(task);
    this.#stirred.clear();
    this.#dispatch.fillVerifiers();
    this.#parts.dispatcher.scheduler.run();
    if (this.#mayOpen()) void this.#openNext();
  }

  #mayOpen(): boolean {
    if (!this.#opener.isIdle || this.#state !== "running" || this.#isLeaving) return false;
    const { openTasksMax, waitingVerificationsMax } = this.#parts.limits;
    if (this.#tasks.size >= openTasksMax) return false;
    if (this.#cutShort !== null) return true;
    if (!this.#allocation.mayOpen()) return false;
    if (this.#dispatch.waitingVerifications > waitingVerificationsMax) return false;
    for (const [arm, routes] of this.#routes) if (this.#dispatch.wants(arm.id, routes)) return true;
    return false;
  }

  async #openNext(): Promise<void> {
    await this.#opener.openNext().catch((error: unknown) => this.#fail(error));
    if (this.#opener.isAllOpened) this.#parts.dispatcher.scheduler.hasMore(this.id, false);
    this.#endIfAllSettled();
    this.pump();
  }

  #openTask({ arm, problem, ordinal }: TaskToOpen): void {
    const id = taskId(arm, problem);
    const isReopened = this.#past.opened.delete(id);
    if (!isReopened)
      this.#files.journal.append({ kind: "opened", task: id }).catch((error: unknown) => this.#fail(error));
    const prompt = tryRenderPrompt(this.#sweep.promptTemplate, problem);
    const task = new TaskRun({
      ordinal,
      arm,
      problem,
      prompt: prompt.text,
      routes: this.#routes.get(arm) ?? new Routes(this.#sweep, arm),
      sweepSeed: this.#sweep.seed,
      isDeterministic: this.#sweep.deterministic,
      prices: this.#sweep.prices,
      spentBefore: this.#past.spentBefore(taskId(arm, problem)),
      modelParameters: this.#sweep.modelParameters,
      isReopened,
      learnedFrom: this.#allocation.learnsFrom(ordinal),
      retain: (segment) => this.#parts.segments.retain(segment),
    });
    this.#tasks.set(task.id, task);
    this.#allocation.opened(task);
    this.#settlement.begin(task, prompt.error);
  }

  #taskSettled(task: TaskRun): void {
    this.#tasks.delete(task.id);
    this.#allocation.settled(task);
    this.#endIfAllSettled();
    this.pump();
  }

  #stir(task: TaskRun): void {
    this.#stirred.add(task);
    this.pump();
  }

  /** The rest of the sweep is settled as it stands: the budget's time is over, or the user cancelled. */
  #cutRest(why: CutShort): void {
    if (this.#isOver || this.#cutShort !== null) return;
    this.#cutShort = why;
    if (this.#state === "paused") this.#changeState("running");
    this.#parts.log.warn({ sweep: this.id, why }, "sweep_cut_short");
    for (const task of this.#tasks.values()) this.#settlement.cut(task);
    this.pump();
  }

  #endIfAllSettled(): void {
    if (!this.#opener.isAllOpened || this.#tasks.size > 0 || this.#isOver) return;
    void this.#close(this.#cutShort === "cancelled" ? "cancelled" : "completed");
  }

  /** The run directory cannot be written any more, or the coordinator is wrong: nothing is settled from here on. */
  async #fail(error: unknown): Promise<void> {
    if (this.#isOver) return;
    this.#parts.log.error({ sweep: this.id, error: messageOf(error) }, "sweep_failed");
    this.#watchers.tell({ kind: "log", level: "error", message: messageOf(error) });
    this.#failure = error instanceof Error ? error : new Error(messageOf(error));
    await this.#close("failed");
  }

  async #close(state: SweepState): Promise<void> {
    if (this.#isOver) return;
    this.#time.end();
    this.#state = state;
    this.#timers.stop();
    this.#parts.dispatcher.scheduler.hasMore(this.id, false);
    try {
      for (const task of this.#tasks.values()) this.#settlement.letGo(task);
      await this.#opener.close();
      await this.#writeMetrics();
      await this.#decisions.flush();
      if (this.#failure === null) {
        await this.#files.journal.append(this.#time.entry);
        await this.#files.writeSummary(this.#summary());
      }
    } catch (error) {
      this.#failure ??= error instanceof Error ? error : new Error(messageOf(error));
      this.#watchers.tell({ kind: "log", level: "error", message: messageOf(error) });
      this.#state = "failed";
    }
    await this.#files.close();
    this.#parts.log.info({ sweep: this.id, state: this.#state }, "sweep_ended");
    this.#watchers.tell({ kind: "status", status: this.status() });
    this.#watchers.tell({ kind: "ended", summary: this.#summary() });
    if (this.#failure === null) this.#end.resolve(this.#summary());
    else this.#end.reject(this.#failure);
  }

  #decided(tree: TaskTree, decision: Decision, asks: readonly OpenAsk[]): void {
    const { kind, host, reason } = decision;
    tree.task.opening ??= { kind, host, reason };
    if (kind === "sent" || kind === "lent") this.#hedges?.sent(host, asks);
    this.#decisions.decided(tree, decision, asks);
    this.#news.decided(tree.task.id, decision);
  }

  async #writeMetrics(): Promise<void> {
    const open = [...this.#tasks.values()];
    const point = curvePointOf(this.#total, { totals: this.#past.totals, open });
    await this.#files.appendMetrics(this.#parts.clock.nowMs(), { ...point, ...this.status() });
    if (this.#isOver) return;
    await this.#files.journal.append(this.#time.entry).catch((error: unknown) => this.#fail(error));
  }

  #summary(): Summary {
    return this.#past.totals.summary({
      version: this.#parts.version,
      state: this.#state,
      total: this.#total,
      budget: budgetOf(this.#sweep.budget, this.#past.ledger.charged, this.#time),
      wallMs: this.#time.elapsedMs,
    });
  }

  get #isOver(): boolean {
    return this.#state !== "running" && this.#state !== "paused";
  }

  /** What was ordered or decided holds after a crash of the coordinator too. */
  #note(entry: JournalEntry): void {
    if (this.#isOver) return;
    this.#files.journal.append(entry).catch((error: unknown) => this.#fail(error));
  }

  #changeState(state: SweepState): void {
    this.#state = state;
    this.#watchers.tell({ kind: "status", status: this.status() });
  }
}
