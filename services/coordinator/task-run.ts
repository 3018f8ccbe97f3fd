/**
 * One task: its search, the asks that are open, and what its rows will say. No I/O, no clock: the sweep's runner
 * drives it with journal entries, live ones and replayed ones through the same `apply`, so a resumed task is the
 * same task (I4).
 *
 * Invariants: (1) an ask is in `asks` from the step that asks it until it is answered, lost, or confirmed stopped;
 * (2) an entry for an ask that the search no longer waits for changes no search, only the account (I1).
 */
import { messageOf } from "../runtime/errors.ts";
import type { TaskProgress } from "./allocate/allocator.ts";
import { createRandom, deriveSeed } from "../runtime/random.ts";
import type { AskId, Candidate, Prefix, SampleAsk, VerifyAsk } from "../search/program.ts";
import { rootPrefix, Search, type Step } from "../search/search.ts";
import { Backlog, type OpenAsk } from "./backlog.ts";
import { type Echo, EqualAsks, isShared } from "./equal-asks.ts";
import {
  type AnswerEntry,
  answerOf,
  type LossEntry,
  type SpentEntry,
  type StopEntry,
} from "./journal-entry.ts";
import { samplingOf } from "./ask-sampling.ts";
import { judgeRow, prunedTokens, rolloutLine, type RolloutRow } from "./rollout-row.ts";
import type { Route, Routes } from "./routes.ts";
import { estimateTask } from "./task-estimates.ts";
import { Effort } from "./effort.ts";
import type { Prices } from "./prices.ts";
import { PromptBound } from "./prompt-bound.ts";
import type { Arm, Problem } from "./sweep.ts";
import type { Opening, Usage } from "./status.ts";
import { Standing } from "./standing.ts";
import { TaskGrant } from "./task-grant.ts";
import { TaskLosses } from "./task-losses.ts";
import type { TaskRunOptions } from "./task-run-options.ts";
import { TaskSegments } from "./task-segments.ts";
import type { SettledState, TaskTally } from "./tally.ts";
import { UniqueTokens } from "./unique-tokens.ts";
import { TaskUsage } from "./task-usage.ts";
import { amountsIn } from "./unit-keys.ts";
import { cancelledUsage, lostUsage, rolloutUsage, verificationUsage } from "./usage.ts";

/** How often a program that is told to ask for no more may ask again, before it is ended where it stands. */
const ASKS_AFTER_STOP_MAX = 1_000;

type AskEntry = AnswerEntry | LossEntry | SpentEntry;

export function taskId(arm: Arm, problem: Problem): string {
  return `${arm.id}/${problem.id}`;
}

export class TaskRun {
  readonly id: string;
  readonly ordinal: number;
  readonly arm: Arm;
  readonly problem: Problem;
  readonly asks = new Map<AskId, OpenAsk>();
  /** Second copies of asks (`Hedges`) that are not settled. */
  readonly copies = new Set<OpenAsk>();
  readonly routes: Routes;
  readonly segments: TaskSegments;
  readonly prices: Prices | null;
  /** Where it was placed first; null until a host has it. */
  opening: Opening | null = null;
  readonly #search: Search;
  readonly #sweepSeed: number;
  readonly #waiting = new Map<Route, Backlog>();
  readonly #grant = new TaskGrant((open) => this.#line(open.route).push(open));
  readonly #standing = new Standing();
  readonly #usage: TaskUsage;
  readonly #equals = new EqualAsks();
  readonly #rows = new Map<AskId, RolloutRow>();
  /** Answers that the search holds back until their turn (`deterministic`): they become rows when they are told. */
  readonly #arrived = new Map<AskId, { readonly open: OpenAsk; readonly entry: AnswerEntry }>();
  readonly #promptBound = new PromptBound();
  readonly #tokens = new UniqueTokens();
  readonly #learnedFrom: TaskRunOptions["learnedFrom"];
  /** While entries are replayed that a revision forked: the asks that they may be about. */
  #forked: ReadonlySet<AskId> | null = null;
  readonly #spentBefore: ReadonlySet<AskId>;
  #issued = 0;
  #verifications = 0;
  readonly #losses = new TaskLosses();
  #hedged = 0;
  #isBudgetLost = false;
  #stopped: StopEntry | null = null;
  #refusal: string | null = null;

  constructor(options: TaskRunOptions) {
    this.id = taskId(options.arm, options.problem);
    this.ordinal = options.ordinal;
    this.arm = options.arm;
    this.problem = options.problem;
    this.routes = options.routes;
    this.prices = options.prices;
    this.#usage = new TaskUsage(options);
    this.#sweepSeed = options.sweepSeed;
    this.#learnedFrom = options.learnedFrom;
    this.#spentBefore = options.spentBefore ?? new Set();
    const root = rootPrefix(options.prompt);
    this.segments = new TaskSegments({
      root,
      retain: options.retain,
      resultOf: (ask) => this.#rows.get(ask)?.entry.result,
    });
    const { strategy, parameters } = options.arm;
    // The parameters were validated against the strategy's own declaration when the sweep was parsed.
    const { id, prompt, metadata } = options.problem;
    this.#search = new Search(() => strategy.search(root, parameters as never, { id, prompt, metadata }), {
      inOrder: options.isDeterministic,
      draw: (name) => createRandom(deriveSeed(options.sweepSeed, this.id, "draw", name)).next(),
    });
  }

  /** Runs the program to its first asks. @returns Asks that were withdrawn while a worker may hold them. */
  start(): readonly OpenAsk[] {
    return this.#take(this.#search.start());
  }

  get isEnded(): boolean {
    return this.#search.isEnded;
  }

  /** Whether the search was ended from outside. */
  get isCut(): boolean {
    return this.#search.end?.kind === "cancelled";
  }

  /** Ends the search where it stands; its best so far remains. @returns Asks that a worker may hold. */
  cancel(): readonly OpenAsk[] {
    return this.#take(this.#search.cancel());
  }

  /** The task cannot even begin, for the reason given: it settles as failed (I5). */
  refuse(reason: string): void {
    this.#refusal = reason;
    this.#search.cancel();
  }

  /** The budget ends this search: it will settle as `exhausted`. */
  outOfBudget(): void {
    this.#isBudgetLost = true;
  }

  /** May ask for so many rollouts more. */
  grant(rollouts: number): void {
    this.#grant.add(rollouts);
  }

  /** Whether all that it waits for are rollouts which it was not granted. */
  get isResting(): boolean {
    return !this.isEnded && this.#grant.waiting > 0 && this.#grant.waiting === this.asks.size;
  }

  /** Whether it was told to ask for no more. */
  get isStopped(): boolean {
    return this.#stopped !== null;
  }

  /** What the allocator knows of it. */
  get progress(): TaskProgress {
    return this.#standing.progress(this, this.#grant);
  }

  /** Whether the ledger has no room for what it asked, and never will have. */
  get isShort(): boolean {
    return this.#isBudgetLost;
  }

  /**
   * It asks for no more rollouts: those that it waits for are lost to it, verifications are finished, and it ends with what
   * it has. @returns Asks that a worker may hold.
   */
  stop(entry: StopEntry): readonly OpenAsk[] {
    this.#stopped = entry;
    this.#isBudgetLost ||= entry.state === "exhausted";
    return this.#dropSamples(entry);
  }

  /**
   * What is replayed next was told to a search that had lost asks to the budget, which are asked again now. An ask that it asked
   * after that may be another one under the same name here: its answer is accounted, and told to nobody. Where asks do not
   * depend on answers, they are the same ones.
   */
  fork(): void {
    if (!this.arm.strategy.isIndependentSampling) this.#forked = new Set(this.asks.keys());
  }

  /** What is replayed next, or comes live, was asked by this search. */
  join(): void {
    this.#forked = null;
  }

  /** Open asks that have the answer of an equal one by now: to be applied like a worker's. */
  takeEchoes(): readonly Echo[] {
    return this.#equals
      .takeEchoes()
      .filter(
        ({ open }) => this.asks.get(open.ask.id) === open && !open.isWithdrawn && open.accepting === null,
      );
  }

  /** Where asks wait for room or budget. */
  *waiting(): Generator<readonly [Route, Backlog], void> {
    for (const line of this.#waiting) if (line[1].size > 0) yield line;
  }

  /** Tokens of a path, prompt included, as hosts have counted them; null where none did. */
  tokensUntil(prefix: Prefix): number | null {
    return this.#tokens.until(prefix);
  }

  /** Tokens of a path as a prompt, at most. */
  promptTokensMax(prefix: Prefix): number {
    return this.#promptBound.of(prefix);
  }

  /** The job that carried this ask is gone from its lane, or gave it back; the ask is asked again. */
  returned(open: OpenAsk): void {
    open.job = null;
    this.#line(open.route).push(open);
  }

  /**
   * Applies an accepted answer, a loss, or the confirmation that a withdrawn ask stopped.
   * @returns Asks that were withdrawn by it while a worker may hold them.
   */
  apply(entry: AskEntry): readonly OpenAsk[] {
    const open = this.asks.get(entry.ask);
    this.#usage.settled(entry, open?.ask.kind === "verify" ? this.routes.modelOf(open.ask) : null);
    if (entry.kind === "spent" && entry.isHedge === true) {
      this.#hedged += 1;
      this.#usage.add(cancelledUsage, entry);
      return [];
    }
    const stopping = this.#apply(entry);
    return this.#stopped === null ? stopping : [...stopping, ...this.#dropSamples(this.#stopped)];
  }

  #apply(entry: AnswerEntry | LossEntry | SpentEntry): readonly OpenAsk[] {
    const open = this.#forked?.has(entry.ask) === false ? undefined : this.asks.get(entry.ask);
    // It was withdrawn when the budget ended its search, and is wanted again since the run was revised.
    if (open === undefined || (entry.kind === "spent" && !open.isWithdrawn)) {
      this.#usage.add(cancelledUsage, entry);
      return [];
    }
    if (isShared(open) && entry.kind === "answer") this.#equals.answered(open.ask, entry);
    this.#close(entry.ask, entry);
    if (entry.kind === "spent" || open.isWithdrawn) {
      this.#usage.add(cancelledUsage, entry);
      return [];
    }
    this.#standing.settled(open.ask, entry);
    if (entry.kind === "loss") {
      this.#losses.add(entry);
      this.#usage.add(lostUsage, entry);
      this.#isBudgetLost ||= entry.loss.reason === "budget";
      return this.#take(this.#search.fail(entry.ask, entry.loss));
    }
    this.#arrived.set(entry.ask, { open, entry });
    return this.#take(this.#search.tell(entry.ask, answerOf(entry)));
  }

  /** The seed of a sample: from the sweep's seed and names alone, so it is the same everywhere (I4). */
  seedOf(ask: SampleAsk): number {
    return deriveSeed(this.#sweepSeed, this.id, ask.id, ask.sample);
  }

  /**
   * The seed of a verification, for verifiers that sample: of the path and not of the ask, since one of several equal asks
   * is sent for all, and which one depends on arrival (I4).
   */
  verifierSeedOf({ prefix, role }: VerifyAsk): number {
    return deriveSeed(this.#sweepSeed, this.id, this.segments.addressOf(prefix), role);
  }

  /** What the task ended as, unless it was cancelled from outside. */
  get settledState(): SettledState {
    if (this.#error !== null) return "failed";
    if (this.#isBudgetLost) return "exhausted";
    const hasEnded = this.#search.outcome !== null || (this.isStopped && this.#search.best !== null);
    return hasEnded ? "completed" : "failed";
  }

  tally(state: SettledState): TaskTally {
    const candidates = this.#search.candidates;
    const judged = candidates.filter((candidate) => candidate.verdict !== null);
    const correct = judged.filter((candidate) => candidate.verdict?.verdict === "correct").length;
    return {
      arm: this.arm.id,
      state,
      isSolved: correct > 0,
      isAccurate: this.#selected?.verdict?.verdict === "correct",
      rollouts: this.#rows.size,
      verifications: this.#verifications,
      ...this.#losses.tally,
      hedged: this.#hedged,
      judged: judged.length,
      correct,
      undecided: judged.filter((candidate) => candidate.verdict?.verdict === "undecided").length,
      ...(typeof this.#stopped?.reason === "string" ? { isPassedOver: true } : {}),
      ...(this.#learnedFrom === null ? {} : { progress: this.progress }),
      ...(this.#learnedFrom === "fold" ? { isOfFold: true } : {}),
      estimates: estimateTask(this.arm.strategy, {
        judged,
        selection: this.#search.outcome?.selection ?? null,
        seed: deriveSeed(this.#sweepSeed, this.id, "estimates"),
      }),
      usage: this.#totalUsage(),
      charged: this.#usage.charged,
      uniqueTokens: this.#tokens.total,
    };
  }

  /** The line of `results.jsonl`. */
  resultRow(state: SettledState, wallMs: number): Readonly<Record<string, unknown>> {
    const selected = this.#selected;
    const outcome = this.#search.outcome;
    // An answer that nothing judged is no answer that is wrong: the row says why nothing did.
    const isUnjudged = selected !== null && selected.verdict === null;
    const loss = state === "failed" || isUnjudged ? this.#losses.message : null;
    const error = this.#error ?? this.#stopped?.reason ?? loss;
    return {
      task: this.id,
      problem: this.problem.id,
      strategy: this.arm.id,
      state,
      answer: outcome?.answer ?? selected?.verdict?.answer ?? null,
      score: outcome?.score ?? selected?.score ?? null,
      verdict: this.selectedVerdict,
      selection: outcome?.selection ?? (selected === null ? null : "highest-score"),
      candidate: selected?.ask ?? null,
      rollouts: this.#rows.size,
      usage: this.#totalUsage(),
      charged: amountsIn(this.#usage.charged),
      wall_ms: Math.round(wallMs),
      error,
    };
  }

  /** The lines of `rollouts.jsonl`, in the order of their asks. */
  rolloutRows(): readonly Readonly<Record<string, unknown>>[] {
    const rows = [...this.#rows.values()].toSorted((a, b) => a.issued - b.issued);
    return rows.map((row) => {
      const { ask } = row;
      const place = { seed: this.seedOf(ask), prefix: this.segments.addressOf(ask.prefix) };
      return rolloutLine(row, { task: this.id, problem: this.problem.id, strategy: this.arm.id, ...place });
    });
  }

  get usage(): Usage {
    return this.#usage.read;
  }

  get rollouts(): number {
    return this.#rows.size;
  }

  get verifications(): number {
    return this.#verifications;
  }

  /** The verdict on what was selected; null when nothing was, or nothing judged it. */
  get selectedVerdict(): "correct" | "incorrect" | "undecided" | null {
    return this.#selected?.verdict?.verdict ?? null;
  }

  /** Why the search could not begin, or the bug of the strategy that ended it. */
  get #error(): string | null {
    if (this.#refusal !== null) return this.#refusal;
    const end = this.#search.end;
    return end?.kind === "error" ? `strategy ${this.arm.strategy.name}: ${messageOf(end.error)}` : null;
  }

  get #selected(): Candidate | null {
    return this.#search.outcome?.candidate ?? this.#search.best;
  }

  #take(step: Step): readonly OpenAsk[] {
    for (const id of step.told) {
      const arrived = this.#arrived.get(id);
      this.#arrived.delete(id);
      if (arrived !== undefined) this.#account(arrived.open, arrived.entry);
    }
    for (const ask of step.asked) {
      const open: OpenAsk = {
        ask,
        route: this.routes.of(ask),
        issued: this.#issued,
        isWithdrawn: false,
        job: null,
        dispatches: 0,
        reservation: null,
        accepting: null,
        effort: new Effort(),
        isHedge: false,
      };
      this.#issued += 1;
      this.asks.set(ask.id, open);
      if (ask.kind === "sample") this.#grant.ask(open);
      else if (!isShared(open) || this.#equals.join(open.ask, open)) this.#line(open.route).push(open);
    }
    const stopping: OpenAsk[] = [];
    for (const id of step.withdrawn) {
      const open = this.asks.get(id);
      if (open === undefined) {
        this.#discard(id);
        continue;
      }
      if (!open.isWithdrawn && this.#withdraw(open)) stopping.push(open);
    }
    return stopping;
  }

  /** @returns Whether a worker may hold it, or its answer is on the way to disk. */
  #withdraw(open: OpenAsk): boolean {
    open.isWithdrawn = true;
    this.#sendEqual(open);
    if (open.job !== null || open.accepting !== null || open.dispatches > 0) return true;
    this.#close(open.ask.id, null);
    return false;
  }

  /** The program is told that the rollouts which it asked for are lost, and those that it asks for then, until it ends or waits. */
  #dropSamples({ state, reason }: StopEntry): readonly OpenAsk[] {
    const stopping: OpenAsk[] = [];
    const message =
      reason ?? (state === "completed" ? "the task has what it came for" : "the budget is spent");
    for (let turn = 0; !this.isEnded; turn += 1) {
      const doomed = [...this.asks.values()].filter(
        (open) => open.ask.kind === "sample" && !open.isWithdrawn,
      );
      if (doomed.length === 0) return stopping;
      if (turn === ASKS_AFTER_STOP_MAX) return [...stopping, ...this.cancel()];
      for (const open of doomed) if (this.#withdraw(open)) stopping.push(open);
      for (const { ask } of doomed)
        stopping.push(...this.#take(this.#search.fail(ask.id, { reason: "budget", message })));
    }
    return stopping;
  }

  /** An answer whose turn never came: no row says it, since on another cluster it would not have come at all (I4). */
  #discard(id: AskId): void {
    const arrived = this.#arrived.get(id);
    if (this.#arrived.delete(id) && arrived !== undefined) this.#usage.add(cancelledUsage, arrived.entry);
  }

  /** @param entry What settled it; null for one that was withdrawn before it was sent. */
  #close(id: AskId, entry: AnswerEntry | LossEntry | SpentEntry | null): void {
    const open = this.asks.get(id);
    if (open === undefined) return;
    this.asks.delete(id);
    this.#sendEqual(open);
    if (open.job === null) this.#line(open.route).forget(open);
    if (open.ask.kind !== "sample") return;
    if (entry === null && !this.#spentBefore.has(id)) this.#grant.returned(open);
    else this.#grant.spent(open);
  }

  /** An ask that will not answer leaves its place to an equal one, if there is any. */
  #sendEqual(open: OpenAsk): void {
    const next = isShared(open) ? this.#equals.left(open.ask, open) : null;
    if (next !== null) this.#line(next.route).push(next);
  }

  #line(route: Route): Backlog {
    let line = this.#waiting.get(route);
    if (line === undefined) this.#waiting.set(route, (line = new Backlog()));
    return line;
  }

  #account(open: OpenAsk, entry: AnswerEntry): void {
    if (open.ask.kind === "sample") {
      const { ask } = open;
      this.#rows.set(ask.id, {
        issued: open.issued,
        entry,
        ask,
        outcome: null,
        processScore: null,
        judged: null,
      });
      this.#usage.add(rolloutUsage, entry);
      const text = entry.result.kind === "rollout" ? entry.result.text : "";
      const continued = ask.prefix.extend(text, ask.id);
      this.#tokens.count(ask.prefix, entry.usage, continued);
      const { maxTokens: completionMax } = samplingOf(this.arm.sampling, ask.options);
      this.#promptBound.saw(ask.prefix, entry.usage, { continued, completionMax });
      return;
    }
    this.#verifications += 1;
    this.#usage.add(verificationUsage, entry);
    const row = open.ask.of === null ? undefined : this.#rows.get(open.ask.of);
    if (row !== undefined) judgeRow(row, open.ask, entry);
  }

  /** Usage with what no candidate's path kept counted as pruned. */
  #totalUsage(): Usage {
    return { ...this.#usage.read, pruned_tokens: prunedTokens(this.#rows, this.#search.candidates) };
  }
}
