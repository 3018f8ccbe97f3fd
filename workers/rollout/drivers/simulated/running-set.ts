/** The sequences that run, in the order in which they were admitted. */
import type { Sequence } from "./sequence.ts";
import { goesBefore } from "./waiting-queue.ts";

export class RunningSet {
  size = 0;
  first: Sequence | null = null;
  last: Sequence | null = null;

  add(sequence: Sequence): void {
    sequence.previous = this.last;
    sequence.next = null;
    if (this.last === null) this.first = sequence;
    else this.last.next = sequence;
    this.last = sequence;
    this.size += 1;
  }

  remove(sequence: Sequence): void {
    if (sequence.previous === null) this.first = sequence.next;
    else sequence.previous.next = sequence.next;
    if (sequence.next === null) this.last = sequence.previous;
    else sequence.next.previous = sequence.previous;
    sequence.previous = null;
    sequence.next = null;
    this.size -= 1;
  }

  /** The one that would be served last of all by priority and arrival. */
  leastUrgent(): Sequence | null {
    let found = this.first;
    for (let each = this.first; each !== null; each = each.next)
      if (found === null || goesBefore(found, each)) found = each;
    return found;
  }
}
