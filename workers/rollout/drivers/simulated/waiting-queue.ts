/** Sequences that wait to run: first come first served with those that were preempted in front, or by priority. */
import type { Sequence } from "./sequence.ts";

export interface WaitingQueue {
  readonly size: number;
  add(sequence: Sequence): void;
  /** For one that was preempted. */
  putBack(sequence: Sequence): void;
  first(): Sequence | null;
  removeFirst(): void;
  /** Called once for one that waits, after its state has become "ended". */
  forget(): void;
}

export function createWaitingQueue(options: { readonly schedulesByPriority: boolean }): WaitingQueue {
  return options.schedulesByPriority ? new PriorityQueue() : new ArrivalQueue();
}

/** A list that is taken from at its front. */
export class Line<T> {
  #items: T[] = [];
  #at = 0;

  get size(): number {
    return this.#items.length - this.#at;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  first(): T | null {
    return this.#items[this.#at] ?? null;
  }

  shift(): void {
    this.#at += 1;
    // Moved in bulk, so that what was taken is let go and each costs the same on average.
    if (this.#at < 64 || 2 * this.#at < this.#items.length) return;
    this.#items = this.#items.slice(this.#at);
    this.#at = 0;
  }
}

class ArrivalQueue implements WaitingQueue {
  size = 0;
  readonly #line = new Line<Sequence>();
  /** Preempted ones; the last goes first. */
  readonly #front: Sequence[] = [];

  add(sequence: Sequence): void {
    this.#line.push(sequence);
    this.size += 1;
  }

  putBack(sequence: Sequence): void {
    this.#front.push(sequence);
    this.size += 1;
  }

  first(): Sequence | null {
    while (this.#front.at(-1)?.state === "ended") this.#front.pop();
    while (this.#line.first()?.state === "ended") this.#line.shift();
    return this.#front.at(-1) ?? this.#line.first();
  }

  removeFirst(): void {
    if (this.first() === null) return;
    if (this.#front.pop() === undefined) this.#line.shift();
    this.size -= 1;
  }

  forget(): void {
    this.size -= 1;
  }
}

class PriorityQueue implements WaitingQueue {
  size = 0;
  readonly #heap: Sequence[] = [];

  add(sequence: Sequence): void {
    this.size += 1;
    const heap = this.#heap;
    let at = heap.length;
    heap.push(sequence);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || !goesBefore(sequence, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = sequence;
  }

  putBack(sequence: Sequence): void {
    this.add(sequence);
  }

  first(): Sequence | null {
    while (this.#heap[0]?.state === "ended") this.#pop();
    return this.#heap[0] ?? null;
  }

  removeFirst(): void {
    if (this.first() === null) return;
    this.#pop();
    this.size -= 1;
  }

  forget(): void {
    this.size -= 1;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      if (left === undefined) break;
      const isRight = right !== undefined && goesBefore(right, left);
      const child = isRight ? right : left;
      if (!goesBefore(child, last)) break;
      heap[at] = child;
      at = 2 * at + (isRight ? 2 : 1);
    }
    heap[at] = last;
  }
}

/** Less priority first, then who came earlier. */
export function goesBefore(one: Sequence, other: Sequence): boolean {
  return one.priority === other.priority ? one.number < other.number : one.priority < other.priority;
}
