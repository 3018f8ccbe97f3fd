/**
 * A simulated inference engine in virtual time: continuous batching, chunked prefill that shares each step with decoding, a paged
 * prefix cache, preemption. It behaves as vLLM V1 does, with these simplifications:
 * - Generated tokens become findable when their sequence ends or is preempted, not block by block.
 * - A copy of a block that the cache has already is given back as soon as it is computed, as SGLang does.
 * - A request is held back for `requestOverheadMs` before the scheduler sees it.
 *
 * Between events the batch does not change, so steps are advanced many at once (`Stretch`); what each sequence has is
 * computed from the count of decode steps when it is asked for. Pure: the same calls give the same events.
 *
 * Invariants:
 * 1. Blocks of a step are taken before it begins, those of the step under way are taken already.
 * 2. At most one running sequence is in the middle of its prompt between steps, and it is the last of them: what has begun gets all
 *    that the decoding sequences leave of a step, and nobody is admitted where nothing is left.
 * 3. Time does not go back: an earlier time than one that was seen counts as that one.
 */
import { strict as assert } from "node:assert";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { BlockPhases } from "./block-phases.ts";
import { checkProfile, type EngineProfile, stepMs } from "./engine-profile.ts";
import { FinishQueue } from "./finish-queue.ts";
import { KvCache } from "./kv-cache.ts";
import { RunningSet } from "./running-set.ts";
import { type EngineRequest, Sequence } from "./sequence.ts";
import { Stretch } from "./stretch.ts";
import { createWaitingQueue, Line, type WaitingQueue } from "./waiting-queue.ts";

export type { PieceId } from "./kv-cache.ts";
export type { EnginePiece, EngineRequest } from "./sequence.ts";

export interface EngineModelOptions {
  /**
   * True as vLLM: a prompt's blocks can be shared as soon as they are scheduled, by a sibling in the same step too. False as SGLang
   * and llama.cpp: once they are computed.
   */
  readonly sharesColdPrefixes: boolean;
  readonly schedulesByPriority: boolean;
}

export type EngineEvent =
  | {
      readonly kind: "first-token";
      readonly id: number;
      readonly atMs: number;
      readonly cachedTokens: number;
    }
  | {
      readonly kind: "finished";
      readonly id: number;
      readonly atMs: number;
      readonly promptTokens: number;
      /** Of the prompt, when it was first admitted. */
      readonly cachedTokens: number;
    };

/** Sequences now, and counts since the beginning. */
export interface EngineModelSignals {
  readonly running: number;
  readonly waiting: number;
  /** Share of the blocks that running sequences hold, from 0 to 1. */
  readonly kvUsage: number;
  readonly preemptions: number;
  /** Prompt tokens that were computed, those of preempted sequences again. */
  readonly promptTokensComputed: number;
  readonly promptTokensCached: number;
  readonly completionTokens: number;
}

export class EngineModel {
  readonly profile: EngineProfile;
  readonly #options: EngineModelOptions;
  readonly #cache: KvCache;
  readonly #sequences = new Map<number, Sequence>();
  /** On their way to the scheduler, by arrival. */
  readonly #pending = new Line<Sequence>();
  readonly #waiting: WaitingQueue;
  readonly #running = new RunningSet();
  readonly #finishing = new FinishQueue();
  readonly #phases: BlockPhases;
  /** Sequences that compute some of their prompt in the step under way; between steps the one that has not done so. */
  #prefilling: Sequence[] = [];
  #stretch: Stretch | null = null;
  #events: EngineEvent[] = [];
  #nowMs = -Infinity;
  #submitted = 0;
  #admitted = 0;
  #pendingCount = 0;
  #decoding = 0;
  /** Decode steps since the beginning. */
  #steps = 0;
  /** Tokens in the cache of the decoding sequences. */
  #context = 0;
  #preemptions = 0;
  #promptTokensComputed = 0;
  #promptTokensCached = 0;
  #completionTokens = 0;

  /** @throws CoppiceError "invalid_argument" for a profile that no engine could run with. */
  constructor(profile: EngineProfile, options: EngineModelOptions) {
    checkProfile(profile);
    this.profile = profile;
    this.#options = options;
    this.#cache = new KvCache(Math.floor(profile.kvCapacityTokens / profile.blockTokens));
    this.#waiting = createWaitingQueue(options);
    this.#phases = new BlockPhases(profile.blockTokens);
  }

  /**
   * A request comes at a time. Its first step is one that begins then or later, unless `advance` went as far already.
   * @throws CoppiceError "invalid_argument" for one that could never run: longer than the KV cache, or of no tokens.
   */
  submit(request: EngineRequest, nowMs: number): void {
    const { blockTokens, requestOverheadMs } = this.profile;
    this.#catchUp(nowMs);
    if (this.#sequences.has(request.id))
      throw new CoppiceError("invalid_argument", `request ${request.id}: expected an id that is not in use`);
    const arrivalMs = this.#nowMs + requestOverheadMs;
    const sequence = new Sequence(request, { number: this.#submitted, arrivalMs, blockTokens });
    this.#check(sequence);
    this.#submitted += 1;
    this.#sequences.set(request.id, sequence);
    this.#pending.push(sequence);
    this.#pendingCount += 1;
    this.#breakFor(arrivalMs);
  }

  /** A request is not wanted any more: it leaves at once, and what it had computed stays cached. Of an id that is not known: nothing. */
  abort(id: number, nowMs: number): void {
    this.#catchUp(nowMs);
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) return;
    this.#settle();
    this.#sequences.delete(id);
    if (sequence.state === "pending") this.#pendingCount -= 1;
    else if (sequence.state === "waiting") this.#leaveQueue(sequence);
    else {
      this.#leave(sequence, this.#stretch === null ? 0 : 1);
      this.#stretch?.shorten(0);
    }
    sequence.state = "ended";
  }

  /** When `advance` has something to do next; Infinity where it has nothing. */
  nextMs(): number {
    if (this.#events.length > 0) return this.#nowMs;
    if (this.#stretch !== null) return this.#stretch.endMs;
    return this.#firstPending()?.arrivalMs ?? Infinity;
  }

  /** Goes on to a time. Returns what happened since the last call, in order of time. */
  advance(nowMs: number): readonly EngineEvent[] {
    const untilMs = Math.max(nowMs, this.#nowMs);
    for (let atMs = this.#boundaryMs(); atMs <= untilMs; atMs = this.#boundaryMs()) this.#turn(atMs);
    this.#nowMs = untilMs;
    const events = this.#events;
    if (events.length > 0) this.#events = [];
    return events;
  }

  /** Every cached prefix is lost. Sequences that run go on, and leave nothing behind. */
  clear(nowMs: number): void {
    this.#catchUp(nowMs);
    this.#settle();
    this.#cache.clear();
    this.#stretch?.shorten(0);
  }

  /** Tokens that a request has generated by a time that `advance` was not asked to pass; null for an id that is not known. */
  generated(id: number, nowMs: number): number | null {
    const sequence = this.#sequences.get(id);
    if (sequence === undefined) return null;
    const more = this.#stretch === null ? 0 : this.#stretch.stepsBy(nowMs) - this.#stretch.done;
    return sequence.generatedAt(this.#steps + Math.max(0, more));
  }

  /** As of the last call. */
  get signals(): EngineModelSignals {
    this.#settle();
    return {
      running: this.#running.size,
      waiting: this.#waiting.size + this.#pendingCount,
      kvUsage: this.#cache.pinnedBlocks / this.#cache.capacityBlocks,
      preemptions: this.#preemptions,
      promptTokensComputed: this.#promptTokensComputed,
      promptTokensCached: this.#promptTokensCached,
      completionTokens: this.#completionTokens,
    };
  }

  #check(sequence: Sequence): void {
    const { id, promptTokens, completionTokens, tokensMax } = sequence;
    const isCounted = Number.isSafeInteger(promptTokens) && Number.isSafeInteger(completionTokens);
    if (!isCounted || promptTokens < 1 || completionTokens < 0) {
      throw new CoppiceError(
        "invalid_argument",
        `request ${id}: expected a prompt of at least one token and a completion of none or more, ` +
          `found ${promptTokens} and ${completionTokens}`,
      );
    }
    const capacity = this.#cache.capacityBlocks * this.profile.blockTokens;
    if (tokensMax > capacity) {
      throw new CoppiceError(
        "invalid_argument",
        `request ${id}: expected prompt and completion to fit the KV cache of ${capacity} tokens, ` +
          `found ${promptTokens} and ${completionTokens}`,
      );
    }
  }

  /** Everything before a time happens before what the caller does at that time. */
  #catchUp(nowMs: number): void {
    if (nowMs <= this.#nowMs) return;
    for (let atMs = this.#boundaryMs(); atMs < nowMs; atMs = this.#boundaryMs()) this.#turn(atMs);
    this.#nowMs = nowMs;
  }

  #boundaryMs(): number {
    if (this.#stretch !== null) return this.#stretch.endMs;
    return this.#firstPending()?.arrivalMs ?? Infinity;
  }

  /** What stands between two steps: the end of one, the plan of the next. */
  #turn(atMs: number): void {
    if (this.#stretch !== null) {
      this.#count(this.#stretch.steps);
      this.#stretch = null;
      this.#finishDecoded(atMs);
      this.#finishPrefills(atMs);
    }
    this.#plan(atMs);
  }

  /** Counts the steps that are done by now. */
  #settle(): void {
    const stretch = this.#stretch;
    // The last step belongs to `advance`, also where it ends just now.
    if (stretch !== null) this.#count(Math.min(stretch.stepsBy(this.#nowMs), stretch.steps - 1));
  }

  #count(done: number): void {
    const stretch = this.#stretch;
    if (stretch === null || done <= stretch.done) return;
    const steps = done - stretch.done;
    const next = Math.min(done + 1, stretch.steps) - (stretch.done + 1);
    if (next > 0) this.#cache.take(this.#phases.needs(this.#steps + 1, next));
    stretch.done = done;
    this.#steps += steps;
    this.#context += steps * this.#decoding;
    this.#completionTokens += steps * this.#decoding;
  }

  #finishDecoded(atMs: number): void {
    for (let first = this.#finishing.first(); first !== null; first = this.#finishing.first()) {
      if (first.finishAt > this.#steps) return;
      this.#leave(first, 0);
      this.#finish(first, atMs);
    }
  }

  #finishPrefills(atMs: number): void {
    const prefilled = this.#prefilling;
    this.#prefilling = [];
    for (const sequence of prefilled) {
      sequence.computed += sequence.chunk;
      this.#promptTokensComputed += sequence.chunk;
      sequence.chunk = 0;
      this.#cache.register(sequence, Math.floor(sequence.computed / this.profile.blockTokens));
      if (sequence.computed < sequence.target) this.#prefilling.push(sequence);
      else this.#firstToken(sequence, atMs);
    }
  }

  /** The prompt is computed: the same step gives the next token. */
  #firstToken(sequence: Sequence, atMs: number): void {
    if (sequence.completionTokens > 0) {
      sequence.generated += 1;
      this.#completionTokens += 1;
    }
    if (sequence.generated === 1) {
      const cachedTokens = sequence.cachedTokens ?? 0;
      this.#events.push({ kind: "first-token", id: sequence.id, atMs, cachedTokens });
    }
    if (sequence.generated === sequence.completionTokens) {
      this.#leave(sequence, 0);
      this.#finish(sequence, atMs);
      return;
    }
    sequence.state = "decoding";
    sequence.origin = sequence.computed - this.#steps;
    sequence.finishAt = this.#steps + sequence.completionTokens - sequence.generated;
    this.#finishing.add(sequence);
    this.#phases.add(sequence.origin);
    this.#decoding += 1;
    this.#context += sequence.computed;
  }

  #finish(sequence: Sequence, atMs: number): void {
    sequence.state = "ended";
    this.#sequences.delete(sequence.id);
    const { id, promptTokens } = sequence;
    this.#events.push({
      kind: "finished",
      id,
      atMs,
      promptTokens,
      cachedTokens: sequence.cachedTokens ?? 0,
    });
  }

  /** Leaves the running set. @param underWay Steps that it has blocks for and has not done: 0 or 1. */
  #leave(sequence: Sequence, underWay: number): void {
    const { blockTokens } = this.profile;
    sequence.generated = sequence.generatedAt(this.#steps);
    sequence.computed = sequence.computedAt(this.#steps);
    this.#running.remove(sequence);
    if (sequence.state === "decoding") {
      this.#finishing.remove(sequence);
      this.#phases.remove(sequence.origin);
      this.#decoding -= 1;
      this.#context -= sequence.computed;
      sequence.blocks = Math.ceil((sequence.computed + underWay) / blockTokens);
    } else this.#prefilling = this.#prefilling.filter((each) => each !== sequence);
    this.#cache.release(sequence, Math.floor(sequence.computed / blockTokens));
  }

  #plan(atMs: number): void {
    this.#arrive(atMs);
    const hasPreempted = this.#continueRunning();
    if (!hasPreempted || this.#running.size === 0) this.#admit();
    if (this.#running.size === 0) return;
    let prefillTokens = 0;
    let contextTokens = this.#context;
    for (const sequence of this.#prefilling) {
      prefillTokens += sequence.chunk;
      contextTokens += sequence.computed;
    }
    const sequences = this.#running.size;
    this.#stretch = new Stretch(atMs, {
      firstMs: stepMs(this.profile, { sequences, contextTokens, prefillTokens }),
      growthMs: this.profile.stepPerContextTokenMs * sequences,
      steps: hasPreempted || prefillTokens > 0 ? 1 : this.#stepsAlike(),
    });
    const next = this.#firstPending();
    if (next !== null) this.#breakFor(next.arrivalMs);
  }

  /** Decode steps until a sequence finishes or blocks run out. */
  #stepsAlike(): number {
    const first = this.#finishing.first();
    assert(first !== null, "a step without a prompt decodes something");
    const stepsMax = first.finishAt - this.#steps;
    // Blocks of the first step are taken already.
    return 1 + this.#phases.stepsWithin(this.#steps + 1, this.#cache.available, stepsMax - 1);
  }

  #arrive(atMs: number): void {
    for (let first = this.#firstPending(); first !== null; first = this.#firstPending()) {
      if (first.arrivalMs > atMs) return;
      this.#pending.shift();
      this.#pendingCount -= 1;
      first.state = "waiting";
      this.#waiting.add(first);
    }
  }

  #firstPending(): Sequence | null {
    while (this.#pending.first()?.state === "ended") this.#pending.shift();
    return this.#pending.first();
  }

  /** An arrival ends the stretch at the next step, where it could be admitted at all. */
  #breakFor(arrivalMs: number): void {
    const stretch = this.#stretch;
    if (stretch === null || arrivalMs >= stretch.endMs || this.#running.size >= this.profile.sequencesMax)
      return;
    if (this.#waiting.size > 0 && !this.#options.schedulesByPriority) return;
    stretch.shorten(stretch.stepsUntil(arrivalMs));
  }

  /** Takes the blocks of the next step for those that run. True where one had to be preempted for that. */
  #continueRunning(): boolean {
    const needed = this.#phases.needs(this.#steps, 1);
    const begun = this.#prefilling[0] ?? null;
    if (begun !== null)
      begun.chunk = Math.min(begun.target - begun.computed, this.profile.prefillChunkTokens - this.#decoding);
    const neededByChunk = begun === null ? 0 : this.#blocksForChunk(begun);
    if (needed + neededByChunk > this.#cache.available) return this.#preemptUntilTheRestFits();
    this.#cache.take(needed + neededByChunk);
    if (begun !== null) this.#beginChunk(begun, neededByChunk);
    return false;
  }

  #blocksForChunk(sequence: Sequence): number {
    return Math.ceil((sequence.computed + sequence.chunk) / this.profile.blockTokens) - sequence.blocks;
  }

  #beginChunk(sequence: Sequence, blocks: number): void {
    sequence.blocks += blocks;
    if (!this.#options.sharesColdPrefixes) return;
    const blocksFull = Math.floor((sequence.computed + sequence.chunk) / this.profile.blockTokens);
    this.#cache.register(sequence, blocksFull);
  }

  /** One after another in the order of admission; where nothing is left, the last of them goes, or the least urgent one. */
  #preemptUntilTheRestFits(): boolean {
    const { blockTokens } = this.profile;
    const granted = new Set<Sequence>();
    let hasPreempted = false;
    for (let each = this.#running.first; each !== null;) {
      const isDecoding = each.state === "decoding";
      const needed = isDecoding
        ? Number(each.computedAt(this.#steps) % blockTokens === 0)
        : this.#blocksForChunk(each);
      let victim: Sequence | null = null;
      while (needed > this.#cache.available && victim !== each) {
        victim = this.#options.schedulesByPriority ? this.#running.leastUrgent() : this.#running.last;
        assert(victim !== null, "a sequence that runs is there to be preempted");
        if (victim !== each) this.#preempt(victim, granted.has(victim) ? 1 : 0);
        hasPreempted = true;
      }
      const next: Sequence | null = each.next;
      if (victim === each) this.#preempt(each, 0);
      else {
        this.#cache.take(needed);
        if (isDecoding) granted.add(each);
        else this.#beginChunk(each, needed);
      }
      each = next;
    }
    return hasPreempted;
  }

  #preempt(sequence: Sequence, underWay: number): void {
    this.#leave(sequence, underWay);
    sequence.state = "waiting";
    sequence.chunk = 0;
    this.#waiting.putBack(sequence);
    this.#preemptions += 1;
  }

  /** A step's room that is left goes to those that wait, as far as blocks are there for the first of them. */
  #admit(): void {
    let room = this.profile.prefillChunkTokens - this.#decoding;
    for (const sequence of this.#prefilling) room -= sequence.chunk;
    while (room > 0 && this.#running.size < this.profile.sequencesMax) {
      const sequence = this.#waiting.first();
      if (sequence === null || !this.#admitOne(sequence, room)) return;
      room -= sequence.chunk;
    }
  }

  #admitOne(sequence: Sequence, room: number): boolean {
    const { blockTokens } = this.profile;
    const target = sequence.promptTokens + sequence.generated;
    // At least one token is computed: the next one comes from it.
    const blocksMax = Math.floor((target - 1) / blockTokens);
    const needs = (found: number): number =>
      Math.ceil(Math.min(target, found * blockTokens + room) / blockTokens) - found;
    let fits = this.#cache.admit(sequence, blocksMax, needs);
    if (!fits && this.#running.size === 0) {
      // Alone, it fits: what stands in its way is cached beyond the part of its path that it uses.
      this.#cache.evictAll();
      fits = this.#cache.admit(sequence, blocksMax, needs);
      assert(fits, "a request that was taken fits an empty cache");
    }
    if (!fits) return false;
    this.#waiting.removeFirst();
    sequence.state = "prefilling";
    sequence.target = target;
    sequence.computed = sequence.registered * blockTokens;
    sequence.chunk = Math.min(room, target - sequence.computed);
    if (sequence.cachedTokens === null) {
      sequence.cachedTokens = sequence.computed;
      this.#promptTokensCached += sequence.computed;
    }
    sequence.admission = this.#admitted;
    this.#admitted += 1;
    this.#running.add(sequence);
    this.#prefilling.push(sequence);
    this.#beginChunk(sequence, 0);
    return true;
  }

  #leaveQueue(sequence: Sequence): void {
    sequence.state = "ended";
    this.#waiting.forget();
    // Whoever stands behind it may fit where it did not.
    this.#stretch?.shorten(0);
  }
}
