/** What tokens and GPUs cost by a sweep's own table. Whole numbers throughout, so that sums are exact. Pure. */

/** In millionths of a US dollar: for a million tokens, and for an hour of one GPU. */
export interface Prices {
  readonly prompt: number;
  /** Prompt tokens that the host took from its cache. */
  readonly cached: number;
  readonly completion: number;
  /** Prompt and completion tokens of verifications by models on hosts. */
  readonly verifier: number;
  readonly gpuHour: number;
}

export const USD_MICROS = 1_000_000;
const PRICED_TOKENS = 1_000_000;
export const HOUR_MS = 3_600_000;

/** Tokens to be paid for. */
export interface PaidTokens {
  readonly prompt: number;
  /** Of `prompt`. */
  readonly cached: number;
  readonly completion: number;
  readonly verifier: number;
}

/** In whole millionths of a dollar, rounded up; 0 without a table. */
export function tokenPrice(
  prices: Prices | null,
  { prompt, cached, completion, verifier }: PaidTokens,
): number {
  if (prices === null) return 0;
  const sum =
    (prompt - cached) * prices.prompt +
    cached * prices.cached +
    completion * prices.completion +
    verifier * prices.verifier;
  return Math.ceil(sum / PRICED_TOKENS);
}

/** What nobody has counted yet: no token is taken from a cache, unless that were to cost more. */
export function tokenPriceMax(prices: Prices | null, tokens: Omit<PaidTokens, "cached">): number {
  const isCachedDearer = prices !== null && prices.cached > prices.prompt;
  return tokenPrice(prices, { ...tokens, cached: isCachedDearer ? tokens.prompt : 0 });
}

/** In whole millionths of a dollar, rounded up; 0 without a table. */
export function gpuPrice(prices: Prices | null, gpuMs: number): number {
  return prices === null ? 0 : Math.ceil((gpuMs * prices.gpuHour) / HOUR_MS);
}
