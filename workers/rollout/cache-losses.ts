/** How often the host lost all that it had cached, by three signs. Pure. */

/**
 * Answers in a row without a cached token, each to a prompt that had been computed before: fewer could be memory that was
 * needed for something else.
 */
export const EMPTY_ANSWERS_MAX = 3;

export class CacheLosses {
  readonly #onLoss: () => void;
  #count = 0;
  #clears: number | null = null;
  #emptyAnswers = 0;
  /** Whether it has found something in its cache since the last loss: a host that caches nothing loses nothing. */
  #hasHit = false;

  constructor(onLoss: () => void) {
    this.#onLoss = onLoss;
  }

  get count(): number {
    return this.#count;
  }

  /** The host was down and is back: most likely as another process. */
  cameBack(): void {
    this.#lost();
  }

  /** @param total How often it dropped its cache, by its own count; a count that fell began anew. */
  clears(total: number): void {
    const before = this.#clears;
    this.#clears = total;
    if (before !== null && total > before) this.#lost();
  }

  /** An answer to a prompt whose beginning should have been in the cache. @param cachedTokens null: nobody knows (I8). */
  answered(cachedTokens: number | null): void {
    if (cachedTokens === null) return;
    if (cachedTokens > 0) {
      this.#hasHit = true;
      this.#emptyAnswers = 0;
      return;
    }
    this.#emptyAnswers += 1;
    if (this.#hasHit && this.#emptyAnswers >= EMPTY_ANSWERS_MAX) this.#lost();
  }

  #lost(): void {
    this.#count += 1;
    this.#emptyAnswers = 0;
    this.#hasHit = false;
    this.#onLoss();
  }
}
