/**
 * What trees of one kind (the arms of a sweep) turn out to need: tokens per ask, time per ask, and KV cache at their widest.
 * Learned from those that ran, so that no strategy has to declare it. Pure.
 */

/** Weight of the latest observation. */
const TOKENS_WEIGHT = 0.05;
const FOOTPRINT_WEIGHT = 0.2;

interface Habit {
  tokens: number | null;
  durationMs: number | null;
  /** Of trees that are over. */
  footprint: number | null;
  /** The widest that one which is open has been. */
  widest: number;
}

export class Habits {
  readonly #kinds = new Map<string, Habit>();

  /** An ask ended. */
  answered(
    kind: string,
    { tokens, durationMs }: { readonly tokens: number; readonly durationMs: number },
  ): void {
    const habit = this.#of(kind);
    habit.tokens = blend(habit.tokens, tokens, TOKENS_WEIGHT);
    habit.durationMs = blend(habit.durationMs, durationMs, TOKENS_WEIGHT);
  }

  /** A tree has had so many tokens in use at once. */
  grown(kind: string, tokens: number): void {
    const habit = this.#of(kind);
    habit.widest = Math.max(habit.widest, tokens);
  }

  /** A tree is over; so many tokens were in use at its widest. */
  over(kind: string, widest: number): void {
    const habit = this.#of(kind);
    habit.footprint = blend(habit.footprint, widest, FOOTPRINT_WEIGHT);
  }

  /** Tokens that an ask will make, at most `max`. */
  tokens(kind: string, max: number): number {
    return Math.min(max, this.#of(kind).tokens ?? max);
  }

  /** null: nothing was seen yet. */
  durationMs(kind: string): number | null {
    return this.#of(kind).durationMs;
  }

  /** Tokens that a tree will have in use at its widest; `guess` where nothing is known of any. */
  footprint(kind: string, guess: number): number {
    const { footprint, widest } = this.#of(kind);
    return footprint ?? Math.max(widest, guess);
  }

  #of(kind: string): Habit {
    let habit = this.#kinds.get(kind);
    if (habit === undefined)
      this.#kinds.set(kind, (habit = { tokens: null, durationMs: null, footprint: null, widest: 0 }));
    return habit;
  }
}

function blend(known: number | null, seen: number, weight: number): number {
  return known === null ? seen : known + weight * (seen - known);
}
