/**
 * Time in the simulator: a queue of what is to happen. Nothing happens between two steps but what follows from the first. A `Life` is
 * one process between its start and its death: when it dies, what it waited for never comes.
 */
import type { Clock, Timer } from "../../services/runtime/clock.ts";

interface Event {
  readonly atMs: number;
  /** Of two at one time the one that was asked for first. */
  readonly order: number;
  fire: (() => void) | null;
}

export class SimulatedTime {
  #nowMs = 0;
  #asked = 0;
  /** A binary heap, the next event on top. */
  readonly #heap: Event[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    const event: Event = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#asked, fire };
    this.#asked += 1;
    this.#push(event);
    return { cancel: () => void (event.fire = null) };
  }

  /** Moves on to the next event. @returns Whether there was one. */
  step(): boolean {
    for (let event = this.#pop(); event !== null; event = this.#pop()) {
      if (event.fire === null) continue;
      this.#nowMs = event.atMs;
      event.fire();
      return true;
    }
    return false;
  }

  /** Nothing happens any more: what the dead sleep for holds nothing of their world. */
  end(): void {
    this.#heap.length = 0;
  }

  #push(event: Event): void {
    let at = this.#heap.length;
    for (; at > 0; at = (at - 1) >> 1) {
      const parent = this.#heap[(at - 1) >> 1];
      if (parent === undefined || !isBefore(event, parent)) break;
      this.#heap[at] = parent;
    }
    this.#heap[at] = event;
  }

  #pop(): Event | null {
    const [top] = this.#heap;
    const last = this.#heap.pop();
    if (top === undefined || last === undefined) return null;
    const size = this.#heap.length;
    if (size === 0) return top;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      const [l, r] = [this.#heap[left], this.#heap[right]];
      if (l === undefined) break;
      const isRight = r !== undefined && isBefore(r, l);
      const child = isRight ? r : l;
      if (!isBefore(child, last)) break;
      this.#heap[at] = child;
      at = isRight ? right : left;
    }
    this.#heap[at] = last;
    return top;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Wall-clock time at which every simulation begins. */
const EPOCH_MS = 1_700_000_000_000;

export class Life {
  readonly name: string;
  readonly clock: Clock;
  readonly #time: SimulatedTime;
  readonly #onDeath: (() => void)[] = [];
  readonly #onStop: (() => void)[] = [];
  readonly #onWake: (() => void)[] = [];
  #isDead = false;
  /** While it is stopped: what would have happened. */
  #held: (() => void)[] | null = null;
  /** How far its wall clock is off. */
  skewMs = 0;

  constructor(name: string, time: SimulatedTime) {
    this.name = name;
    this.#time = time;
    const bornMs = time.nowMs;
    this.clock = {
      nowMs: () => EPOCH_MS + time.nowMs + this.skewMs,
      monotonicMs: () => time.nowMs - bornMs,
      after: (delayMs, fire) => {
        let isCancelled = false;
        const timer = time.after(delayMs, () =>
          this.#act(() => {
            if (!isCancelled) fire();
          }),
        );
        return {
          cancel: () => {
            isCancelled = true;
            timer.cancel();
          },
        };
      },
    };
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** From the outside, without a warning. */
  kill(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    for (const tell of this.#onDeath.splice(0)) tell();
  }

  get isStopped(): boolean {
    return this.#held !== null;
  }

  /** As SIGSTOP does: it does nothing until `wake`, and what it asked of others goes on. */
  stop(): void {
    if (this.#held !== null || this.#isDead) return;
    this.#held = [];
    for (const tell of this.#onStop) tell();
  }

  wake(): void {
    if (this.#isDead) return;
    const held = this.#held ?? [];
    this.#held = null;
    for (const tell of this.#onWake.splice(0)) tell();
    for (const act of held) this.#act(act);
  }

  /** Told each time that it is stopped. */
  onStop(tell: () => void): void {
    this.#onStop.push(tell);
  }

  /** Told the next time that it is woken. */
  onWake(tell: () => void): void {
    this.#onWake.push(tell);
  }

  onDeath(tell: () => void): void {
    if (this.#isDead) tell();
    else this.#onDeath.push(tell);
  }

  /** What `act` gives after some time, which passes outside of it: of a life that is over by then, nothing ever. */
  later<T>(delayMs: number, act: () => T | Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#time.after(delayMs, () => {
        if (this.#isDead) return;
        try {
          Promise.resolve(act()).then(
            (value) => this.#act(() => resolve(value)),
            (error: unknown) => this.#act(() => reject(error)),
          );
        } catch (error) {
          this.#act(() => reject(error));
        }
      });
    });
  }

  /** Now, or once it is woken, or never. */
  #act(act: () => void): void {
    if (this.#isDead) return;
    if (this.#held === null) act();
    else this.#held.push(act);
  }
}
