/**
 * The sequences of the context and what each holds, so that a prompt is given to the one that already holds
 * most of it. Pure bookkeeping: who applies it to the engine is the batcher.
 */

export interface KvSequence {
  readonly id: number;
  /** What the KV cache holds for this sequence: tokens evaluated, from position 0. */
  readonly tokens: number[];
  /** Tokens of its prompt that are not evaluated yet; empty when idle. */
  pending: readonly number[];
  isBusy: boolean;
  /** Order of use: the larger the later; 0 is never. */
  usedAt: number;
}

export type Seat =
  /** Take the idle sequence `sequence`, keep its first `shared` tokens. */
  | { readonly kind: "take"; readonly sequence: KvSequence; readonly shared: number }
  /** Copy `source` to the idle sequence first. */
  | {
      readonly kind: "copy";
      readonly sequence: KvSequence;
      readonly source: KvSequence;
      readonly shared: number;
    }
  /** A sibling is evaluating this prefix: worth waiting for. */
  | { readonly kind: "wait" }
  /** No sequence is idle. */
  | { readonly kind: "full" };

/**
 * Tokens that a copy (or a wait for one) must save. A copy moves a whole sequence's KV: on the 1 M-parameter
 * model, 256 tokens long, that costs about as much as evaluating one token; with a longer context both sides
 * grow.
 */
export const COPY_TOKENS_MIN = 4;

export function createSequences(count: number): readonly KvSequence[] {
  return Array.from({ length: count }, (_, id) => ({
    id,
    tokens: [],
    pending: [],
    isBusy: false,
    usedAt: 0,
  }));
}

/**
 * Where `prompt` should be evaluated. At least its last token is evaluated again: what follows it is not
 * kept.
 */
export function findSeat(sequences: readonly KvSequence[], prompt: readonly number[]): Seat {
  let idle: KvSequence | null = null;
  let idleShared = -1;
  let source: KvSequence | null = null;
  let sourceShared = 0;
  let soonShared = 0;
  for (const sequence of sequences) {
    const shared = commonLength(sequence.tokens, prompt);
    if (sequence.isBusy) {
      if (shared > sourceShared) [source, sourceShared] = [sequence, shared];
      if (shared === sequence.tokens.length) {
        soonShared = Math.max(soonShared, shared + commonLength(sequence.pending, prompt, shared));
      }
    } else if (
      idle === null ||
      shared > idleShared ||
      (shared === idleShared && isBetter(sequence, idle, shared))
    ) {
      [idle, idleShared] = [sequence, shared];
    }
  }
  if (idle === null) return { kind: "full" };
  if (soonShared - Math.max(idleShared, sourceShared) >= COPY_TOKENS_MIN) return { kind: "wait" };
  if (source !== null && sourceShared - idleShared >= COPY_TOKENS_MIN) {
    return { kind: "copy", sequence: leastUsed(sequences) ?? idle, source, shared: sourceShared };
  }
  return { kind: "take", sequence: idle, shared: idleShared };
}

/** Among idle sequences that share as much: the one that loses least, then the least recently used. */
function isBetter(one: KvSequence, other: KvSequence, shared: number): boolean {
  if (shared > 0 && one.tokens.length !== other.tokens.length) return one.tokens.length < other.tokens.length;
  return one.usedAt < other.usedAt;
}

function leastUsed(sequences: readonly KvSequence[]): KvSequence | null {
  let found: KvSequence | null = null;
  for (const sequence of sequences) {
    if (!sequence.isBusy && (found === null || sequence.usedAt < found.usedAt)) found = sequence;
  }
  return found;
}

/**
 * Length of the common beginning of `tokens` and of `prompt` from `offset`, the last token of `prompt` not
 * counted.
 */
function commonLength(tokens: readonly number[], prompt: readonly number[], offset = 0): number {
  const end = Math.min(tokens.length, prompt.length - 1 - offset);
  let length = 0;
  while (length < end && tokens[length] === prompt[offset + length]) length += 1;
  return length;
}
