/**
 * majority@k and weighted@k: how often a vote among k of n judged samples chooses a correct answer. Ties make a closed form
 * useless, so the k-subsets are counted out where they are few, and drawn at random where they are many.
 */
import { passAtK } from "./estimators.ts";

/** A judged sample as a voter; voters stand in the order of their candidates' indexes. */
export interface Vote {
  /** Null abstains: it is drawn like any other, and counts for no answer. */
  readonly answer: string | null;
  /** In the weighted vote; not below 0. */
  readonly weight: number;
  readonly isCorrect: boolean;
}

export interface VoteOptions {
  /** How many subsets are drawn for each k that has more of them. */
  readonly resamples: number;
  /** A uniform number in [0, 1). */
  readonly draw: () => number;
}

/** By k, in the order in which they were given. */
export interface VoteEstimates {
  readonly majority: readonly number[];
  readonly weighted: readonly number[];
}

/**
 * The expected correctness of the vote's winner among k of the votes, for each k. The winner is that of `selectByVote`: the
 * largest summed weight, ties to the answer of the lowest index; where everybody abstains there is none, which is not
 * correct. Exact where k has at most `resamples` subsets (k = n always), at k = 1, and where all voters are equally right.
 * @throws RangeError unless every k is whole and 1 <= k <= n.
 */
export function voteAtKs(votes: readonly Vote[], ks: readonly number[], options: VoteOptions): VoteEstimates {
  const n = votes.length;
  const wrong = ks.find((k) => !Number.isInteger(k) || k < 1 || k > n);
  if (wrong !== undefined)
    throw new RangeError(`voteAtKs: expected whole 1 <= k <= n, found n=${n}, k=${wrong}`);
  const voters = votes.filter(({ answer }) => answer !== null);
  const correct = voters.filter(({ isCorrect }) => isCorrect).length;
  if (correct === 0 || correct === voters.length) {
    const shares = ks.map((k) => passAtK(n, correct, k));
    return { majority: shares, weighted: shares };
  }
  const { resamples } = options;
  const poll = new Poll(votes);
  const drawn = ks.filter((k) => k > 1 && subsetsUpTo(n, k, resamples + 1) > resamples);
  const means = drawMeans(
    poll,
    drawn.toSorted((a, b) => a - b),
    options,
  );
  for (const k of ks) if (!means.has(k)) means.set(k, countMean(poll, k));
  return {
    majority: ks.map((k) => means.get(k)?.majority ?? 0),
    weighted: ks.map((k) => means.get(k)?.weighted ?? 0),
  };
}

/** Of how many polls a correct answer won. */
interface Won {
  majority: number;
  weighted: number;
}

function meanOf({ majority, weighted }: Won, polls: number): Won {
  return { majority: majority / polls, weighted: weighted / polls };
}

/** The mean over every k-subset, in lexicographic order. */
function countMean(poll: Poll, k: number): Won {
  const chosen = Array.from({ length: k }, (_, i) => i);
  const won: Won = { majority: 0, weighted: 0 };
  for (let subsets = 1; ; subsets++) {
    poll.clear();
    for (const voter of chosen) poll.cast(voter);
    poll.countInto(won);
    // The rightmost that can move up moves, and those behind it follow it closely.
    let at = k - 1;
    while (at >= 0 && chosen[at] === poll.size - k + at) at -= 1;
    if (at < 0) return meanOf(won, subsets);
    const first = (chosen[at] ?? 0) + 1;
    for (let i = at; i < k; i++) chosen[i] = first + i - at;
  }
}

/** By k, the mean over random permutations: their first k are a uniform k-subset, for every k at once. `ks` ascend. */
function drawMeans(poll: Poll, ks: readonly number[], { resamples, draw }: VoteOptions): Map<number, Won> {
  const tallies = ks.map((k) => ({ k, won: { majority: 0, weighted: 0 } }));
  const order = Uint32Array.from({ length: poll.size }, (_, i) => i);
  for (let round = 0; round < resamples; round++) {
    poll.clear();
    let placed = 0;
    for (const { k, won } of tallies) {
      for (; placed < k; placed++) {
        const other = placed + Math.floor(draw() * (poll.size - placed));
        // Both lie within the order.
        const voter = order[other] as number;
        order[other] = order[placed] as number;
        order[placed] = voter;
        poll.cast(voter);
      }
      poll.countInto(won);
    }
  }
  return new Map(tallies.map(({ k, won }) => [k, meanOf(won, resamples)]));
}

/** C(n, k), or `cap` where that is less. */
function subsetsUpTo(n: number, k: number, cap: number): number {
  let subsets = 1;
  for (let i = 1; i <= Math.min(k, n - k) && subsets < cap; i++) subsets = (subsets * (n - i + 1)) / i;
  return Math.min(cap, subsets);
}

/**
 * The state of one poll, voter by voter; flat arrays, because votes are cast some hundred thousand times per problem. Each
 * `as number` is of an index within its array: voters are below `size`, answers were numbered from 0.
 */
class Poll {
  readonly size: number;
  /** By voter: the number of its answer, -1 for none. */
  readonly #answer: Int32Array;
  readonly #weight: Float64Array;
  readonly #isCorrect: Uint8Array;
  /** By answer: its votes so far, their weight, and the lowest voter for it. */
  readonly #votes: Float64Array;
  readonly #weights: Float64Array;
  readonly #first: Int32Array;
  /** Answers with a vote, in the order in which they came. */
  readonly #named: Int32Array;
  #namedCount = 0;

  constructor(votes: readonly Vote[]) {
    const numbers = new Map<string, number>();
    for (const { answer } of votes) {
      if (answer !== null && !numbers.has(answer)) numbers.set(answer, numbers.size);
    }
    this.size = votes.length;
    this.#answer = Int32Array.from(votes, ({ answer }) =>
      answer === null ? -1 : (numbers.get(answer) ?? -1),
    );
    this.#weight = Float64Array.from(votes, ({ weight }) => weight);
    this.#isCorrect = Uint8Array.from(votes, ({ isCorrect }) => Number(isCorrect));
    this.#votes = new Float64Array(numbers.size);
    this.#weights = new Float64Array(numbers.size);
    this.#first = new Int32Array(numbers.size).fill(-1);
    this.#named = new Int32Array(numbers.size);
  }

  clear(): void {
    for (let i = 0; i < this.#namedCount; i++) {
      const answer = this.#named[i] as number;
      this.#votes[answer] = 0;
      this.#weights[answer] = 0;
      this.#first[answer] = -1;
    }
    this.#namedCount = 0;
  }

  cast(voter: number): void {
    const answer = this.#answer[voter] as number;
    if (answer < 0) return;
    const first = this.#first[answer] as number;
    if (first < 0) this.#named[this.#namedCount++] = answer;
    if (first < 0 || voter < first) this.#first[answer] = voter;
    this.#votes[answer] = (this.#votes[answer] as number) + 1;
    this.#weights[answer] = (this.#weights[answer] as number) + (this.#weight[voter] as number);
  }

  countInto(won: Won): void {
    won.majority += this.#isWonByCorrect(this.#votes);
    won.weighted += this.#isWonByCorrect(this.#weights);
  }

  /** 1 or 0. */
  #isWonByCorrect(cast: Float64Array): number {
    let winner = -1;
    let highest = -1;
    for (let i = 0; i < this.#namedCount; i++) {
      const answer = this.#named[i] as number;
      const sum = cast[answer] as number;
      const first = this.#first[answer] as number;
      if (sum < highest || (sum === highest && first > winner)) continue;
      highest = sum;
      winner = first;
    }
    return winner < 0 ? 0 : (this.#isCorrect[winner] as number);
  }
}
