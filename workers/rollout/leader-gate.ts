/**
 * The leader gate: where a host does not share prefixes that are cold, of asks with a common cold beginning one goes first
 * and the others follow its first token. Pure: no clock, no host; whoever calls it says what happened.
 *
 * Invariants: (1) an ask waits only for one that has gone and has not ended, so somebody always goes and nobody waits for
 * ever; (2) whoever has waited longest is looked at first, and goes or waits for what went before it; (3) a waiting ask
 * holds nothing but its place here, and leaves it at once when its signal aborts.
 */
import type { SegmentId } from "../../services/queue/job.ts";
import type { PromptPath } from "./prompt-path.ts";
import type { WarmSegments } from "./warm-segments.ts";

/** What an ask that has gone says of itself. All of it may be said twice. */
export interface Passage {
  /** Its prompt is in the host's cache from now on. */
  firstToken(): void;
  /** It has an answer, so the prompt was computed even where no first token was told. */
  answered(): void;
  /** It is at the host no more, whatever became of it. Must be called. */
  ended(): void;
}

export interface LeaderGateOptions {
  readonly warm: WarmSegments;
  /** Tokens of a cold beginning from which on it is worth waiting for another's; Infinity: nobody waits. */
  readonly leaderTokensMin: number;
  /** Told when `waiting` has changed. */
  readonly onWaiting?: () => void;
}

interface Going {
  readonly path: PromptPath;
}

interface Waiter {
  readonly path: PromptPath;
  /** Of arrival. */
  readonly order: number;
  readonly grant: (passage: Passage) => void;
}

export class LeaderGate {
  readonly #warm: WarmSegments;
  readonly #leaderTokensMin: number;
  readonly #onWaiting: () => void;
  /** Asks that have gone and have no first token yet, by each segment of their paths. */
  readonly #going = new Map<SegmentId, Set<Going>>();
  /** Who waits, by the segment that it waits for. */
  readonly #waiters = new Map<SegmentId, Set<Waiter>>();
  #waiting = 0;
  #arrivals = 0;

  constructor(options: LeaderGateOptions) {
    this.#warm = options.warm;
    this.#leaderTokensMin = options.leaderTokensMin;
    this.#onWaiting = options.onWaiting ?? (() => undefined);
  }

  /** Asks that wait for their leader. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Resolves when the ask may go; rejects with the signal's reason when it aborts before. */
  enter(path: PromptPath, signal: AbortSignal): Promise<Passage> {
    if (signal.aborted) return Promise.reject(signal.reason);
    const leading = this.#leading(path);
    if (leading === null) return Promise.resolve(this.#go(path));
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#forget(waiter);
        this.#changeWaiting(-1);
        reject(signal.reason);
      };
      const waiter: Waiter = {
        path,
        order: this.#arrivals,
        grant: (passage) => {
          signal.removeEventListener("abort", onAbort);
          resolve(passage);
        },
      };
      this.#arrivals += 1;
      addTo(this.#waiters, leading, waiter);
      signal.addEventListener("abort", onAbort, { once: true });
      this.#changeWaiting(1);
    });
  }

  /** The segment to wait for: the deepest of the path that is cold and that another computes. Null: go. */
  #leading(path: PromptPath): SegmentId | null {
    if (this.#leaderTokensMin === Infinity) return null;
    for (const { id, tokensTo } of path.toReversed()) {
      if (this.#warm.has(id)) return null;
      if (!this.#going.has(id)) continue;
      return tokensTo - this.#warm.tokensOf(path) >= this.#leaderTokensMin ? id : null;
    }
    return null;
  }

  #go(path: PromptPath): Passage {
    const going: Going = { path };
    this.#warm.touch(path);
    for (const { id } of path) addTo(this.#going, id, going);
    let isOver = false;
    const settle = (isWarm: boolean): void => {
      if (isWarm) this.#warm.add(path);
      if (isOver) return;
      isOver = true;
      for (const { id } of path) removeFrom(this.#going, id, going);
      this.#lookAgain(path);
    };
    let isComputed = false;
    const computed = (): void => {
      if (!isComputed) settle(true);
      isComputed = true;
    };
    return { firstToken: computed, answered: computed, ended: () => settle(false) };
  }

  /** Looks again at everybody who waits for a segment of this path, in the order of their arrival. */
  #lookAgain(path: PromptPath): void {
    const found = path.flatMap(({ id }) =>
      [...(this.#waiters.get(id) ?? [])].map((waiter) => ({ waiter, id })),
    );
    found.sort((one, other) => one.waiter.order - other.waiter.order);
    let granted = 0;
    for (const { waiter, id } of found) {
      const leading = this.#leading(waiter.path);
      if (leading === id) continue;
      removeFrom(this.#waiters, id, waiter);
      if (leading !== null) addTo(this.#waiters, leading, waiter);
      else {
        granted += 1;
        waiter.grant(this.#go(waiter.path));
      }
    }
    if (granted > 0) this.#changeWaiting(-granted);
  }

  #forget(waiter: Waiter): void {
    for (const { id } of waiter.path) removeFrom(this.#waiters, id, waiter);
  }

  #changeWaiting(by: number): void {
    this.#waiting += by;
    this.#onWaiting();
  }
}

function addTo<T>(sets: Map<SegmentId, Set<T>>, id: SegmentId, one: T): void {
  const set = sets.get(id) ?? new Set();
  set.add(one);
  sets.set(id, set);
}

function removeFrom<T>(sets: Map<SegmentId, Set<T>>, id: SegmentId, one: T): void {
  const set = sets.get(id);
  set?.delete(one);
  if (set?.size === 0) sets.delete(id);
}
