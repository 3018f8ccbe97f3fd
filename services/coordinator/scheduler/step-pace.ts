/**
 * What a decoding step takes at hosts of one kind beside what it takes whatever runs (reading the weights, which the host's facts
 * say): so much for each token of context that its sequences read. Learned from answers' milliseconds a token and from
 * the context that was in flight beside them; prompts that are computed meanwhile count too. Pure.
 */

/** Weight at which all that was seen counts half, and below which nothing is said. */
const WEIGHT_MAX = 64;
const WEIGHT_MIN = 1;

export class StepPace {
  #weight = 0;
  #aboveMs = 0;
  #contextTokens = 0;

  /** @param weight Sequences that run together see the same steps: one of `n` counts as 1 / n. */
  stepped(step: { readonly aboveMs: number; readonly contextTokens: number; readonly weight: number }): void {
    const { aboveMs, contextTokens, weight } = step;
    const fading = this.#weight >= WEIGHT_MAX ? 0.5 : 1;
    this.#weight = this.#weight * fading + weight;
    this.#aboveMs = this.#aboveMs * fading + weight * Math.max(0, aboveMs);
    this.#contextTokens = this.#contextTokens * fading + weight * contextTokens;
  }

  /** Of a step that reads so much context, the share that it takes whatever runs; 0 while nothing is known. */
  floorShare(floorMs: number, contextTokens: number): number {
    if (this.#weight < WEIGHT_MIN || this.#contextTokens <= 0) return 0;
    return floorMs / (floorMs + (this.#aboveMs / this.#contextTokens) * contextTokens);
  }
}
