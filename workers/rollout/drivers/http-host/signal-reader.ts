/** How an engine is doing, over the readings of one driver: what was refused, and whether the engine was started anew. */
import { isUnanswered } from "../../../http-exchange.ts";
import type { EngineSignals } from "../../driver.ts";
import { type EngineReading, UNKNOWN_READING } from "./dialect.ts";

export class SignalReader {
  #refusals = 0;
  #clears = 0;
  #last: EngineReading | null = null;

  /** The host had no room for a request. */
  refused(): void {
    this.#refusals += 1;
  }

  /** The host has dropped its whole cache. */
  cleared(): void {
    this.#clears += 1;
  }

  /** What cannot be read is unknown. Rejects with the signal's reason, and where nobody answers. */
  async read(read: () => Promise<EngineReading>, signal: AbortSignal): Promise<EngineSignals> {
    const reading = await this.#reading(read, signal);
    const { running, waiting, kvUsage, preemptions, promptTokensComputed, promptTokensCached } = reading;
    return {
      running,
      waiting,
      kvUsage: kvUsage === null ? null : Math.min(1, Math.max(0, kvUsage)),
      preemptions,
      refusals: this.#refusals,
      promptTokensComputed,
      promptTokensCached,
      cacheClears: this.#clears,
    };
  }

  async #reading(read: () => Promise<EngineReading>, signal: AbortSignal): Promise<EngineReading> {
    try {
      const now = await read();
      if (this.#last !== null && isAnother(this.#last, now)) this.cleared();
      this.#last = now;
      return now;
    } catch (error) {
      signal.throwIfAborted();
      if (isUnanswered(error)) throw error;
      return UNKNOWN_READING;
    }
  }
}

/** Whether another process answers: one that began at another time, or whose counters have less. It came with an empty cache. */
function isAnother(before: EngineReading, now: EngineReading): boolean {
  if (before.startedS !== null && now.startedS !== null) return before.startedS !== now.startedS;
  const counters = ["promptTokensComputed", "promptTokensCached", "generatedTokens"] as const;
  return counters.some((counter) => {
    const [was, is] = [before[counter], now[counter]];
    return was !== null && is !== null && is < was;
  });
}
