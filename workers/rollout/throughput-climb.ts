/**
 * Finds how many asks a host may have at once where its engine says nothing of itself: a hill climb on the tokens that it
 * completes in a second. Measures a number over whole generations of asks, tries a larger one, keeps it where throughput
 * rose enough for it, else goes back and rests, longer each time. Pure.
 */

export interface ClimbLimits {
  /** Shortest time of a measurement. */
  readonly measureMs: number;
  /** A measurement that has not enough answers by then begins anew. */
  readonly measureMsMax: number;
  /** Answers of a measurement, as a multiple of the number, and at least: few of them are chance. */
  readonly measureGenerations: number;
  readonly measureAnswersMin: number;
  /** How much of the growth of the number must come out as throughput: a quarter pays for the longer wait of each ask. */
  readonly gainShareMin: number;
  /** How much larger the next number is, at first and once a step has not paid. */
  readonly climbFactorFirst: number;
  readonly climbFactor: number;
  /** How long it rests after a step that did not pay; doubles each time, up to the largest. */
  readonly climbRestMs: number;
  readonly climbRestMsMax: number;
}

export const DEFAULT_CLIMB_LIMITS: ClimbLimits = {
  measureMs: 5_000,
  measureMsMax: 300_000,
  measureGenerations: 2,
  measureAnswersMin: 16,
  gainShareMin: 0.25,
  climbFactorFirst: 2,
  climbFactor: 1.25,
  climbRestMs: 60_000,
  climbRestMsMax: 900_000,
};

interface Rate {
  readonly number: number;
  readonly perSecond: number;
  /** Answers are counted where nobody knows the tokens of one of them (I8); the two are not compared. */
  readonly unit: "tokens" | "answers";
}

interface Window {
  /** Null: waits until what began under another number is answered. */
  sinceMs: number | null;
  answers: number;
  tokens: number | null;
}

export class ThroughputClimb {
  readonly #limits: ClimbLimits;
  readonly #max: number;
  #number = 0;
  #window: Window = { sinceMs: null, answers: 0, tokens: 0 };
  /** The best number so far, as last measured. */
  #best: Rate | null = null;
  #factor: number;
  #restMs: number;
  #restUntilMs = -Infinity;

  constructor(limits: ClimbLimits, max: number) {
    this.#limits = limits;
    this.#max = max;
    this.#factor = limits.climbFactorFirst;
    this.#restMs = limits.climbRestMs;
  }

  finished(tokens: number | null): void {
    const window = this.#window;
    window.answers += 1;
    window.tokens = window.tokens === null || tokens === null ? null : window.tokens + tokens;
  }

  /** The number was cut: what was measured is of another time. */
  wasCut(restUntilMs: number): void {
    this.#best = null;
    this.#factor = this.#limits.climbFactor;
    this.#restUntilMs = restUntilMs;
  }

  /** @returns The number to go to; null: stay. */
  observe({
    atMs,
    number,
    isUsed,
  }: {
    readonly atMs: number;
    readonly number: number;
    readonly isUsed: boolean;
  }): number | null {
    if (number !== this.#number) {
      this.#number = number;
      this.#window = { sinceMs: null, answers: 0, tokens: 0 };
      return null;
    }
    const window = this.#window;
    const isSettled = window.sinceMs !== null || window.answers >= number;
    // A number that is not used measures the demand, not the host.
    if (!isUsed || (window.sinceMs === null && isSettled)) {
      this.#window = { sinceMs: isSettled ? atMs : null, answers: 0, tokens: 0 };
      return null;
    }
    if (window.sinceMs === null) return null;
    const rate = this.#measured(window, atMs - window.sinceMs);
    if (rate === null) return null;
    this.#window = { sinceMs: atMs, answers: 0, tokens: 0 };
    return rate === "too few" ? null : this.#decide(rate, atMs);
  }

  #measured({ answers, tokens }: Window, tookMs: number): Rate | "too few" | null {
    const { measureMs, measureMsMax, measureGenerations, measureAnswersMin } = this.#limits;
    const answersMin = Math.max(measureAnswersMin, measureGenerations * this.#number);
    if (answers < answersMin) return tookMs >= measureMsMax ? "too few" : null;
    if (tookMs < measureMs) return null;
    const seconds = tookMs / 1_000;
    return tokens === null || tokens === 0
      ? { number: this.#number, perSecond: answers / seconds, unit: "answers" }
      : { number: this.#number, perSecond: tokens / seconds, unit: "tokens" };
  }

  #decide(rate: Rate, atMs: number): number | null {
    const best = this.#best;
    if (best === null || best.unit !== rate.unit || rate.number <= best.number) {
      this.#best = rate;
      return this.#next(rate.number, atMs);
    }
    const gain = rate.perSecond / best.perSecond - 1;
    if (gain >= this.#limits.gainShareMin * (rate.number / best.number - 1)) {
      this.#best = rate;
      this.#restMs = this.#limits.climbRestMs;
      return this.#next(rate.number, atMs);
    }
    if (this.#factor === this.#limits.climbFactor) {
      this.#restUntilMs = atMs + this.#restMs;
      this.#restMs = Math.min(this.#restMs * 2, this.#limits.climbRestMsMax);
    }
    this.#factor = this.#limits.climbFactor;
    return best.number;
  }

  #next(number: number, atMs: number): number | null {
    if (number >= this.#max || atMs < this.#restUntilMs) return null;
    return Math.min(this.#max, Math.max(number + 1, Math.round(number * this.#factor)));
  }
}
