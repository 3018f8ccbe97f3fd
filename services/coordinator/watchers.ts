/** Who is told of a run, and what is done from time to time while it lasts. */
import type { Clock, Timer } from "../runtime/clock.ts";
import type { SweepEvent } from "./status.ts";

export class Watchers {
  readonly #listeners = new Set<(event: SweepEvent) => void>();

  /** @returns What to call to be told no more. */
  add(listener: (event: SweepEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(event: SweepEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

/** Timers that end together. */
export class Timers {
  readonly #clock: Clock;
  readonly #timers = new Set<Timer>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  after(ms: number, act: () => void): void {
    const timer = this.#clock.after(ms, () => {
      this.#timers.delete(timer);
      act();
    });
    this.#timers.add(timer);
  }

  every(ms: number, act: () => void): void {
    this.after(ms, () => {
      act();
      this.every(ms, act);
    });
  }

  stop(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }
}
