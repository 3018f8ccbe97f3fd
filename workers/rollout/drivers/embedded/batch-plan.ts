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
 * a single token or has a single output: a lonely sequence is joined by a companion, a token of the idle sequence
 * beside it that is forgotten afterwards, and a prompt goes in chunks of 3 to 32. Every result is then bit for bit the same
 * whatever runs beside it; invariance.ts checks this at load.
 */

/**
 * Which tokens of a portion get an output, in rising order; the last `wants` of them do. llama.cpp drops all other rows
 * before its last layers, so there it is the number of outputs in a micro-batch that must not be one: with `isSteady`
 * every single has one, wanted or not, and a prompt has two at its end, and one at its beginning in case that is joined
 * to a single.
 */
export function outputRows(
  tokens: number,
  { isSteady, wants }: { readonly isSteady: boolean; readonly wants: number },
): readonly number[] {
  if (isSteady && (tokens === 1 || wants === 0)) return [0];
  if (!isSteady && wants === 1) return [tokens - 1];
  const first = tokens - (isSteady ? Math.max(wants, 2) : wants);
  const last = Array.from({ length: tokens - first }, (_, i) => first + i);
  return isSteady && first > 0 ? [0, ...last] : last;
}

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
export const STEADY_PREFILL_TOKENS_MAX = 32;

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
  if (!limits.steady) return { portions: portionsOf(singles, prefills), companions: NOBODY };
  const joined = joinLonely(singles, prefills);
  const companions = companionsOf(joined.singles);
  const ones = [...joined.singles, ...companions].toSorted((a, b) => a - b);
  return { portions: portionsOf(ones, joined.prefills), companions };
}

function portionsOf(ones: readonly number[], prefills: readonly Portion[]): readonly Portion[] {
  return [...ones.map((sequence) => ({ sequence, tokens: 1 })), ...prefills.toReversed()];
}

/** A prompt on the sequence after a lonely single goes on by one token only in this step: so it is its neighbour. */
function joinLonely(
  singles: readonly number[],
  prefills: readonly Portion[],
): { readonly singles: readonly number[]; readonly prefills: readonly Portion[] } {
  const ones = new Set(singles);
  const slowed = new Set(prefills.map(({ sequence }) => sequence));
  for (const sequence of slowed) {
    const isWanted = ones.has(sequence - 1) && !ones.has(sequence - 2);
    if (isWanted) ones.add(sequence);
    else slowed.delete(sequence);
  }
  return {
    singles: [...ones].toSorted((a, b) => a - b),
    prefills: prefills.filter(({ sequence }) => !slowed.has(sequence)),
  };
}

const NOBODY: ReadonlySet<number> = new Set();

/** For each single without a neighbour, the sequence after it, which is idle. */
function companionsOf(singles: readonly number[]): ReadonlySet<number> {
  const companions = new Set<number>();
  for (const [index, sequence] of singles.entries()) {
    const hasNeighbour = singles[index - 1] === sequence - 1 || singles[index + 1] === sequence + 1;
    if (!hasNeighbour && !companions.has(sequence - 1)) companions.add(sequence + 1);
  }
  return companions;
}
