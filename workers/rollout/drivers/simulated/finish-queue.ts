/** Decoding sequences by the step in which they finish, then by admission: a binary heap that can lose any of its members. */
import type { Sequence } from "./sequence.ts";

export class FinishQueue {
  readonly #heap: Sequence[] = [];

  first(): Sequence | null {
    return this.#heap[0] ?? null;
  }

  add(sequence: Sequence): void {
    this.#heap.push(sequence);
    this.#rise(sequence, this.#heap.length - 1);
  }

  remove(sequence: Sequence): void {
    const at = sequence.finishIndex;
    const last = this.#heap.pop();
    sequence.finishIndex = -1;
    if (last === undefined || last === sequence) return;
    const parent = this.#heap[(at - 1) >> 1];
    if (at > 0 && parent !== undefined && isBefore(last, parent)) this.#rise(last, at);
    else this.#sink(last, at);
  }

  #rise(sequence: Sequence, from: number): void {
    let at = from;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = this.#heap[above];
      if (parent === undefined || !isBefore(sequence, parent)) break;
      this.#put(parent, at);
      at = above;
    }
    this.#put(sequence, at);
  }

  #sink(sequence: Sequence, from: number): void {
    let at = from;
    for (;;) {
      const left = this.#heap[2 * at + 1];
      const right = this.#heap[2 * at + 2];
      if (left === undefined) break;
      const isRight = right !== undefined && isBefore(right, left);
      const child = isRight ? right : left;
      if (!isBefore(child, sequence)) break;
      this.#put(child, at);
      at = 2 * at + (isRight ? 2 : 1);
    }
    this.#put(sequence, at);
  }

  #put(sequence: Sequence, at: number): void {
    this.#heap[at] = sequence;
    sequence.finishIndex = at;
  }
}

function isBefore(one: Sequence, other: Sequence): boolean {
  return one.finishAt === other.finishAt ? one.admission < other.admission : one.finishAt < other.finishAt;
}
