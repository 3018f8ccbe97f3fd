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
import type { BatchItem, Engine, Sampler } from "./engine.ts";
import type { Completion, Ending } from "./completion.ts";
import { outputRows, planBatch } from "./batch-plan.ts";
import { createSequences, findSeat } from "./sequences.ts";
import type { KvSequence } from "./sequences.ts";

/**
 * `free`: fastest. `steady`: as free, but no result depends on what runs beside it (batch-plan.ts). `serial`:
 * one token of one rollout at a time, for engines on which steady is not exact.
 */
export type Arithmetic = "free" | "steady" | "serial";

/** What follows the prompt: sampled tokens until `completion` ends, or the logits of some tokens. */
export type Demand =
  | {
      readonly kind: "sample";
      readonly completion: Completion;
      readonly sampler: Sampler;
      /** Told after each token that does not end the text. May abort the work; must not throw. */
      readonly onToken: (cachedTokens: number) => void;
    }
  | { readonly kind: "logits"; readonly tokens: readonly number[] };

export type Supply =
  | { readonly kind: "sample"; readonly ending: Ending; readonly cachedTokens: number }
  | { readonly kind: "logits"; readonly logits: readonly number[]; readonly cachedTokens: number };

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
}

export class Batcher {
  private readonly engine: Engine;
  private readonly arithmetic: Arithmetic;
  private readonly sequences: readonly KvSequence[];
  private waiting: Work[] = [];
  /** In rising order of sequence. */
  private running: Running[] = [];
  private loop: Promise<void> | null = null;
  private uses = 0;
  private closedBy: unknown = null;

  constructor(engine: Engine, options: { readonly sequences: number; readonly arithmetic: Arithmetic }) {
    this.engine = engine;
    this.arithmetic = options.arithmetic;
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
    const seat = findSeat(this.sequences, work.prompt);
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
    sequence.pending = work.prompt.slice(shared);
    this.running.push({ work, sequence, cachedTokens: shared });
    return true;
  }

  private async step(): Promise<void> {
    const bySequence = new Map(this.running.map((running) => [running.sequence.id, running]));
    const { items, asked } = this.batchOf(bySequence);
    const logits = await this.engine.decode(items);
    for (const { sequence, position, tokens } of items) {
      const running = bySequence.get(sequence);
      if (running === undefined) {
        this.engine.truncate(sequence, position);
      } else {
        for (const token of tokens) running.sequence.tokens.push(token);
        running.sequence.pending = running.sequence.pending.slice(tokens.length);
      }
    }
    // llama.cpp puts the outputs of a batch with prompts in order at the first look at one of them, on the thread that
    // looks: the others must not look before that is done.
    const hasPrompts = items.some(({ tokens }) => tokens.length > 1);
    const answerAt = (running: Running, index: number): Promise<void> =>
      this.answer(running, logits[index] ?? -1);
    const [first, ...others] = asked;
    const before = hasPrompts && first !== undefined ? await Promise.allSettled([answerAt(first, 0)]) : [];
    const rest = before.length === 0 ? asked : others;
    // All of them, also when one fails: a sampler must not be disposed while it samples.
    const after = await Promise.allSettled(rest.map((running, n) => answerAt(running, n + before.length)));
    const answers = [...before, ...after];
    for (const answer of answers) if (answer.status === "rejected") throw answer.reason;
  }

  private batchOf(bySequence: ReadonlyMap<number, Running>): { items: BatchItem[]; asked: Running[] } {
    const isSerial = this.arithmetic === "serial";
    const isSteady = this.arithmetic === "steady";
    const feeds = this.running.map(({ sequence }) => ({
      sequence: sequence.id,
      pending: isSerial ? 1 : sequence.pending.length,
    }));
    const plan = planBatch(feeds, {
      batchTokensMax: this.engine.batchTokensMax,
      steady: isSteady,
    });
    const items: BatchItem[] = [];
    const asked: Running[] = [];
    for (const portion of plan.portions) {
      const running = bySequence.get(portion.sequence);
      if (running === undefined) {
        // A companion: any token, behind what the idle sequence holds; the one beyond the last holds nothing.
        const position = this.sequences[portion.sequence]?.tokens.length ?? 0;
        const rows = outputRows(1, { isSteady, wantsNext: false });
        items.push({
          sequence: portion.sequence,
          position,
          tokens: COMPANION_TOKENS,
          rows,
          wantsNext: false,
        });
        continue;
      }
      const { sequence } = running;
      const wantsNext = portion.tokens === sequence.pending.length;
      if (wantsNext) asked.push(running);
      const tokens = wantsNext ? sequence.pending : sequence.pending.slice(0, portion.tokens);
      const rows = outputRows(tokens.length, { isSteady, wantsNext });
      items.push({ sequence: sequence.id, position: sequence.tokens.length, tokens, rows, wantsNext });
    }
    return { items, asked };
  }

  private async answer(running: Running, logits: number): Promise<void> {
    const { work, sequence, cachedTokens } = running;
    if (work.isOver) return;
    const { demand } = work;
    if (demand.kind === "logits") {
      work.settle({
        kind: "logits",
        logits: await this.engine.logitsOf(logits, demand.tokens),
        cachedTokens,
      });
      return;
    }
    const token = await this.engine.sampleNext(logits, demand.sampler);
    if (work.isOver) return;
    const ending = demand.completion.push(token);
    if (ending !== null) return work.settle({ kind: "sample", ending, cachedTokens });
    sequence.pending = [token];
    demand.onToken(cachedTokens);
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

function disposeSampler(work: Work): void {
  if (work.demand.kind === "sample") work.demand.sampler.dispose();
}
