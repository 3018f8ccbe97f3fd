/**
 * What trees of one kind (the arms of a sweep) turn out to be like: tokens and time per ask, whether they go on, what they share, and
 * what they need of a KV cache as they go on. Learned from those that ran, so that no strategy has to declare it. Pure.
 */
import { Footprint } from "./footprint.ts";

/** Kinds that are known at most: a coordinator meets new ones with every sweep. */
export const KINDS_MAX = 256;
/** Weight of the latest observation, at least: the first ones are averaged. */
const ASK_WEIGHT_MIN = 0.02;
const TREE_WEIGHT_MIN = 0.2;
/** Of what an ask may make, the share that it is expected to, before one of its kind has ended: ceilings are seldom reached. */
const TOKENS_PRIOR_SHARE = 0.25;

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
  /** Tokens that the latest of them may make. */
  tokensMax = 0;
  /** Whether any tree asked again after an answer. */
  goesOn = false;
  /** Of a tree's first prompt, what hosts had that nobody had asked them for: it is shared with other trees. */
  readonly sharedTokens = new Mean(TREE_WEIGHT_MIN);
  /** The most tokens that any tree had in use before its first answer. */
  firstTokens = 0;
  readonly footprint = new Footprint();
}

export class Habits {
  /** The one that was met first comes first. */
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

  /** One ask more is on its way, which may make so many tokens. */
  sent(kind: string, tokensMax: number): void {
    const habit = this.#of(kind);
    habit.inFlight += 1;
    habit.tokensMax = tokensMax;
  }

  /** One ask less is. */
  landed(kind: string): void {
    this.#of(kind).inFlight -= 1;
  }

  /** A tree asks again after an answer: trees of this kind may be as wide again as they were. */
  goingOn(kind: string): void {
    this.#of(kind).goesOn = true;
  }

  /** Whether trees of this kind ask again after an answer; `guess` until one did, or one is over that did not. */
  goesOn(kind: string, guess: boolean): boolean {
    const { goesOn, footprint } = this.#of(kind);
    return goesOn || (guess && !footprint.isAnyOver);
  }

  /** A tree has had so many tokens in use at once, before it was answered. */
  begun(kind: string, tokens: number): void {
    const habit = this.#of(kind);
    habit.firstTokens = Math.max(habit.firstTokens, tokens);
  }

  firstTokens(kind: string): number {
    return this.#of(kind).firstTokens;
  }

  *footprints(): Generator<readonly [kind: string, Footprint], void> {
    for (const [kind, { footprint }] of this.#kinds) yield [kind, footprint];
  }

  footprint(kind: string): Footprint {
    return this.#of(kind).footprint;
  }

  /** Of a prompt of which a host was to have nothing, it had so many tokens. */
  shared(kind: string, tokens: number): void {
    this.#of(kind).sharedTokens.add(tokens);
  }

  /** Tokens that a tree has in common with others. */
  sharedTokens(kind: string): number {
    return this.#of(kind).sharedTokens.value ?? 0;
  }

  /** Tokens that an ask will make, at most `max`; where that is not said, as many as the latest one might. */
  tokens(kind: string, max = this.#of(kind).tokensMax): number {
    const { tokens, inFlightFirst } = this.#of(kind);
    const guess = max * TOKENS_PRIOR_SHARE;
    // Of those that were on their way together the short ones end first: they say little before most have ended.
    return Math.min(max, blend(guess, tokens.value ?? guess, tokens.seen / Math.max(1, inFlightFirst)));
  }

  /** null: nothing was seen yet. */
  durationMs(kind: string): number | null {
    return this.#of(kind).durationMs.value;
  }

  #of(kind: string): Habit {
    let habit = this.#kinds.get(kind);
    if (habit === undefined) {
      if (this.#kinds.size >= KINDS_MAX) this.#forgetOne();
      this.#kinds.set(kind, (habit = new Habit()));
    }
    return habit;
  }

  /** The oldest of which nothing is on its way; the oldest where there is none. */
  #forgetOne(): void {
    let oldest: string | null = null;
    for (const [kind, { inFlight }] of this.#kinds) {
      oldest ??= kind;
      if (inFlight > 0) continue;
      oldest = kind;
      break;
    }
    if (oldest !== null) this.#kinds.delete(oldest);
  }
}

/** From a guess to what was seen, the more so the more was. */
function blend(guess: number, seen: number, share: number): number {
  return share >= 1 ? seen : guess + share * (seen - guess);
}
