/** Waits between tries: doubling, capped, with jitter so that workers do not come back all at once. */
import { sleep } from "../runtime/clock.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Random } from "../runtime/random.ts";

export interface BackoffOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly minMs: number;
  readonly maxMs: number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #tries = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** The next wait in ms: between half and all of min(maxMs, minMs * 2^tries). */
  nextMs(): number {
    const { minMs, maxMs, random } = this.#options;
    const ceilingMs = Math.min(maxMs, minMs * 2 ** Math.min(this.#tries, 30));
    this.#tries += 1;
    return ceilingMs * (0.5 + 0.5 * random.next());
  }

  /** Waits `delayMs`; rejects with the signal's reason when it aborts. */
  wait(delayMs: number, signal?: AbortSignal): Promise<void> {
    return sleep(this.#options.clock, delayMs, signal);
  }

  /** What failed has succeeded: start again from the shortest wait. */
  reset(): void {
    this.#tries = 0;
  }
}
