/**
 * What one tree needs of its host's KV cache as it goes on: all that its round of asks had in use at once, since those that were
 * answered first stay needed until the last one is and the search goes on from some of them. A tree that comes back to old nodes
 * needs all that it ever made. Pure.
 */
import { type Footprint, tokensOf, type Width } from "./footprint.ts";

export interface Launch {
  /** What the tree has in use with this ask. */
  readonly inUse: Width;
  /** Of the ask's path, what nothing of the tree had in use. */
  readonly newTokens: number;
  /** Tokens that an ask makes. */
  readonly each: number;
}

const NOTHING: Width = { pathTokens: 0, asks: 0 };

export class TreeUse {
  /** Asks that it ever sent, and the most that were on their way at once. */
  asked = 0;
  mostAsks = 0;
  readonly #revisits: boolean;
  #isRoundOver = true;
  #isAnswered = false;
  /** Tokens of all paths that it ever made. */
  #madeTokens = 0;
  /** The most that it had in use in its latest round, and in the stretch that it is in (how many asks it had sent there). */
  #round = NOTHING;
  #stretch = NOTHING;
  #stretchAsked = 0;
  /** The stretch before that. */
  #left: { readonly asked: number; readonly width: Width } | null = null;

  /** @param revisits Whether it comes back to nodes that it has left. */
  constructor(revisits: boolean) {
    this.#revisits = revisits;
  }

  /** Whether any of its asks was ever settled. */
  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  /** What it needs now. */
  get width(): Width {
    return this.#stretch;
  }

  launched(footprint: Footprint, { inUse, newTokens, each }: Launch): void {
    this.asked += 1;
    this.mostAsks = Math.max(this.mostAsks, inUse.asks);
    footprint.isSteady ||= this.#revisits;
    if (!this.#isAnswered) footprint.began(this.asked);
    footprint.came(this.asked);
    if (footprint.stretchOf(this.asked) !== footprint.stretchOf(this.#stretchAsked)) this.#leave(footprint);
    this.#madeTokens += newTokens;
    const now = this.#revisits ? { pathTokens: this.#madeTokens, asks: this.asked } : inUse;
    this.#round = this.#isRoundOver ? now : wider(this.#round, now, each);
    this.#isRoundOver = false;
    this.#stretch = wider(this.#stretch, this.#round, each);
    this.#stretchAsked = this.asked;
  }

  answered(): void {
    this.#isAnswered = true;
    this.#isRoundOver = true;
  }

  over(footprint: Footprint): void {
    if (this.asked === 0) return;
    this.#leave(footprint);
    footprint.over(this.asked);
  }

  /** Tokens that it needs more, or fewer, than others of its kind did where it is. */
  offset(footprint: Footprint, each: number): number {
    const { asked, width } = this.#left ?? { asked: this.#stretchAsked, width: this.#stretch };
    return tokensOf(width, each) - footprint.tokensIn(footprint.stretchOf(asked), each);
  }

  #leave(footprint: Footprint): void {
    this.#left = { asked: this.#stretchAsked, width: this.#stretch };
    footprint.left(this.#stretchAsked, this.#stretch);
    this.#stretch = NOTHING;
  }
}

function wider(a: Width, b: Width, each: number): Width {
  return tokensOf(b, each) >= tokensOf(a, each) ? b : a;
}
