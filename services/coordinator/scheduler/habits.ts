/**
 * What trees of one kind (the arms of a sweep) turn out to need: tokens and time per ask, asks per tree, and KV cache at their widest.
 * Learned from those that ran, so that no strategy has to declare it. Pure.
 */

/** Weight of the latest observation, at least: the first ones are averaged. */
const ASK_WEIGHT_MIN = 0.02;
const TREE_WEIGHT_MIN = 0.2;
/** Of what an ask may make, the share that it is expected to, before one of its kind has ended: ceilings are seldom reached. */
const TOKENS_PRIOR_SHARE = 0.25;

/** What a tree has in use at one time: tokens of paths, each counted once, and asks that add tokens to them. */
export interface Width {
  readonly pathTokens: number;
  readonly asks: number;
}

/** A mean in which what is old fades. */
class Mean {
  value: number | null = null;
  seen = 0;
  readonly #weightMin: number;

  constructor(weightMin: number) {
    this.#weightMin = weightMin;
  }

  add(seen: number): void {
    this.seen += 1;
    const known = this.value ?? 0;
    this.value = known + Math.max(this.#weightMin, 1 / this.seen) * (seen - known);
  }
}

class Habit {
  readonly tokens = new Mean(ASK_WEIGHT_MIN);
  readonly durationMs = new Mean(ASK_WEIGHT_MIN);
  /** Asks on their way, and how many those were when the first of all was answered. */
  inFlight = 0;
  inFlightFirst = 0;
  /** Whether any tree asked again after an answer. */
  goesOn = false;
  /** Of a tree's first prompt, what hosts had that nobody had asked them for: it is shared with other trees. */
  readonly sharedTokens = new Mean(TREE_WEIGHT_MIN);
  /** The widest that any tree was before its first answer, in tokens. */
  widthFirst = 0;
  /** Trees that are open, and how many those were when the first of all was over. */
  open = 0;
  openFirst = 0;
  /** Of trees that are over: how wide they were. */
  readonly widthPathTokens = new Mean(TREE_WEIGHT_MIN);
  readonly widthAsks = new Mean(TREE_WEIGHT_MIN);
}

export class Habits {
  readonly #kinds = new Map<string, Habit>();

  /** An ask ended. */
  answered(
    kind: string,
    { tokens, durationMs }: { readonly tokens: number; readonly durationMs: number },
  ): void {
    const habit = this.#of(kind);
    if (habit.tokens.seen === 0) habit.inFlightFirst = habit.inFlight;
    habit.tokens.add(tokens);
    habit.durationMs.add(durationMs);
  }

  /** A tree has sent its first ask. */
  opened(kind: string): void {
    this.#of(kind).open += 1;
  }

  /** So many asks more, or less, are on their way. */
  flying(kind: string, change: 1 | -1): void {
    this.#of(kind).inFlight += change;
  }

  /** A tree asks again after an answer: trees of this kind may be as wide again as they were. */
  goingOn(kind: string): void {
    this.#of(kind).goesOn = true;
  }

  /** Whether trees of this kind ask again after an answer; `guess` until one did, or one is over that did not. */
  goesOn(kind: string, guess: boolean): boolean {
    const { goesOn, widthAsks } = this.#of(kind);
    return goesOn || (guess && widthAsks.value === null);
  }

  /** A tree has had so many tokens in use at once, before it was answered. */
  begun(kind: string, tokens: number): void {
    const habit = this.#of(kind);
    habit.widthFirst = Math.max(habit.widthFirst, tokens);
  }

  /** Of a prompt of which a host was to have nothing, it had so many tokens. */
  shared(kind: string, tokens: number): void {
    this.#of(kind).sharedTokens.add(tokens);
  }

  /** Tokens that a tree has in common with others. */
  sharedTokens(kind: string): number {
    return this.#of(kind).sharedTokens.value ?? 0;
  }

  /** A tree is over, and was so wide. */
  over(kind: string, { pathTokens, asks }: Width): void {
    const habit = this.#of(kind);
    if (habit.widthAsks.seen === 0) habit.openFirst = habit.open;
    habit.open -= 1;
    habit.widthPathTokens.add(pathTokens);
    habit.widthAsks.add(asks);
  }

  /** Tokens that an ask will make, at most `max`. */
  tokens(kind: string, max: number): number {
    const { tokens, inFlightFirst } = this.#of(kind);
    const guess = max * TOKENS_PRIOR_SHARE;
    // Of those that were on their way together the short ones end first: they say little before most have ended.
    return Math.min(max, blend(guess, tokens.value ?? guess, tokens.seen / Math.max(1, inFlightFirst)));
  }

  /** null: nothing was seen yet. */
  durationMs(kind: string): number | null {
    return this.#of(kind).durationMs.value;
  }

  /**
   * Tokens that a tree will have in use at its widest, without what it shares; until one is over, `factor` times what one began with,
   * or is known to begin with.
   */
  width(kind: string, { factor, known }: { readonly factor: number; readonly known: number }): number {
    const { widthPathTokens, widthAsks, tokens, widthFirst, openFirst } = this.#of(kind);
    const guess = factor * Math.max(widthFirst, known);
    const seen = (widthPathTokens.value ?? guess) + (widthAsks.value ?? 0) * (tokens.value ?? 0);
    // Of those that were open together the narrow ones are over first.
    const width = blend(guess, seen, widthAsks.seen / Math.max(1, openFirst));
    return width - this.sharedTokens(kind);
  }

  #of(kind: string): Habit {
    let habit = this.#kinds.get(kind);
    if (habit === undefined) this.#kinds.set(kind, (habit = new Habit()));
    return habit;
  }
}

/** From a guess to what was seen, the more so the more was. */
function blend(guess: number, seen: number, share: number): number {
  return share >= 1 ? seen : guess + share * (seen - guess);
}
