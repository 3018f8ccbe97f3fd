/** How fast hosts of one kind compute prompts: learned from how long first tokens took. Pure. */

/** Tokens a second, before any was seen. */
const PRIOR = 5_000;
/** Prompts with less to compute say more about waiting than about computing. */
const TOKENS_MIN = 64;
/** What is remembered, and the share of it that may be faster: those that waited least come nearest to the truth. */
const SAMPLES_MAX = 64;
const QUANTILE = 0.9;

export class PrefillPace {
  readonly #rates: number[] = [];
  #seen = 0;
  /** Tokens a second; null: to be reckoned anew. */
  #rate: number | null = PRIOR;

  /** So many tokens of a prompt were computed within so long, waiting included. */
  prefilled({ tokens, ms }: { readonly tokens: number; readonly ms: number }): void {
    if (tokens < TOKENS_MIN || ms <= 0) return;
    this.#rates[this.#seen % SAMPLES_MAX] = (tokens / ms) * 1_000;
    this.#seen += 1;
    this.#rate = null;
  }

  prefillMs(tokens: number): number {
    this.#rate ??= quantile(this.#rates);
    return (tokens / this.#rate) * 1_000;
  }
}

function quantile(rates: readonly number[]): number {
  const sorted = rates.toSorted((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * QUANTILE)] ?? PRIOR;
}
