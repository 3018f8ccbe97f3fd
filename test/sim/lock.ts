/** The lock of a run's directory, as `run-lock.ts` gives it: a holder that was stopped is silent and not gone. */
import type { HeldRun } from "../../services/coordinator/run-lock.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";

export class SimulatedLock {
  /** Whether who held it last was only stopped. */
  isPriorStopped = false;
  #generation = 0;
  /** Generations that followed one which was only stopped, until somebody made the rows its own. */
  readonly #notAlone = new Set<number>();

  take(): HeldRun {
    this.#generation += 1;
    const generation = this.#generation;
    if (this.isPriorStopped) this.#notAlone.add(generation);
    return {
      generation,
      isAlone: this.#notAlone.size === 0,
      madeOwn: async () => {
        for (const each of this.#notAlone) if (each <= generation) this.#notAlone.delete(each);
      },
      check: async () => {
        if (this.#generation !== generation) throw new CoppiceError("aborted", "simulated: taken over");
      },
      release: async () => undefined,
    };
  }
}
