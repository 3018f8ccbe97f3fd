/**
 * Rollouts that the allocator granted to a task, and its asks that wait for more. Asks are funded in the order in which they
 * were asked, so who gets one does not depend on arrival (I4). Pure.
 */
import type { OpenAsk } from "./backlog.ts";

export class TaskGrant {
  readonly #onFunded: (open: OpenAsk) => void;
  readonly #waiting = new Set<OpenAsk>();
  #granted = 0;
  #used = 0;

  /** @param onFunded Called once for each ask that may be sent. */
  constructor(onFunded: (open: OpenAsk) => void) {
    this.#onFunded = onFunded;
  }

  get granted(): number {
    return this.#granted;
  }

  /** Asks that may not be sent yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  add(rollouts: number): void {
    this.#granted += rollouts;
    this.#fund();
  }

  ask(open: OpenAsk): void {
    this.#waiting.add(open);
    this.#fund();
  }

  /** The ask has its answer. One that was never funded was paid for by another attempt at the run: it counts all the same. */
  spent(open: OpenAsk): void {
    if (!this.#waiting.delete(open)) return;
    this.#granted += 1;
    this.#used += 1;
  }

  /** The ask will not be sent after all; what was meant for it goes to the next. */
  returned(open: OpenAsk): void {
    if (this.#waiting.delete(open)) return;
    this.#used -= 1;
    this.#fund();
  }

  #fund(): void {
    for (const open of this.#waiting) {
      if (this.#used >= this.#granted) return;
      this.#waiting.delete(open);
      this.#used += 1;
      this.#onFunded(open);
    }
  }
}
