import { CoppiceError } from "../../services/runtime/errors.ts";

interface Waiter {
  readonly grant: () => void;
}

/** The asks that a host may have at once, handed out first come, first served. Their number may change at any time. */
export class Slots {
  #count: number;
  #taken = 0;
  readonly #waiters = new Set<Waiter>();

  constructor(count: number) {
    this.#count = checkCount(count);
  }

  /** Slots that are somebody's; above the number of slots for a while after it shrank. */
  get taken(): number {
    return this.#taken;
  }

  /** A larger number goes to who waits, at once; a smaller one comes about as slots are given back. */
  resize(count: number): void {
    this.#count = checkCount(count);
    this.#grant();
  }

  /** Resolves when a slot is the caller's; rejects with the signal's reason when it aborts before. */
  take(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#taken < this.#count) {
      this.#taken += 1;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.delete(waiter);
        reject(signal.reason);
      };
      const waiter: Waiter = {
        grant: () => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        },
      };
      this.#waiters.add(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Gives back what `take` gave, once. */
  give(): void {
    this.#taken -= 1;
    this.#grant();
  }

  #grant(): void {
    for (const next of this.#waiters) {
      if (this.#taken >= this.#count) return;
      this.#waiters.delete(next);
      this.#taken += 1;
      next.grant();
    }
  }
}

function checkCount(count: number): number {
  if (Number.isInteger(count) && count >= 1) return count;
  throw new CoppiceError("invalid_argument", `expected a host with at least 1 sequence, found ${count}`);
}
