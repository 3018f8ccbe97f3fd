/**
 * The loop that decodes all running rollouts of the embedded host together. It owns the engine and the
 * sequences; one step is: seat waiting prompts, plan a batch, evaluate it, sample, hand out.
 *
 * 1. Only the loop touches the engine, one call at a time; it runs while there is work and no longer.
 * 2. `KvSequence.tokens` is what the KV cache holds, at every `await`: it grows after an evaluation has
 *    succeeded.
 * 3. A rollout settles once. An aborted one settles at once; its sequence is given back at the next step,
 *    consistent.
 * 4. A failed evaluation fails the rollouts in it and empties all sequences; the next rollout starts afresh.
 */
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import type { BatchItem, Engine, Sampler } from "./engine.ts";
import type { Completion, Ending } from "./completion.ts";
import { outputRows, planBatch } from "./batch-plan.ts";
import { draftBehind } from "./lookup.ts";
import { createSequences, findSeat } from "./sequences.ts";
import type { KvSequence } from "./sequences.ts";

/**
 * `free`: fastest. `steady`: as free, but no result depends on what runs beside it (batch-plan.ts). `serial`:
 * one token of one rollout at a time, for engines on which steady is not exact.
 */
export type Arithmetic = "free" | "steady" | "serial";

/**
 * What is wanted of the prompt: sampled tokens behind it until `completion` ends; the logits of some tokens behind it; or
 * how likely its own tokens are, from the index `from` (at least 1) on.
 */
export type Demand =
  | {
      readonly kind: "sample";
      readonly completion: Completion;
      readonly sampler: Sampler;
      /** Whether the log-probabilities of the sampled tokens are wanted. */
      readonly logprobs: boolean;
      /** Told after each token that does not end the text. May abort the work; must not throw. */
      readonly onToken: (cachedTokens: number) => void;
    }
  | { readonly kind: "logits"; readonly tokens: readonly number[] }
  | { readonly kind: "likelihood"; readonly from: number };

/** `logprobs` is the sum over the tokens that it is about, 0 where it is not wanted. */
export type Supply = { readonly cachedTokens: number } & (
  | { readonly kind: "sample"; readonly ending: Ending; readonly logprobs: number }
  | { readonly kind: "logits"; readonly logits: readonly number[] }
  | { readonly kind: "likelihood"; readonly logprobs: number }
);

interface Work {
  readonly prompt: readonly number[];
  readonly demand: Demand;
  readonly settle: (supply: Supply) => void;
  readonly fail: (reason: unknown) => void;
  isOver: boolean;
}

interface Running {
  readonly work: Work;
  readonly sequence: KvSequence;
  readonly cachedTokens: number;
  /** Sum of the log-probabilities so far. */
  logprobs: number;
}

/** What a batch has evaluated of one rollout, and where the logits behind the last of it lie: at least one. */
interface Evaluated {
  readonly running: Running;
  readonly tokens: readonly number[];
  readonly logits: Uint32Array;
  /** How much of the sequence stands; the rest is of a draft that was not taken. */
  kept: number;
}

export interface BatcherOptions {
  readonly sequences: number;
  readonly arithmetic: Arithmetic;
  /** Longest draft of what may be sampled next, evaluated in one batch with what is; 0 is off. Not with `serial`. */
  readonly draftTokensMax?: number;
}

export class Batcher {
  private readonly engine: Engine;
  private readonly arithmetic: Arithmetic;
  private readonly draftTokensMax: number;
  private readonly sequences: readonly KvSequence[];
  private waiting: Work[] = [];
  /** In rising order of sequence. */
  private running: Running[] = [];
  private loop: Promise<void> | null = null;
  private uses = 0;
  private closedBy: unknown = null;

  constructor(engine: Engine, options: BatcherOptions) {
    this.engine = engine;
    this.arithmetic = options.arithmetic;
    this.draftTokensMax = options.arithmetic === "serial" ? 0 : (options.draftTokensMax ?? 0);
    this.sequences = createSequences(options.sequences);
  }

  /**
   * Rejects with the signal's reason as soon as it aborts. The demand's sampler is disposed when it is over.
   */
  submit(prompt: readonly number[], demand: Demand, signal: AbortSignal): Promise<Supply> {
    return new Promise((resolve, reject) => {
      const settleOnce = (settle: () => void): void => {
        if (work.isOver) return;
        work.isOver = true;
        signal.removeEventListener("abort", onAbort);
        settle();
      };
      const work: Work = {
        prompt,
        demand,
        isOver: false,
        settle: (supply) => settleOnce(() => resolve(supply)),
        fail: (reason) => settleOnce(() => reject(reason)),
      };
      const onAbort = (): void => work.fail(signal.reason);
      signal.addEventListener("abort", onAbort);
      if (signal.aborted) onAbort();
      if (this.closedBy !== null) work.fail(this.closedBy);
      this.waiting.push(work);
      this.loop ??= this.run();
    });
  }

  /**
   * Fails what runs and waits with `reason`, and resolves when the engine is at rest. Later work fails
   * likewise.
   */
  async close(reason: unknown): Promise<void> {
    this.closedBy = reason;
    for (const work of [...this.waiting, ...this.running.map((running) => running.work)]) work.fail(reason);
    await this.loop;
  }

  /** Throws the reason that it was closed for. */
  throwIfClosed(): void {
    if (this.closedBy !== null) throw this.closedBy;
  }

  private async run(): Promise<void> {
    // Siblings are submitted in one turn of the event loop: let them all in before the first batch.
    await new Promise(setImmediate);
    while (this.waiting.length > 0 || this.running.length > 0) {
      try {
        this.leaveOver();
        await this.seatWaiting();
        if (this.running.length > 0) await this.step();
      } catch (error) {
        this.failAll(error);
      }
    }
    this.loop = null;
  }

  /** Gives back the sequences of rollouts that are over, and forgets waiting ones. */
  private leaveOver(): void {
    for (const running of this.running) if (running.work.isOver) this.release(running);
    this.running = this.running.filter((running) => running.sequence.isBusy);
    const isOver = (work: Work): boolean => work.isOver;
    for (const work of this.waiting.filter(isOver)) disposeSampler(work);
    this.waiting = this.waiting.filter((work) => !work.isOver);
  }

  private release(running: Running): void {
    running.sequence.isBusy = false;
    running.sequence.pending = [];
    disposeSampler(running.work);
  }

  private async seatWaiting(): Promise<void> {
    const later: Work[] = [];
    const queue = this.waiting;
    this.waiting = [];
    const seatsMax = this.arithmetic === "serial" ? 1 : this.sequences.length;
    for (const [index, work] of queue.entries()) {
      try {
        const isSeated = this.running.length < seatsMax && (await this.seat(work));
        if (!isSeated) later.push(work);
      } catch (error) {
        work.fail(error);
        this.waiting = [work, ...later, ...queue.slice(index + 1), ...this.waiting];
        throw error;
      }
    }
    // What was submitted during the awaits above stands behind.
    this.waiting = [...later, ...this.waiting];
    this.running.sort((one, other) => one.sequence.id - other.sequence.id);
  }

  private async seat(work: Work): Promise<boolean> {
    const { prompt, demand } = work;
    // What follows a token is not kept: from the first one whose logits are wanted, the prompt is evaluated again.
    const isJudged = demand.kind === "likelihood";
    const seat = findSeat(this.sequences, isJudged ? prompt.slice(0, demand.from) : prompt);
    if (seat.kind === "full" || seat.kind === "wait") return false;
    const { sequence, shared } = seat;
    sequence.isBusy = true;
    this.uses += 1;
    sequence.usedAt = this.uses;
    if (seat.kind === "copy") {
      await this.engine.copy(sequence.id, seat.source.id);
      sequence.tokens.length = 0;
      for (const token of seat.source.tokens) sequence.tokens.push(token);
    }
    if (sequence.tokens.length > shared) {
      this.engine.truncate(sequence.id, shared);
      sequence.tokens.length = shared;
    }
    sequence.pending = prompt.slice(shared, isJudged ? -1 : prompt.length);
    this.running.push({ work, sequence, cachedTokens: shared, logprobs: 0 });
    return true;
  }

  private async step(): Promise<void> {
    const bySequence = new Map(this.running.map((running) => [running.sequence.id, running]));
    const items = this.batchOf(bySequence);
    const logits = await this.engine.decode(items);
    const asked: Evaluated[] = [];
    for (const [index, { sequence, position, tokens }] of items.entries()) {
      const running = bySequence.get(sequence);
      if (running === undefined) {
        this.engine.truncate(sequence, position);
        continue;
      }
      for (const token of tokens) running.sequence.tokens.push(token);
      running.sequence.pending = running.sequence.pending.slice(tokens.length);
      const rows = logits[index];
      if (rows === undefined || rows.length === 0) continue;
      asked.push({ running, tokens, logits: rows, kept: running.sequence.tokens.length });
    }
    // llama.cpp puts the outputs of a batch with prompts in order at the first look at one of them, on the thread that
    // looks: the others must not look before that is done.
    const hasPrompts = items.some(({ tokens }) => tokens.length > 1);
    const [first, ...others] = asked;
    if (hasPrompts && first !== undefined) await this.answer(first);
    // All of them: a sampler must not be disposed while it samples.
    await Promise.all((hasPrompts ? others : asked).map((evaluated) => this.answer(evaluated)));
    for (const { running, kept } of asked) {
      const { sequence } = running;
      if (kept === sequence.tokens.length) continue;
      this.engine.truncate(sequence.id, kept);
      sequence.tokens.length = kept;
    }
  }

  private batchOf(bySequence: ReadonlyMap<number, Running>): readonly BatchItem[] {
    const isSerial = this.arithmetic === "serial";
    const isSteady = this.arithmetic === "steady";
    const drafts = new Map<number, readonly number[]>();
    const feeds = this.running.map((running) => {
      const { id, pending } = running.sequence;
      const draft = this.draftFor(running);
      if (draft.length > 0) drafts.set(id, draft);
      return { sequence: id, pending: isSerial ? 1 : pending.length + draft.length };
    });
    const plan = planBatch(feeds, {
      batchTokensMax: this.engine.batchTokensMax,
      steady: isSteady,
    });
    return plan.portions.map((portion): BatchItem => {
      const running = bySequence.get(portion.sequence);
      if (running === undefined) {
        // A companion: any token, behind what the idle sequence holds; the one beyond the last holds nothing.
        const position = this.sequences[portion.sequence]?.tokens.length ?? 0;
        const rows = outputRows(1, { isSteady, wants: 0 });
        return { sequence: portion.sequence, position, tokens: COMPANION_TOKENS, rows, wants: 0 };
      }
      const { sequence } = running;
      const draft = drafts.get(sequence.id);
      const offered = draft === undefined ? sequence.pending : [...sequence.pending, ...draft];
      const tokens = portion.tokens === offered.length ? offered : offered.slice(0, portion.tokens);
      const wants = wantedOf(running, tokens.length);
      const rows = outputRows(tokens.length, { isSteady, wants });
      return { sequence: sequence.id, position: sequence.tokens.length, tokens, rows, wants };
    });
  }

  /** What may be sampled behind the one token that a rollout is to evaluate; empty where a draft would not pay. */
  private draftFor({ work: { demand }, sequence }: Running): readonly number[] {
    const next = sequence.pending[0];
    if (this.draftTokensMax === 0 || demand.kind !== "sample") return NO_TOKENS;
    if (next === undefined || sequence.pending.length > 1) return NO_TOKENS;
    const room = this.engine.contextTokens - sequence.tokens.length - 1;
    // The last token of a text is sampled, not evaluated.
    const max = Math.min(this.draftTokensMax, room, demand.completion.room - 1);
    const draft = max < DRAFT_TOKENS_MIN ? NO_TOKENS : draftBehind(sequence.tokens, next, max);
    return draft.length < DRAFT_TOKENS_MIN ? NO_TOKENS : draft;
  }

  /** Never rejects: what fails here is this rollout's own (a grammar that allows no token), not the engine's. */
  private answer(evaluated: Evaluated): Promise<void> {
    const { work } = evaluated.running;
    if (work.isOver) return Promise.resolve();
    return this.supply(work.demand, evaluated).catch((error: unknown) => work.fail(error));
  }

  private supply(demand: Demand, evaluated: Evaluated): Promise<void> {
    switch (demand.kind) {
      case "sample":
        return this.sample(demand, evaluated);
      case "likelihood":
        return this.judge(evaluated);
      case "logits":
        return this.read(demand.tokens, evaluated);
    }
  }

  private async read(tokens: readonly number[], { running, logits }: Evaluated): Promise<void> {
    const found = await this.engine.logitsOf(logits[0] ?? -1, tokens);
    running.work.settle({ kind: "logits", logits: found, cachedTokens: running.cachedTokens });
  }

  /** Position by position, with the rollout's own sampler, for as long as what it takes is what was drafted. */
  private async sample(demand: Demand & { readonly kind: "sample" }, evaluated: Evaluated): Promise<void> {
    const { running, tokens, logits } = evaluated;
    const { work, sequence, cachedTokens } = running;
    for (const [index, row] of logits.entries()) {
      evaluated.kept = sequence.tokens.length - logits.length + index + 1;
      const token = await this.engine.sampleNext(row, demand.sampler);
      if (work.isOver) return;
      if (token < 0)
        throw new CoppiceError("invalid_argument", "expected a token that the sampling allows, found none");
      if (demand.logprobs) {
        running.logprobs += await this.engine.logprobOf(row, token);
        if (work.isOver) return;
      }
      const ending = demand.completion.push(token);
      if (ending !== null)
        return work.settle({ kind: "sample", ending, cachedTokens, logprobs: running.logprobs });
      sequence.pending = [token];
      demand.onToken(cachedTokens);
      const draft = tokens[tokens.length - logits.length + index + 1];
      if (work.isOver || draft !== token) return;
    }
  }

  private async judge({ running, logits }: Evaluated): Promise<void> {
    const { work, sequence, cachedTokens } = running;
    const behind = sequence.tokens.length - logits.length + 1;
    for (const [index, row] of logits.entries()) {
      running.logprobs += await this.engine.logprobOf(row, work.prompt[behind + index] ?? -1);
      if (work.isOver) return;
    }
    if (sequence.pending.length === 0)
      work.settle({ kind: "likelihood", logprobs: running.logprobs, cachedTokens });
  }

  private failAll(error: unknown): void {
    for (const running of this.running) {
      running.work.fail(error);
      this.release(running);
    }
    this.running = [];
    for (const sequence of this.sequences) {
      this.engine.truncate(sequence.id, 0);
      sequence.tokens.length = 0;
      sequence.isBusy = false;
    }
  }
}

const COMPANION_TOKENS = [0];
const NO_TOKENS: readonly number[] = [];
/** A shorter one would go token by token (PREFILL_TOKENS_MIN). */
const DRAFT_TOKENS_MIN = 2;

/** Behind how many of the last of the next `count` tokens something is to be read. */
function wantedOf({ work, sequence }: Running, count: number): number {
  const end = sequence.tokens.length + count;
  if (work.demand.kind === "likelihood") return Math.max(0, Math.min(count, end - work.demand.from + 1));
  return Math.max(0, count - sequence.pending.length + 1);
}

function disposeSampler(work: Work): void {
  if (work.demand.kind === "sample") work.demand.sampler.dispose();
}
