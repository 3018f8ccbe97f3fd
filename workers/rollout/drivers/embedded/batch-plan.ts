/**
 * Which tokens go into the next batch, and in what order. Pure.
 *
 * llama.cpp cuts a batch into micro-batches: sequences whose ids follow one another, in rising order, share
 * one, each with as many tokens as the one that has fewest. So decoding sequences are listed in rising order
 * (one micro-batch per unbroken run of ids), and prompts after them in falling order (one micro-batch each).
 *
 * Repeatability. llama.cpp's result for a token depends on the batch only through the kernel that is chosen,
 * and on a CPU that choice is "one token alone" or "two and more" (matrix-vector against matrix-matrix
 * product; attention has one more step at 64 tokens of one sequence). So with `steady`, no micro-batch holds
 * a single token: a lonely sequence is joined by a companion, a token of the idle sequence beside it that is
 * forgotten afterwards, and a prompt goes in chunks of 3 to 32. Every result is then bit for bit the same
 * whatever runs beside it; invariance.ts checks this at load.
 */

/** A sequence with tokens to evaluate. */
export interface Feed {
  readonly sequence: number;
  readonly pending: number;
}

export interface Portion {
  readonly sequence: number;
  readonly tokens: number;
}

export interface BatchPlan {
  /** In the order in which they must enter the batch. */
  readonly portions: readonly Portion[];
  /** Idle sequences that lend a companion token; they stand among the portions with one token each. */
  readonly companions: ReadonlySet<number>;
}

export interface BatchLimits {
  readonly batchTokensMax: number;
  /**
   * No micro-batch of one token, see above. The sequence after the last must then be one that is never used.
   */
  readonly steady: boolean;
}

/** A prompt's rest of fewer tokens enters one token a step, beside the decoding sequences. */
export const PREFILL_TOKENS_MIN = 3;
const STEADY_PREFILL_TOKENS_MAX = 32;

/** `feeds` in rising order of sequence, each with at least one pending token. */
export function planBatch(feeds: readonly Feed[], limits: BatchLimits): BatchPlan {
  const prefillMax = limits.steady ? STEADY_PREFILL_TOKENS_MAX : limits.batchTokensMax;
  // Twice: each decoding sequence may need a companion.
  let room = limits.batchTokensMax - 2 * feeds.length;
  const singles: number[] = [];
  const prefills: Portion[] = [];
  for (const { sequence, pending } of feeds) {
    const tokens = Math.min(pending, prefillMax, room);
    if (tokens < PREFILL_TOKENS_MIN) {
      singles.push(sequence);
    } else {
      prefills.push({ sequence, tokens });
      room -= tokens;
    }
  }
  const companions = limits.steady ? companionsOf(singles, new Set(prefills.map((p) => p.sequence))) : NOBODY;
  const ones = companions.size === 0 ? singles : [...singles, ...companions].toSorted((a, b) => a - b);
  return {
    portions: [...ones.map((sequence) => ({ sequence, tokens: 1 })), ...prefills.toReversed()],
    companions,
  };
}

const NOBODY: ReadonlySet<number> = new Set();

/**
 * For each single without a neighbour, the idle sequence after it. A prompt there joins by itself, with one
 * token.
 */
function companionsOf(singles: readonly number[], prefills: ReadonlySet<number>): ReadonlySet<number> {
  const companions = new Set<number>();
  for (const [index, sequence] of singles.entries()) {
    const hasNeighbour = singles[index - 1] === sequence - 1 || singles[index + 1] === sequence + 1;
    const isJoined = companions.has(sequence - 1) || prefills.has(sequence + 1);
    if (!hasNeighbour && !isJoined) companions.add(sequence + 1);
  }
  return companions;
}
