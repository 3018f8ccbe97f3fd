/**
 * The engine model once more, as plainly as can be: one step at a time, one block at a time, everything recomputed by
 * looking at all sequences. What the fast one is compared with.
 */
import { type EngineProfile, stepMs } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import type {
  EngineEvent,
  EngineModelOptions,
  EngineRequest,
} from "../../workers/rollout/drivers/simulated/engine-model.ts";

export type Order =
  | { readonly kind: "submit"; readonly atMs: number; readonly request: EngineRequest }
  | { readonly kind: "abort"; readonly atMs: number; readonly id: number }
  | { readonly kind: "clear"; readonly atMs: number };

interface Naive {
  readonly request: EngineRequest;
  readonly number: number;
  readonly prompt: number;
  readonly arrivalMs: number;
  /** The piece in which each block of its path ends. */
  readonly path: readonly string[];
  life: number;
  generated: number;
  computed: number;
  target: number;
  chunk: number;
  isDecoding: boolean;
  /** Blocks that it holds and that it shares. */
  blocks: number;
  registered: number;
  cached: number | null;
}

export interface NaiveRun {
  readonly events: readonly EngineEvent[];
  readonly preemptions: number;
  readonly promptTokensComputed: number;
  readonly completionTokens: number;
}

/** Runs a whole script. Throws where an invariant is broken. */
export function runNaively(
  profile: EngineProfile,
  options: EngineModelOptions,
  orders: readonly Order[],
): NaiveRun {
  return new NaiveEngine(profile, options).run(orders);
}

class NaiveEngine {
  readonly profile: EngineProfile;
  readonly options: EngineModelOptions;
  readonly capacity: number;
  readonly events: EngineEvent[] = [];
  /** Cached blocks, "piece#index", and when each was last let go. */
  cache = new Map<string, number>();
  /** Blocks that were cached when the cache was cleared and that are held still: free when nobody pins their piece. */
  lost: { readonly block: string; readonly life: number }[] = [];
  life = 0;
  stamp = 0;
  number = 0;
  pending: Naive[] = [];
  waiting: Naive[] = [];
  running: Naive[] = [];
  preemptions = 0;
  promptTokensComputed = 0;
  completionTokens = 0;

  constructor(profile: EngineProfile, options: EngineModelOptions) {
    this.profile = profile;
    this.options = options;
    this.capacity = Math.floor(profile.kvCapacityTokens / profile.blockTokens);
  }

  run(orders: readonly Order[]): NaiveRun {
    const left = [...orders];
    let nowMs = 0;
    for (;;) {
      while (left[0] !== undefined && left[0].atMs <= nowMs) this.obey(left.shift(), false);
      this.arrive(nowMs);
      this.schedule();
      if (this.running.length === 0) {
        const next = Math.min(left[0]?.atMs ?? Infinity, this.pending[0]?.arrivalMs ?? Infinity);
        if (next === Infinity) break;
        nowMs = next;
        continue;
      }
      const step = {
        sequences: this.running.length,
        contextTokens: this.running.reduce((sum, each) => sum + each.computed, 0),
        prefillTokens: this.running.reduce((sum, each) => sum + (each.isDecoding ? 0 : each.chunk), 0),
      };
      const endMs = nowMs + stepMs(this.profile, step);
      while (left[0] !== undefined && left[0].atMs < endMs) this.obey(left.shift(), true);
      nowMs = endMs;
      this.finishStep(nowMs);
      this.check();
    }
    if (this.waiting.length > 0) throw new Error("a request waits and nothing runs");
    const { events, preemptions, promptTokensComputed, completionTokens } = this;
    return { events, preemptions, promptTokensComputed, completionTokens };
  }

  obey(order: Order | undefined, isInStep: boolean): void {
    if (order === undefined) return;
    if (order.kind === "clear") {
      for (const block of this.cache.keys())
        if (this.isPinned(block, this.life)) this.lost.push({ block, life: this.life });
      this.cache.clear();
      this.life += 1;
      return;
    }
    if (order.kind === "submit") {
      const arrivalMs = order.atMs + this.profile.requestOverheadMs;
      this.pending.push(
        naiveOf(order.request, { number: this.number++, arrivalMs }, this.profile.blockTokens),
      );
      return;
    }
    const isOther = (each: Naive): boolean => each.request.id !== order.id;
    const runs = this.running.find((each) => !isOther(each));
    if (runs !== undefined && isInStep) this.leave(runs);
    this.pending = this.pending.filter(isOther);
    this.waiting = this.waiting.filter(isOther);
  }

  arrive(nowMs: number): void {
    const arrived = this.pending.filter((each) => each.arrivalMs <= nowMs);
    this.pending = this.pending.filter((each) => each.arrivalMs > nowMs);
    this.waiting.push(...arrived);
    if (this.options.schedulesByPriority) this.sortWaiting();
  }

  sortWaiting(): void {
    this.waiting.sort((a, b) => a.request.priority - b.request.priority || a.number - b.number);
  }

  schedule(): void {
    const decoding = this.running.filter((each) => each.isDecoding).length;
    let room = this.profile.prefillChunkTokens - decoding;
    let hasPreempted = false;
    for (const each of this.running)
      each.chunk = each.isDecoding ? 1 : Math.min(each.target - each.computed, room);
    for (const each of this.running) {
      if (!this.running.includes(each)) continue;
      const needed = this.blocksOf(each.computed + each.chunk) - each.blocks;
      while (this.running.includes(each) && needed > this.free()) {
        hasPreempted = true;
        this.preempt(this.victim());
      }
      if (!this.running.includes(each)) continue;
      this.take(needed);
      each.blocks += needed;
      if (!each.isDecoding) this.registerEarly(each);
    }
    if (hasPreempted && this.running.length > 0) return;
    for (const each of this.running) room -= each.isDecoding ? 0 : each.chunk;
    while (room > 0 && this.running.length < this.profile.sequencesMax && this.waiting[0] !== undefined) {
      if (!this.admit(this.waiting[0], room)) return;
      room -= this.running.at(-1)?.chunk ?? 0;
    }
  }

  victim(): Naive {
    const byUrgency = this.running.toSorted(
      (a, b) => a.request.priority - b.request.priority || a.number - b.number,
    );
    const found = (this.options.schedulesByPriority ? byUrgency : this.running).at(-1);
    if (found === undefined) throw new Error("nobody to preempt");
    return found;
  }

  preempt(victim: Naive): void {
    this.leave(victim);
    this.preemptions += 1;
    this.waiting.unshift(victim);
    if (this.options.schedulesByPriority) this.sortWaiting();
  }

  admit(each: Naive, room: number): boolean {
    const { blockTokens } = this.profile;
    each.target = each.prompt + each.generated;
    const most = Math.floor((each.target - 1) / blockTokens);
    let found = 0;
    while (found < most && this.cache.has(each.path[found] ?? "")) found += 1;
    const chunk = Math.min(room, each.target - found * blockTokens);
    const needed = this.blocksOf(found * blockTokens + chunk) - found;
    const pieces = new Set(each.path.slice(0, found).map(pieceOf));
    const newlyPinned = [...this.cache.keys()].filter(
      (block) => pieces.has(pieceOf(block)) && !this.isPinned(block, this.life),
    ).length;
    if (needed + newlyPinned > this.free()) {
      if (this.running.length > 0) return false;
      this.cache.clear();
      return this.admit(each, room);
    }
    this.waiting.shift();
    Object.assign(each, { computed: found * blockTokens, chunk, registered: found, blocks: found + needed });
    each.life = this.life;
    each.isDecoding = false;
    each.cached ??= each.computed;
    this.running.push(each);
    each.blocks -= needed;
    this.take(needed);
    each.blocks += needed;
    this.registerEarly(each);
    return true;
  }

  registerEarly(each: Naive): void {
    if (this.options.sharesColdPrefixes)
      this.register(each, Math.floor((each.computed + each.chunk) / this.profile.blockTokens));
  }

  /** Copies vanish: a block that is there is there once. */
  register(each: Naive, blocks: number): void {
    if (each.life !== this.life) return;
    for (const block of each.path.slice(each.registered, blocks))
      if (!this.cache.has(block)) this.cache.set(block, 0);
    each.registered = Math.max(each.registered, blocks);
  }

  finishStep(atMs: number): void {
    for (const each of this.running) {
      each.computed += each.chunk;
      if (!each.isDecoding) {
        this.promptTokensComputed += each.chunk;
        this.register(each, Math.floor(each.computed / this.profile.blockTokens));
        if (each.computed < each.target) continue;
        each.isDecoding = true;
      }
      const { id, completionTokens } = each.request;
      if (completionTokens > 0) {
        each.generated += 1;
        this.completionTokens += 1;
        if (each.generated === 1)
          this.events.push({ kind: "first-token", id, atMs, cachedTokens: each.cached ?? 0 });
      }
      if (each.generated < completionTokens) continue;
      this.leave(each);
      const cachedTokens = each.cached ?? 0;
      this.events.push({ kind: "finished", id, atMs, promptTokens: each.prompt, cachedTokens });
    }
  }

  leave(each: Naive): void {
    const full = Math.floor(each.computed / this.profile.blockTokens);
    if (full > each.registered) this.register(each, full);
    const pieces = new Set(each.path.slice(0, each.registered).map(pieceOf));
    this.running = this.running.filter((other) => other !== each);
    if (each.life === this.life) {
      const held = [...this.cache.keys()].filter((block) => pieces.has(pieceOf(block)));
      // From the end of the path: what is let go first is evicted first.
      for (const block of held.toSorted((a, b) => indexOf(b) - indexOf(a)))
        this.cache.set(block, this.stamp++);
    }
    this.lost = this.lost.filter(({ block, life }) => this.isPinned(block, life));
    Object.assign(each, { registered: 0, blocks: 0, isDecoding: false, chunk: 0 });
  }

  isPinned(block: string, life: number): boolean {
    return this.running.some(
      (each) =>
        each.life === life &&
        each.path.slice(0, each.registered).some((own) => pieceOf(own) === pieceOf(block)),
    );
  }

  privateBlocks(): number {
    return this.running.reduce((sum, each) => sum + each.blocks - each.registered, 0);
  }

  pinned(): number {
    const cached = [...this.cache.keys()].filter((block) => this.isPinned(block, this.life)).length;
    return cached + this.lost.length + this.privateBlocks();
  }

  free(): number {
    return this.capacity - this.pinned();
  }

  take(blocks: number): void {
    while (this.cache.size + this.lost.length + this.privateBlocks() + blocks > this.capacity) {
      const unpinned = [...this.cache].filter(([block]) => !this.isPinned(block, this.life));
      const [oldest] = unpinned.toSorted((a, b) => a[1] - b[1]);
      if (oldest === undefined) throw new Error("nothing to evict");
      this.cache.delete(oldest[0]);
    }
  }

  blocksOf(tokens: number): number {
    return Math.ceil(tokens / this.profile.blockTokens);
  }

  check(): void {
    if (this.pinned() > this.capacity) throw new Error("more pinned than there is");
    if (this.running.length > this.profile.sequencesMax) throw new Error("too many run");
  }
}

function naiveOf(
  request: EngineRequest,
  at: { readonly number: number; readonly arrivalMs: number },
  blockTokens: number,
): Naive {
  const { pieces, output, completionTokens } = request;
  const all = output === null ? pieces : [...pieces, { id: output, tokens: completionTokens }];
  const owner = all.flatMap(({ id, tokens }) => Array.from({ length: tokens }, () => String(id)));
  const given = pieces.reduce((sum, { tokens }) => sum + tokens, 0);
  const path: string[] = [];
  for (let end = blockTokens; end <= owner.length; end += blockTokens)
    path.push(`${owner[end - 1]}#${path.length}`);
  return {
    request,
    ...at,
    prompt: output === null ? given - completionTokens : given,
    path,
    life: 0,
    generated: 0,
    computed: 0,
    target: 0,
    chunk: 0,
    isDecoding: false,
    blocks: 0,
    registered: 0,
    cached: null,
  };
}

function pieceOf(block: string): string {
  return block.slice(0, block.lastIndexOf("#"));
}

function indexOf(block: string): number {
  return Number(block.slice(block.lastIndexOf("#") + 1));
}
