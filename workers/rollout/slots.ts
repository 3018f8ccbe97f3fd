import { CoppiceError } from "../../services/runtime/errors.ts";

interface Waiter {
  readonly grant: () => void;
}

/** The sequences that a host decodes at once, handed out first come, first served. */
export class Slots {
  #free: number;
  readonly #waiters = new Set<Waiter>();

  constructor(count: number) {
    if (count < 1)
      throw new CoppiceError("invalid_argument", `expected a host with at least 1 sequence, found ${count}`);
    this.#free = count;
  }

  /** Resolves when a slot is the caller's; rejects with the signal's reason when it aborts before. */
  take(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#free > 0) {
      this.#free -= 1;
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
    for (const next of this.#waiters) {
      this.#waiters.delete(next);
      return next.grant();
    }
    this.#free += 1;
  }
}
