/** What one ask has used beside its last attempt's tokens: GPU time, and what earlier tries at it had generated. */
import type { GpuMeter, GpuRun } from "./gpu-meter.ts";
import { addKnown } from "./usage.ts";

export class Effort {
  #run: GpuRun | null = null;
  #gpuMs = 0;
  #retriedTokens: number | null = 0;

  /** It is with this host from now on. */
  began(meter: GpuMeter, host: string): void {
    this.ended(meter);
    this.#run = meter.began(host);
  }

  /** It is with no host any more. Again is safe. */
  ended(meter: GpuMeter): void {
    if (this.#run === null) return;
    this.#gpuMs += meter.ended(this.#run);
    this.#run = null;
  }

  /** A try was in vain, and had generated so many tokens: null where nobody knows (I8). */
  wasted(tokens: number | null): void {
    this.#retriedTokens = addKnown(this.#retriedTokens, tokens);
  }

  /** As the journal keeps it: what is 0 is left out. */
  read(): { readonly gpuMs?: number; readonly retriedTokens?: number | null } {
    // Microseconds, so that a journal has no long fractions.
    const gpuMs = Math.round(this.#gpuMs * 1_000) / 1_000;
    return {
      ...(gpuMs === 0 ? {} : { gpuMs }),
      ...(this.#retriedTokens === 0 ? {} : { retriedTokens: this.#retriedTokens }),
    };
  }
}
