/**
 * The runner of one sweep: asks -> reserve -> coalesce siblings into a job -> lane; report -> journal -> acknowledge ->
 * charge -> tell. It owns the sweep's open tasks, ledger, journal and rows; it calls the dispatcher and is called by
 * the coordinator's desk.
 *
 * Invariants: I1 (an ask is settled once: `OpenAsk.accepting`), I2 (`accept` resolves after the journal's write), I3 (every
 * dispatched ask holds a reservation), I4 (programs are told in journal order; seeds are derived), I5 (what a task throws
 * ends that task), I6 (tasks are opened just ahead of need).
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Clock, Timer } from "../runtime/clock.ts";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";
import { deriveSeed } from "../runtime/random.ts";
import type { Job, Report, Sampling, VerifierSpec } from "../queue/job.ts";
import type { SampleAsk, SampleOptions } from "../search/program.ts";
import type { Dispatcher, JobOwner } from "./dispatcher.ts";
import { hostLane, verifierLane } from "./dispatcher.ts";
import { Journal } from "./journal.ts";
import { checkHeader, JOURNAL_FORMAT } from "./journal-entry.ts";
import type { AnswerEntry, JournalEntry, JournalHeader, LossEntry, SpentEntry } from "./journal-entry.ts";
import { Ledger, NOTHING, type Amount } from "./ledger.ts";
import { canServe, place } from "./placement.ts";
import { renderPrompt } from "./prompt-template.ts";
import type { ProblemsFile } from "./run-directory.ts";
import { hashRunProblems, lockRunDirectory, readRunProblems, replaceFile, Rows, RUN_FILES } from "./run-directory.ts";
import type { SegmentStore } from "./segment-store.ts";
import type { BudgetAmounts, Summary, SweepEvent, SweepState, SweepStatus } from "./status.ts";
import type { SweepRun } from "./coordinator-api.ts";
import type { Arm, Problem, Sweep } from "./sweep.ts";
import { Totals, type SettledState } from "./tally.ts";
import { isAnswerTo, TaskRun, type OpenAsk } from "./task-run.ts";
import { addUsage } from "./usage.ts";
import { AppendFile } from "./append-file.ts";

export interface RunLimits {
  /** Sibling asks in one job. */
  readonly siblingsMax: number;
  /** Tasks open at once, however much room there is. */
  readonly openTasksMax: number;
  /** Verifications that may wait before no further task is opened. */
  readonly waitingVerificationsMax: number;
  /** A worker that does not confirm a withdrawal within this time is not waited for. */
  readonly withdrawalMs: number;
  /** How often watchers are told, and how often a line goes to `metrics.jsonl`. */
  readonly statusMs: number;
  readonly metricsMs: number;
}

export const DEFAULT_RUN_LIMITS: RunLimits = {
  siblingsMax: 16,
  openTasksMax: 4_096,
  waitingVerificationsMax: 1_024,
  withdrawalMs: 30_000,
  statusMs: 500,
  metricsMs: 5_000,
};

export interface RunParts {
  readonly dispatcher: Dispatcher;
  readonly segments: SegmentStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: RunLimits;
  readonly version: string;
  /** Tells whoever may hold the job that these asks are not wanted any more. */
  readonly withdraw: (job: string, asks: readonly string[]) => void;
}

type TaskEntry = AnswerEntry | LossEntry | SpentEntry;

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
      parameters: arm.parameters,
    })),
  };
}

/** What the journal of an earlier attempt says. */
class Past {
  readonly totals: Totals;
  readonly ledger: Ledger;
  readonly settled = new Set<number>();
  readonly entries = new Map<string, TaskEntry[]>();
  readonly elapsed = new Map<number, number>();
  rolloutsEnd = 0;
  resultsEnd = 0;

  constructor(sweep: Sweep) {
    this.totals = new Totals(sweep);
    this.ledger = new Ledger(sweep.budget);
  }

  get elapsedMs(): number {
    return [...this.elapsed.values()].reduce((sum, ms) => sum + ms, 0);
  }

  visit(entry: JournalEntry): void {
    switch (entry.kind) {
      case "settled":
        this.totals.add(entry.tally);
        this.settled.add(entry.ordinal);
        this.entries.delete(entry.task);
        this.rolloutsEnd = entry.rolloutsEnd;
        this.resultsEnd = entry.resultsEnd;
        return;
      case "elapsed":
        this.elapsed.set(entry.attempt, entry.ms);
        return;
      case "answer":
      case "spent":
        this.ledger.restore(entry.charge);
        break;
      case "loss":
        break;
      case "sweep":
        throw new CoppiceError("data_loss", "journal: expected one header, found a second");
    }
    const known = this.entries.get(entry.task);
    if (known === undefined) this.entries.set(entry.task, [entry]);
    else known.push(entry);
  }
}

export class Run implements SweepRun, JobOwner {
  readonly id: string;
  readonly ended: Promise<Summary>;
  readonly #sweep: Sweep;
  readonly #parts: RunParts;
  readonly #journal: Journal;
  readonly #rows: Rows;
  readonly #metrics: AppendFile;
  readonly #unlock: () => Promise<void>;
  readonly #past: Past;
  readonly #attempt: number;
  readonly #total: number;
  readonly #startedMs: number;
  readonly #tasks = new Map<string, TaskRun>();
  readonly #openedMs = new Map<string, number>();
  readonly #settling = new Set<string>();
  readonly #problems: AsyncGenerator<Problem>;
  readonly #watchers = new Set<(event: SweepEvent) => void>();
  readonly #timers: Timer[] = [];
  #problem: Problem | null = null;
  #nextArm = 0;
  #nextProblem = 0;
  #isAllOpened = false;
  #isOpening = false;
  #isPassQueued = false;
  #state: SweepState = "running";
  /** Set once: how the rest of the sweep is to be settled. */
  #cutShort: "budget" | "cancelled" | null = null;
  #failure: Error | null = null;
  #resolveEnded: (summary: Summary) => void = () => undefined;
  #rejectEnded: (error: Error) => void = () => undefined;

  private constructor(options: {
    readonly id: string;
    readonly sweep: Sweep;
    readonly parts: RunParts;
    readonly journal: Journal;
    readonly rows: Rows;
    readonly metrics: AppendFile;
    readonly unlock: () => Promise<void>;
    readonly past: Past;
    readonly total: number;
  }) {
    this.id = options.id;
    this.#sweep = options.sweep;
    this.#parts = options.parts;
    this.#journal = options.journal;
    this.#rows = options.rows;
    this.#metrics = options.metrics;
    this.#unlock = options.unlock;
    this.#past = options.past;
    this.#attempt = Math.max(0, ...options.past.elapsed.keys()) + 1;
    this.#total = options.total;
    this.#startedMs = options.parts.clock.monotonicMs();
    this.#problems = readRunProblems(options.sweep.output);
    this.ended = new Promise((resolve, reject) => {
      this.#resolveEnded = resolve;
      this.#rejectEnded = reject;
    });
    // Somebody may only ever watch; a run that fails is told to watchers too.
    this.ended.catch(() => undefined);
  }

  /** Opens the run directory of a sweep, new or not, rebuilds what its journal says, and starts. */
  static async open(id: string, sweep: Sweep, parts: RunParts): Promise<Run> {
    const path = sweep.output;
    const problems = await hashRunProblems(path);
    const unlock = await lockRunDirectory(path);
    try {
      const past = new Past(sweep);
      const { journal, header, tornBytes } = await Journal.reopen(join(path, RUN_FILES.journal), (entry) => past.visit(entry));
      checkHeader(headerOf(sweep, problems), header, path);
      if (tornBytes > 0) parts.log.warn({ sweep: id, bytes: tornBytes }, "journal_tail_cut");
      const rows = await Rows.open(path, past);
      const metrics = await AppendFile.open(join(path, RUN_FILES.metrics));
      const total = problems.count * sweep.arms.length;
      const run = new Run({ id, sweep, parts, journal, rows, metrics, unlock, past, total });
      run.#start();
      return run;
    } catch (error) {
      await unlock();
      throw error;
    }
  }

  get model(): string {
    return this.#sweep.model;
  }

  status(): SweepStatus {
    const { totals, ledger } = this.#past;
    const open = [...this.#tasks.values()];
    const depths = this.#parts.dispatcher.depths();
    return {
      id: this.id,
      name: this.#sweep.name,
      state: this.#state,
      tasks: { total: this.#total, queued: this.#total - totals.settled - open.length, running: open.length, ...totals.tasks },
      solved: totals.solved,
      rollouts: totals.rollouts + open.reduce((sum, task) => sum + task.rollouts, 0),
      verifications: totals.verifications + open.reduce((sum, task) => sum + task.verifications, 0),
      usage: open.reduce((sum, task) => addUsage(sum, task.usage), totals.usage),
      budget: { given: this.#given, spent: this.#spent(ledger.charged) },
      in_flight: open.reduce((sum, task) => sum + inFlight(task), 0),
      failures: totals.losses,
      hosts: [...this.#parts.dispatcher.hosts].map(({ facts, openTasks }) => ({
        id: facts.id,
        engine: facts.engine,
        open_tasks: openTasks,
        waiting: Math.max(0, (depths.find((depth) => depth.host === facts.id)?.asks ?? 0) - facts.concurrency),
        running: Math.min(facts.concurrency, depths.find((depth) => depth.host === facts.id)?.asks ?? 0),
      })),
      elapsed_ms: Math.round(this.#elapsedMs),
      output: this.#sweep.output,
    };
  }

  watch(listener: (event: SweepEvent) => void): () => void {
    this.#watchers.add(listener);
    listener({ kind: "status", status: this.status() });
    if (this.#isOver) listener({ kind: "ended", summary: this.#summary() });
    return () => this.#watchers.delete(listener);
  }

  pause(): void {
    if (this.#state === "running") this.#changeState("paused");
  }

  resume(): void {
    if (this.#state !== "paused") return;
    this.#changeState("running");
    this.pump();
  }

  async cancel(reason: string): Promise<void> {
    if (this.#isOver || this.#cutShort !== null) return;
    this.#tell({ kind: "log", level: "warn", message: `cancelled: ${reason}` });
    this.#cutRest("cancelled");
    await this.ended.catch(() => undefined);
  }

  async interrupt(): Promise<void> {
    if (this.#isOver) return;
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

  /** A report of a worker. Resolves once it needs no sending again. */
  accept(report: Report): Promise<void> {
    const task = this.#tasks.get(report.task);
    const open = task?.asks.get(report.ask);
    if (this.#state === "interrupted") {
      return Promise.reject(new CoppiceError("unavailable", `sweep ${this.id} is interrupted; its journal is closed`));
    }
    if (task === undefined || open === undefined || this.#isOver) return Promise.resolve();
    if (open.accepting !== null) return open.accepting;
    if (!isAnswerTo(open.ask, report.result)) {
      const found = `task ${report.task}, ask ${report.ask}: expected the answer to a ${open.ask.kind}, found a ${report.result.kind}`;
      return Promise.reject(new CoppiceError("invalid_argument", `${found} from worker ${report.worker}`));
    }
    if (report.result.kind === "cancelled" && !open.isWithdrawn) return this.#handedBack(task, open, report);
    open.accepting = this.#settleAsk(task, open, entryOf(report, open));
    return open.accepting;
  }

  returned(job: Job, asks: readonly string[]): void {
    const task = this.#tasks.get(job.task);
    if (task === undefined) return;
    task.host = null;
    for (const id of asks) {
      const open = task.asks.get(id);
      if (open === undefined || open.accepting !== null) continue;
      if (open.isWithdrawn) this.#assumeStopped(task, open);
      else task.returned(open);
    }
    this.pump();
  }

  givenUp(job: Job, asks: readonly string[], why: string): void {
    const task = this.#tasks.get(job.task);
    for (const id of asks) {
      const open = task?.asks.get(id);
      if (task === undefined || open === undefined || open.accepting !== null) continue;
      if (open.isWithdrawn) this.#assumeStopped(task, open);
      else this.#lose(task, open, { reason: "lost", message: `job ${job.id}: ${why}` });
    }
  }

  #start(): void {
    const { clock, limits } = this.#parts;
    void this.#writeMetrics();
    this.#every(limits.statusMs, () => this.#tell({ kind: "status", status: this.status() }));
    this.#every(limits.metricsMs, () => void this.#writeMetrics());
    if (this.#sweep.budget.wallMs !== null) {
      const left = Math.max(0, this.#sweep.budget.wallMs - this.#elapsedMs);
      this.#timers.push(clock.after(left, () => this.#cutRest("budget")));
    }
    this.#parts.log.info({ sweep: this.id, attempt: this.#attempt, tasks: this.#total, settled: this.#past.settled.size }, "sweep_started");
    this.pump();
  }

  #pass(): void {
    if (this.#isOver) return;
    if (this.#state === "running") {
      for (const task of this.#tasks.values()) {
        this.#dispatchToHost(task);
        this.#dispatchToVerifier(task);
      }
    }
    if (this.#mayOpen()) void this.#openNext();
  }

  #mayOpen(): boolean {
    if (this.#isOpening || this.#isAllOpened || this.#state !== "running") return false;
    const { limits, dispatcher } = this.#parts;
    if (this.#tasks.size >= limits.openTasksMax) return false;
    if (this.#cutShort !== null) return true;
    let asks = 0;
    let verifications = 0;
    for (const task of this.#tasks.values()) {
      asks += task.waiting("host");
      verifications += task.waiting("verifier");
    }
    if (verifications > limits.waitingVerificationsMax) return false;
    let room = 0;
    for (const host of dispatcher.hosts) {
      if (canServe(host, { model: this.#sweep.model, needsScore: false })) room += dispatcher.room(hostLane(host.facts.id));
    }
    return asks < room;
  }

  /** Opens the next task that has not settled: problem by problem, every arm of one before the next. */
  async #openNext(): Promise<void> {
    this.#isOpening = true;
    try {
      for (;;) {
        if (this.#problem === null || this.#nextArm === this.#sweep.arms.length) {
          const next = await this.#problems.next();
          if (next.done === true) {
            this.#isAllOpened = true;
            break;
          }
          this.#nextProblem += this.#problem === null ? 0 : 1;
          this.#problem = next.value;
          this.#nextArm = 0;
        }
        const ordinal = this.#nextProblem * this.#sweep.arms.length + this.#nextArm;
        const arm = this.#sweep.arms[this.#nextArm];
        this.#nextArm += 1;
        if (arm === undefined || this.#past.settled.has(ordinal)) continue;
        if (!this.#isOver) this.#openTask(arm, this.#problem, ordinal);
        break;
      }
    } catch (error) {
      await this.#fail(error);
    } finally {
      this.#isOpening = false;
    }
    this.#endIfAllSettled();
    this.pump();
  }

  #openTask(arm: Arm, problem: Problem, ordinal: number): void {
    const prompt = rendered(this.#sweep.promptTemplate, problem);
    const task = new TaskRun({
      ordinal,
      arm,
      problem,
      prompt: prompt.text,
      isDeterministic: this.#sweep.deterministic,
      retain: (segment) => this.#parts.segments.retain(segment),
    });
    this.#tasks.set(task.id, task);
    this.#openedMs.set(task.id, this.#parts.clock.monotonicMs());
    if (prompt.error !== null) task.refuse(prompt.error);
    else this.#withdraw(task, task.start());
    for (const entry of this.#past.entries.get(task.id) ?? []) this.#withdraw(task, task.apply(entry));
    this.#past.entries.delete(task.id);
    if (this.#cutShort !== null) this.#cutTask(task);
    this.#settleIfDone(task);
  }

  #dispatchToHost(task: TaskRun): void {
    for (let head = task.head("host"); head !== null; head = task.head("host")) {
      const host = this.#homeOf(task);
      const room = host === null ? 0 : this.#parts.dispatcher.room(hostLane(host));
      if (host === null || room === 0) return;
      const max = Math.min(room, this.#parts.limits.siblingsMax);
      const fitting = this.#fitting(task, head, max);
      if (fitting === 0) {
        if (this.#past.ledger.canEverFit(this.#worstOf(task, head))) return;
        for (const open of task.takeSiblings("host", 1)) this.#lose(task, open, this.#budgetLoss());
        continue;
      }
      const asks = task.takeSiblings("host", fitting);
      for (const open of asks) open.reservation ??= this.#past.ledger.reserve(this.#worstOf(task, open));
      this.#dispatch(task, asks, hostLane(host));
    }
  }

  #dispatchToVerifier(task: TaskRun): void {
    const lane = verifierLane(this.#sweep.verifier.kind);
    while (task.waiting("verifier") > 0) {
      const max = Math.min(this.#parts.dispatcher.room(lane), this.#parts.limits.siblingsMax);
      if (max === 0) return;
      this.#dispatch(task, task.takeSiblings("verifier", max), lane);
    }
  }

  #dispatch(task: TaskRun, asks: readonly OpenAsk[], lane: string): void {
    const job = this.#jobOf(task, asks);
    for (const open of asks) {
      open.job = job.id;
      open.dispatches += 1;
    }
    this.#parts.dispatcher.dispatch(lane, job, this);
  }

  /** How many asks like `head` the budget has room for; one that was dispatched before holds its reservation already. */
  #fitting(task: TaskRun, head: OpenAsk, max: number): number {
    if (head.ask.kind === "verify") return max;
    return head.reservation === null ? this.#past.ledger.fitting(this.#worstOf(task, head), max) : 1;
  }

  #worstOf(task: TaskRun, open: OpenAsk): Amount {
    if (open.ask.kind === "verify") return NOTHING;
    return { rollouts: 1, completionTokens: samplingOf(task.arm.sampling, open.ask.options).maxTokens };
  }

  #homeOf(task: TaskRun): string | null {
    const { dispatcher } = this.#parts;
    if (task.host !== null && dispatcher.host(task.host)?.isReady === true) return task.host;
    const needsScore = task.arm.strategy.needsProcessVerifier(task.arm.parameters as never);
    const home = place(dispatcher.hosts, { model: this.#sweep.model, needsScore });
    if (home === null) return null;
    task.host = home.facts.id;
    dispatcher.placed(task.host, 1);
    return task.host;
  }

  #jobOf(task: TaskRun, asks: readonly OpenAsk[]): Job {
    const first = asks[0];
    if (first === undefined) throw new Error("a job carries at least one ask");
    const names = asks.map((open) => `${open.ask.id}#${open.dispatches}`).join(" ");
    const hash = createHash("sha256").update(`${this.id}\0${this.#attempt}\0${task.id}\0${names}`).digest("hex").slice(0, 24);
    const base = { sweep: this.id, task: task.id, problem: task.problem.id };
    if (first.ask.kind === "sample") {
      return {
        ...base,
        id: `r${hash}`,
        kind: "rollout",
        prefix: task.segmentsOf(first.ask.prefix),
        sampling: samplingOf(task.arm.sampling, first.ask.options),
        asks: asks.flatMap(({ ask }) => (ask.kind === "sample" ? [this.#rolloutAsk(task, ask)] : [])),
      };
    }
    const spec = first.ask.role === "process" ? this.#sweep.processVerifier : this.#sweep.verifier;
    if (spec === null) throw new Error(`strategy ${task.arm.strategy.name} asks for a process verifier, the sweep has none`);
    return {
      ...base,
      id: `v${hash}`,
      kind: "verification",
      problemData: task.writtenSegment(JSON.stringify(task.problem)),
      verifier: task.writtenSegment(JSON.stringify(spec satisfies VerifierSpec)),
      asks: asks.map(({ ask }) => ({ id: ask.id, candidate: task.segmentsOf(ask.prefix) })),
    };
  }

  #rolloutAsk(task: TaskRun, ask: SampleAsk): { id: string; sample: number; seed: number } {
    return { id: ask.id, sample: ask.sample, seed: deriveSeed(this.#sweep.seed, task.id, ask.id, ask.sample) };
  }

  /** A worker gave an ask back that is still wanted (it drains): asked again. */
  #handedBack(task: TaskRun, open: OpenAsk, report: Report): Promise<void> {
    if (open.job !== report.job) return Promise.resolve();
    this.#parts.dispatcher.settled(open.job, open.ask.id);
    task.returned(open);
    this.pump();
    return Promise.resolve();
  }

  #lose(task: TaskRun, open: OpenAsk, loss: LossEntry["loss"]): void {
    const entry: LossEntry = { kind: "loss", task: task.id, ask: open.ask.id, loss };
    open.accepting = this.#settleAsk(task, open, entry);
    open.accepting.catch(() => undefined);
  }

  /** Nobody will say what a withdrawn ask had cost: the worst is charged (I3). */
  #assumeStopped(task: TaskRun, open: OpenAsk): void {
    const usage = { promptTokens: null, cachedTokens: null, completionTokens: null };
    const charge = open.reservation?.worst ?? NOTHING;
    const entry: SpentEntry = { kind: "spent", task: task.id, ask: open.ask.id, usage, charge };
    open.accepting = this.#settleAsk(task, open, entry);
    open.accepting.catch(() => undefined);
  }

  /** Journal, then ledger, then search: the one way in which an ask is settled. */
  async #settleAsk(task: TaskRun, open: OpenAsk, entry: TaskEntry): Promise<void> {
    try {
      await this.#journal.append(entry);
    } catch (error) {
      void this.#fail(error);
      throw error;
    }
    if (open.reservation !== null) this.#past.ledger.charge(open.reservation, entry.kind === "loss" ? NOTHING : entry.charge);
    if (open.job !== null) this.#parts.dispatcher.settled(open.job, open.ask.id);
    this.#withdraw(task, task.apply(entry));
    if (this.#cutShort !== null) this.#cutTask(task);
    this.#settleIfDone(task);
    this.pump();
  }

  /** Tells workers of withdrawals, and stops waiting for their word after a while. */
  #withdraw(task: TaskRun, asks: readonly OpenAsk[]): void {
    const byJob = Map.groupBy(asks, (open) => open.job);
    for (const [job, group] of byJob) {
      if (job !== null) this.#parts.withdraw(job, group.map((open) => open.ask.id));
    }
    if (asks.length === 0) return;
    this.#parts.clock.after(this.#parts.limits.withdrawalMs, () => {
      for (const open of asks) {
        if (task.asks.get(open.ask.id) !== open || open.accepting !== null || this.#isOver) continue;
        if (open.job !== null) this.#parts.dispatcher.settled(open.job, open.ask.id);
        this.#assumeStopped(task, open);
      }
    });
  }

  /** The rest of the sweep is settled as it stands: the budget's time is over, or the user cancelled. */
  #cutRest(why: "budget" | "cancelled"): void {
    if (this.#isOver || this.#cutShort !== null) return;
    this.#cutShort = why;
    if (this.#state === "paused") this.#changeState("running");
    this.#parts.log.warn({ sweep: this.id, why }, "sweep_cut_short");
    for (const task of this.#tasks.values()) {
      this.#cutTask(task);
      this.#settleIfDone(task);
    }
    this.pump();
  }

  #cutTask(task: TaskRun): void {
    if (task.isEnded) return;
    if (this.#cutShort === "budget") task.outOfBudget();
    this.#withdraw(task, task.cancel());
  }

  #settleIfDone(task: TaskRun): void {
    const isDone = task.isEnded && (task.asks.size === 0 || this.#cutShort === "cancelled");
    if (!isDone || this.#settling.has(task.id) || this.#isOver) return;
    this.#settling.add(task.id);
    void this.#settle(task).catch((error: unknown) => this.#fail(error));
  }

  async #settle(task: TaskRun): Promise<void> {
    const { clock, dispatcher, segments, log } = this.#parts;
    const state: SettledState = this.#cutShort === "cancelled" && task.isCut ? "cancelled" : task.settledState;
    const wallMs = clock.monotonicMs() - (this.#openedMs.get(task.id) ?? 0);
    const tally = task.tally(state);
    const result = task.resultRow(state, wallMs);
    const ends = await this.#rows.append(task.rolloutRows(), result);
    await this.#journal.append({ kind: "settled", task: task.id, ordinal: task.ordinal, tally, ...ends });
    this.#past.totals.add(tally);
    this.#tasks.delete(task.id);
    this.#openedMs.delete(task.id);
    this.#settling.delete(task.id);
    if (task.host !== null) dispatcher.placed(task.host, -1);
    for (const id of task.segmentIds) segments.release(id);
    const verdict = task.selectedVerdict;
    if (state === "failed") log.error({ sweep: this.id, task: task.id, error: result["error"] }, "task_failed");
    this.#tell({ kind: "task", task: task.id, state, verdict, rollouts: tally.rollouts });
    this.#endIfAllSettled();
    this.pump();
  }

  #endIfAllSettled(): void {
    if (!this.#isAllOpened || this.#tasks.size > 0 || this.#isOver) return;
    void this.#close(this.#cutShort === "cancelled" ? "cancelled" : "completed");
  }

  /** The run directory cannot be written any more, or the coordinator is wrong: nothing is settled from here on. */
  async #fail(error: unknown): Promise<void> {
    if (this.#isOver) return;
    this.#parts.log.error({ sweep: this.id, error: messageOf(error) }, "sweep_failed");
    this.#tell({ kind: "log", level: "error", message: messageOf(error) });
    this.#failure = error instanceof Error ? error : new Error(messageOf(error));
    await this.#close("failed");
  }

  async #close(state: SweepState): Promise<void> {
    if (this.#isOver) return;
    const elapsedMs = this.#attemptMs;
    this.#state = state;
    for (const timer of this.#timers) timer.cancel();
    try {
      for (const task of this.#tasks.values()) {
        for (const open of task.asks.values()) if (open.job !== null) this.#parts.dispatcher.settled(open.job, open.ask.id);
        for (const id of task.segmentIds) this.#parts.segments.release(id);
        if (task.host !== null) this.#parts.dispatcher.placed(task.host, -1);
      }
      await this.#problems.return(undefined);
      await this.#writeMetrics();
      if (this.#failure === null) {
        await this.#journal.append({ kind: "elapsed", attempt: this.#attempt, ms: Math.round(elapsedMs) });
        await replaceFile(join(this.#sweep.output, RUN_FILES.summary), `${JSON.stringify(this.#summary(), null, 2)}\n`);
      }
    } catch (error) {
      this.#failure ??= error instanceof Error ? error : new Error(messageOf(error));
    }
    await Promise.allSettled([this.#journal.close(), this.#rows.close(), this.#metrics.close()]);
    await this.#unlock();
    this.#parts.log.info({ sweep: this.id, state: this.#state }, "sweep_ended");
    this.#tell({ kind: "status", status: this.status() });
    this.#tell({ kind: "ended", summary: this.#summary() });
    if (this.#failure === null) this.#resolveEnded(this.#summary());
    else this.#rejectEnded(this.#failure);
  }

  async #writeMetrics(): Promise<void> {
    const status = this.status();
    await this.#metrics.append(`${JSON.stringify({ at_ms: this.#parts.clock.nowMs(), ...status })}\n`).catch((error: unknown) => {
      this.#parts.log.warn({ sweep: this.id, error: messageOf(error) }, "metrics_not_written");
    });
    if (this.#isOver) return;
    await this.#journal
      .append({ kind: "elapsed", attempt: this.#attempt, ms: Math.round(this.#attemptMs) })
      .catch((error: unknown) => this.#fail(error));
  }

  #summary(): Summary {
    const spent = this.#spent(this.#past.ledger.charged);
    return this.#past.totals.summary({
      version: this.#parts.version,
      state: this.#state,
      total: this.#total,
      budget: { given: this.#given, spent },
      wallMs: this.#elapsedMs,
    });
  }

  get #isOver(): boolean {
    return this.#state !== "running" && this.#state !== "paused";
  }

  get #attemptMs(): number {
    return this.#parts.clock.monotonicMs() - this.#startedMs;
  }

  get #elapsedMs(): number {
    return this.#past.elapsedMs + this.#attemptMs;
  }

  get #given(): BudgetAmounts {
    const { rollouts, completionTokens, wallMs } = this.#sweep.budget;
    return { rollouts, completion_tokens: completionTokens, wall_ms: wallMs };
  }

  #spent(charged: Amount): BudgetAmounts {
    return { rollouts: charged.rollouts, completion_tokens: charged.completionTokens, wall_ms: Math.round(this.#elapsedMs) };
  }

  #budgetLoss(): LossEntry["loss"] {
    const { charged } = this.#past.ledger;
    const spent = `${charged.rollouts} rollouts and ${charged.completionTokens} completion tokens are spent`;
    return { reason: "budget", message: `the sweep's budget has no room for another rollout: ${spent}` };
  }

  #changeState(state: SweepState): void {
    this.#state = state;
    this.#tell({ kind: "status", status: this.status() });
  }

  #tell(event: SweepEvent): void {
    for (const watcher of this.#watchers) watcher(event);
  }

  #every(ms: number, act: () => void): void {
    const again = (): void => {
      if (this.#isOver) return;
      act();
      timer = this.#parts.clock.after(ms, again);
    };
    let timer = this.#parts.clock.after(ms, again);
    this.#timers.push({ cancel: () => timer.cancel() });
  }
}

function rendered(template: string, problem: Problem): { readonly text: string; readonly error: string | null } {
  try {
    return { text: renderPrompt(template, problem), error: null };
  } catch (error) {
    return { text: "", error: messageOf(error) };
  }
}

function inFlight(task: TaskRun): number {
  let count = 0;
  for (const open of task.asks.values()) if (open.job !== null) count += 1;
  return count;
}

function samplingOf(base: Sampling, options: SampleOptions): Sampling {
  return {
    ...base,
    temperature: options.temperature ?? base.temperature,
    maxTokens: options.maxTokens ?? base.maxTokens,
    stop: options.stop ?? base.stop,
  };
}

/** The journal's entry for a report of an open ask; the charge is cut to what was reserved (I3). */
function entryOf(report: Report, open: OpenAsk): TaskEntry {
  const base = { task: report.task, ask: report.ask };
  const { result, usage } = report;
  const worst = open.reservation?.worst ?? NOTHING;
  const tokens = Math.min(worst.completionTokens, usage.completionTokens ?? worst.completionTokens);
  if (result.kind === "failure") {
    return { kind: "loss", ...base, loss: { reason: "lost", message: `${result.reason}: ${result.message}` } };
  }
  if (result.kind === "cancelled") {
    return { kind: "spent", ...base, usage, charge: { rollouts: 0, completionTokens: tokens } };
  }
  const charge = { rollouts: worst.rollouts, completionTokens: tokens };
  if (open.isWithdrawn) return { kind: "spent", ...base, usage, charge };
  const { host, attempt, startedMs, endedMs } = report;
  return { kind: "answer", ...base, result, usage, charge, host, attempt, startedMs, endedMs };
}
