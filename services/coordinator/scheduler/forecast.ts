/**
 * What the trees at a host are expected to need of its KV cache from now on. They are not at their widest all at once: some grow while
 * others end, so what counts is the most that they need together, not what each needs at most. Plain data and arithmetic.
 */

/** Times that are looked at, the first of which is now. */
const TIMES = 25;

/** Tokens that something needs at a time, so many milliseconds from now. */
export type NeedAt = (ms: number) => number;

export class Forecast {
  readonly #tokens = new Float64Array(TIMES);
  readonly #stepMs: number;

  /** @param horizonMs How far it looks. */
  constructor(horizonMs: number) {
    this.#stepMs = horizonMs / (TIMES - 1);
  }

  add(need: NeedAt): void {
    for (let time = 0; time < TIMES; time++)
      this.#tokens[time] = (this.#tokens[time] ?? 0) + need(time * this.#stepMs);
  }

  /** The most tokens that are needed at one time, with what something else needs. */
  most(other: NeedAt = () => 0): number {
    let most = 0;
    for (let time = 0; time < TIMES; time++)
      most = Math.max(most, (this.#tokens[time] ?? 0) + other(time * this.#stepMs));
    return most;
  }
}
