/** Tells watchers where tasks are placed and moved to. Of many at once they hear a few, and how many were left out (I7). */
import type { Clock } from "../runtime/clock.ts";
import type { Decision } from "./scheduler/decision.ts";
import type { SweepEvent } from "./status.ts";

const WINDOW_MS = 1_000;

export class PlacementNews {
  readonly #clock: Clock;
  readonly #perSecondMax: number;
  readonly #tell: (event: SweepEvent) => void;
  #windowMs = -Infinity;
  #told = 0;
  #skipped = 0;

  constructor(options: {
    readonly clock: Clock;
    readonly perSecondMax: number;
    readonly tell: (event: SweepEvent) => void;
  }) {
    this.#clock = options.clock;
    this.#perSecondMax = options.perSecondMax;
    this.#tell = options.tell;
  }

  decided(task: string, { kind, host, home, reason }: Decision): void {
    if (kind !== "placed" && kind !== "moved") return;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#windowMs >= WINDOW_MS) {
      this.#windowMs = nowMs;
      this.#told = 0;
    }
    if (this.#told >= this.#perSecondMax) {
      this.#skipped += 1;
      return;
    }
    this.#tell({ kind: "placed", task, decision: kind, host, home, reason, skipped: this.#skipped });
    this.#told += 1;
    this.#skipped = 0;
  }
}
