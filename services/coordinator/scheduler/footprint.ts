/**
 * What trees of one kind (an arm of a sweep) turn out to need of a host's KV cache, by how far they are, and how many come so far.
 * Learned from those that are over and from those that run. Pure.
 *
 * A tree's way is cut into stretches of equally many asks, at first as many as its first round has; when trees go further than there
 * are stretches, all are made twice as long. Known of each stretch are the mean of the most that trees needed in it, and
 * the share of those that came to it and went on. Trees that still run count as far as they were seen, so that the short ones, which
 * are over first, do not make all look short (the product-limit estimator: Kaplan and Meier 1958).
 */

/** What a tree has in use of a KV cache: tokens of paths, each counted once, and asks that add tokens to them. */
export interface Width {
  readonly pathTokens: number;
  readonly asks: number;
}

/** @param each Tokens that an ask makes. */
export function tokensOf({ pathTokens, asks }: Width, each: number): number {
  return pathTokens + asks * each;
}

const STRETCHES = 64;
/** So far ahead is anything said: beyond what was seen, trees are taken to go on. */
const STRETCHES_AHEAD = 2 * STRETCHES;
/** Trees that count fully: with each that many, all before count half. */
const TREES_REMEMBERED = 1_024;

export class Footprint {
  /** Whether trees need all that they ever made, so that they grow as they did as long as they go on. */
  isSteady = false;
  /** Asks of a stretch, and of the first round of the tree that had most there. */
  #length = 1;
  #firstRound = 1;
  #furthest = 0;
  #isLearned = false;
  #isAnyOver = false;
  #isStale = true;
  /** By stretch: trees that came to it, that were over in it, and that left it, with the most that they had in use in it. */
  readonly #came = new Float64Array(STRETCHES);
  readonly #over = new Float64Array(STRETCHES);
  readonly #left = new Float64Array(STRETCHES);
  readonly #pathTokens = new Float64Array(STRETCHES);
  readonly #asks = new Float64Array(STRETCHES);
  /** Reckoned from those when they are asked for: the share of trees that come to a stretch, and what they have in use there. */
  readonly #alive = new Float64Array(STRETCHES_AHEAD);
  readonly #meanPathTokens = new Float64Array(STRETCHES_AHEAD);
  readonly #meanAsks = new Float64Array(STRETCHES_AHEAD);

  /** Whether any tree has left a stretch. */
  get isLearned(): boolean {
    return this.#isLearned;
  }

  /** Whether any tree is over. */
  get isAnyOver(): boolean {
    return this.#isAnyOver;
  }

  /** Stretches of the longest way that was seen, and how many rounds of asks one is long. */
  get stretches(): number {
    return this.#furthest + 1;
  }

  get rounds(): number {
    return this.#length / this.#firstRound;
  }

  /** Where a tree is that has sent so many asks. */
  stretchOf(asked: number): number {
    return Math.floor(Math.max(0, asked - 1) / this.#length);
  }

  /** A tree had so many asks on their way before its first answer. */
  began(asks: number): void {
    if (this.#isAnyOver || asks <= this.#firstRound) return;
    this.#firstRound = asks;
    while (this.#length < asks) this.#lengthen();
  }

  /** A tree has sent its `asked`-th ask. */
  came(asked: number): void {
    while (asked > STRETCHES * this.#length) this.#lengthen();
    const stretch = this.stretchOf(asked);
    if (asked > 1 && stretch === this.stretchOf(asked - 1)) return;
    add(this.#came, stretch, 1);
    this.#furthest = Math.max(this.#furthest, stretch);
    this.#isStale = true;
    if (stretch === 0 && at(this.#came, 0) >= 2 * TREES_REMEMBERED) this.#fade();
  }

  /** A tree that had sent so many asks has left a stretch, in which it was so wide at most. */
  left(asked: number, { pathTokens, asks }: Width): void {
    const stretch = this.stretchOf(asked);
    add(this.#left, stretch, 1);
    add(this.#pathTokens, stretch, pathTokens);
    add(this.#asks, stretch, asks);
    this.#isLearned = true;
    this.#isStale = true;
  }

  /** A tree is over after so many asks. */
  over(asked: number): void {
    add(this.#over, this.stretchOf(asked), 1);
    this.#isAnyOver = true;
    this.#isStale = true;
  }

  /**
   * Tokens that a tree which runs in stretch `from` is expected to need in stretch `to`; one that will be over by then needs none.
   * @param each Tokens that an ask makes. @param offset What the tree needs more than others of its kind. @param growth So many times
   * what was seen last is expected further on, where nothing was seen.
   */
  expected(
    from: number,
    to: number,
    { each, offset, growth }: { readonly each: number; readonly offset: number; readonly growth: number },
  ): number {
    this.#reckon();
    const far = Math.min(to, STRETCHES_AHEAD - 1);
    const alive = at(this.#alive, Math.min(from, far));
    const share = alive > 0 ? at(this.#alive, far) / alive : 1;
    const beyond = far - this.#furthest;
    const more = beyond <= 0 ? 1 : this.isSteady ? (far + 1) / (this.#furthest + 1) : growth;
    return share * Math.max(0, this.tokensIn(far, each) * more + offset);
  }

  /** Asks that a tree which has sent so many is expected to send behind the stretch that it is in. */
  asksLeft(asked: number): number {
    this.#reckon();
    const from = this.stretchOf(asked);
    const alive = at(this.#alive, from);
    let later = 0;
    for (let stretch = from + 1; stretch <= this.#furthest; stretch++) later += at(this.#alive, stretch);
    return alive > 0 ? (later / alive) * this.#length : 0;
  }

  /** Mean of what trees needed in a stretch, with so many tokens for each ask. */
  tokensIn(stretch: number, each: number): number {
    this.#reckon();
    const known = Math.min(stretch, STRETCHES_AHEAD - 1);
    return at(this.#meanPathTokens, known) + at(this.#meanAsks, known) * each;
  }

  #reckon(): void {
    if (!this.#isStale) return;
    this.#isStale = false;
    let alive = 1;
    let [pathTokens, asks] = [0, 0];
    for (let stretch = 0; stretch < STRETCHES_AHEAD; stretch++) {
      this.#alive[stretch] = alive;
      const isSeen = stretch < STRETCHES && at(this.#came, stretch) > 0;
      if (isSeen) alive *= 1 - Math.min(1, at(this.#over, stretch) / at(this.#came, stretch));
      if (isSeen && at(this.#left, stretch) > 0) {
        pathTokens = at(this.#pathTokens, stretch) / at(this.#left, stretch);
        asks = at(this.#asks, stretch) / at(this.#left, stretch);
      }
      this.#meanPathTokens[stretch] = pathTokens;
      this.#meanAsks[stretch] = asks;
    }
  }

  /** Stretches are twice as long from now on. */
  #lengthen(): void {
    this.#length *= 2;
    for (let stretch = 0; stretch < STRETCHES / 2; stretch++) {
      this.#came[stretch] = at(this.#came, 2 * stretch);
      for (const counts of [this.#over, this.#left, this.#pathTokens, this.#asks])
        counts[stretch] = at(counts, 2 * stretch) + at(counts, 2 * stretch + 1);
    }
    for (const counts of this.#counts()) counts.fill(0, STRETCHES / 2);
    this.#furthest = Math.floor(this.#furthest / 2);
    this.#isStale = true;
  }

  #fade(): void {
    for (const counts of this.#counts()) for (let i = 0; i < STRETCHES; i++) counts[i] = at(counts, i) / 2;
  }

  #counts(): readonly Float64Array[] {
    return [this.#came, this.#over, this.#left, this.#pathTokens, this.#asks];
  }
}

function at(counts: Float64Array, index: number): number {
  return counts[index] ?? 0;
}

function add(counts: Float64Array, index: number, change: number): void {
  counts[index] = at(counts, index) + change;
}
