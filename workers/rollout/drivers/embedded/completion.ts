/** The text of one rollout while it grows: tokens in, text out, stop strings seen at the tail only. */
import type { Sampling } from "../../../../services/queue/job.ts";

export type Ending =
  | { readonly finishReason: "stop"; readonly stopString: string | null }
  | { readonly finishReason: "length"; readonly stopString: null };

/** What the model's vocabulary must tell. */
export interface Pieces {
  isEnd(token: number): boolean;
  detokenize(tokens: readonly number[]): string;
}

/** A character of UTF-8 has at most 4 bytes, so a text still cut after so many tokens is not text. */
const CUT_TOKENS_MAX = 4;
const CUT = "\ufffd";

/** Texts of single tokens, remembered; bounded by the vocabulary. */
export function rememberPieces(pieces: Pieces): Pieces {
  const texts = new Map<number, string>();
  const ends = new Map<number, boolean>();
  return {
    isEnd: (token) => remembered(ends, token, (unknown) => pieces.isEnd(unknown)),
    detokenize(tokens) {
      const [first] = tokens;
      if (first === undefined || tokens.length > 1) return pieces.detokenize(tokens);
      return remembered(texts, first, (unknown) => pieces.detokenize([unknown]));
    },
  };
}

function remembered<T>(known: Map<number, T>, token: number, compute: (token: number) => T): T {
  const found = known.get(token);
  if (found !== undefined) return found;
  const value = compute(token);
  known.set(token, value);
  return value;
}

export class Completion {
  /** Sampled tokens, the one that ended the text included. */
  tokens = 0;
  text = "";
  /** The same without the one that ended the text. */
  private readonly ids: number[] = [];
  private isTokenCut = false;
  private readonly pieces: Pieces;
  private readonly stop: readonly string[];
  private readonly tokensMax: number;
  /** Tokens that end inside a character. */
  private cut: number[] = [];

  /** `tokensMax`: what the sampling and the room in the context allow, at least 1. */
  constructor(sampling: Pick<Sampling, "stop">, pieces: Pieces, tokensMax: number) {
    this.pieces = pieces;
    this.stop = sampling.stop.filter((stop) => stop !== "");
    this.tokensMax = tokensMax;
  }

  /** Tokens that it may still take. */
  get room(): number {
    return this.tokensMax - this.tokens;
  }

  /** Exactly the tokens of `text`; undefined where a stop string ended it inside of a token, or a character is incomplete. */
  get spelling(): readonly number[] | undefined {
    return this.isTokenCut || this.text.includes(CUT) ? undefined : this.ids;
  }

  /** Takes the next token. Returns how the text ended, or null when it goes on. */
  push(token: number): Ending | null {
    this.tokens += 1;
    if (this.pieces.isEnd(token)) {
      this.flush();
      return { finishReason: "stop", stopString: null };
    }
    this.ids.push(token);
    this.cut.push(token);
    const piece = this.pieces.detokenize(this.cut);
    const isLast = this.tokens >= this.tokensMax;
    const isCut = piece.endsWith(CUT) && this.cut.length < CUT_TOKENS_MAX;
    if (!isCut || isLast) {
      this.cut = [];
      const stopString = this.append(piece);
      if (stopString !== null) return { finishReason: "stop", stopString };
    }
    return isLast ? { finishReason: "length", stopString: null } : null;
  }

  private flush(): void {
    if (this.cut.length > 0) this.append(this.pieces.detokenize(this.cut));
  }

  /**
   * Appends, and cuts behind the stop string that is complete first (the longest of those that end together).
   */
  private append(piece: string): string | null {
    const before = this.text.length;
    this.text += piece;
    let found: string | null = null;
    let end = Number.POSITIVE_INFINITY;
    for (const stop of this.stop) {
      const at = this.text.indexOf(stop, Math.max(0, before - stop.length + 1));
      if (at < 0) continue;
      const stopEnd = at + stop.length;
      if (stopEnd < end || (stopEnd === end && stop.length > (found?.length ?? 0))) {
        end = stopEnd;
        found = stop;
      }
    }
    if (found === null) return null;
    this.isTokenCut = end < this.text.length;
    this.text = this.text.slice(0, end);
    return found;
  }
}
