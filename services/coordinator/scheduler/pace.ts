/** How fast hosts of one kind decode, by how many asks they have at once, and compute prompts. Learned; pure. */

/** What is kept of each sample when the next one comes. */
const MEMORY = 0.995;
/** Tokens a second that a host computes of prompts, before any was seen to. */
const PREFILL_PRIOR = 5_000;
/** Prompts with less to compute say more about waiting than about computing. */
const PREFILL_TOKENS_MIN = 64;

export class Pace {
  // Decayed sums for the line `ms per token = intercept + slope * running`.
  #weight = 0;
  #x = 0;
  #y = 0;
  #xx = 0;
  #xy = 0;
  #prefillRate: number | null = null;

  /** So many tokens were made in so long, beside so many asks (itself included). */
  decoded({
    running,
    tokens,
    ms,
  }: {
    readonly running: number;
    readonly tokens: number;
    readonly ms: number;
  }): void {
    if (tokens < 1 || ms <= 0) return;
    const y = ms / tokens;
    this.#weight = this.#weight * MEMORY + 1;
    this.#x = this.#x * MEMORY + running;
    this.#y = this.#y * MEMORY + y;
    this.#xx = this.#xx * MEMORY + running * running;
    this.#xy = this.#xy * MEMORY + running * y;
  }

  /** So many tokens of a prompt were computed within so long, waiting included: the fastest come nearest to the truth. */
  prefilled({ tokens, ms }: { readonly tokens: number; readonly ms: number }): void {
    if (tokens < PREFILL_TOKENS_MIN || ms <= 0) return;
    const rate = (tokens / ms) * 1_000;
    this.#prefillRate = Math.max(rate, (this.#prefillRate ?? rate) * MEMORY);
  }

  /** null: nothing is known yet. */
  msPerToken(running: number): number | null {
    if (this.#weight === 0) return null;
    const mean = { x: this.#x / this.#weight, y: this.#y / this.#weight };
    const spread = this.#xx / this.#weight - mean.x * mean.x;
    const slope = spread < 1e-6 ? 0 : (this.#xy / this.#weight - mean.x * mean.y) / spread;
    const line = mean.y + Math.max(0, slope) * (running - mean.x);
    // Nowhere below a small part of what was seen: the line may be steep where only busy hosts were seen.
    return Math.max(line, mean.y / 10);
  }

  prefillMs(tokens: number): number {
    return (tokens / (this.#prefillRate ?? PREFILL_PRIOR)) * 1_000;
  }
}
