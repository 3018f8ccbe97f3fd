/**
 * Whether `steady` batches (batch-plan.ts) are exact for this model on this processor: the logits behind one
 * fixed text are computed alone, among others, and in chunks, and compared bit for bit. Which kernels
 * llama.cpp chooses depends on the weights' format and the processor, so this is measured, not assumed.
 */
import { outputRows } from "./batch-plan.ts";
import type { BatchItem, Engine } from "./engine.ts";

/** A whole chunk of 32, a short one and the shortest. */
const TOKENS = 37;
const WATCHED_TOKENS = 64;

/** Leaves the sequences empty. `sequences`: how many there are, the spare one not counted. */
export async function isSteadyExact(engine: Engine, sequences: number): Promise<boolean> {
  const length = Math.min(TOKENS, engine.contextTokens);
  const text = engine.tokenize(
    "The quick brown fox jumps over 13 lazy dogs; 4 5 6 10\n10 - 4 = 6 left 5 6 6\n".repeat(4),
  );
  const tokens = Array.from({ length }, (_, i) => text[i % text.length] ?? 0);
  const company = Math.min(sequences, 7);
  const singly = tokens.map(() => 1);
  // One token a step in a pair; the same among others at another place; in chunks; in chunks with every output.
  const layouts: readonly Layout[] = [
    { at: 0, ids: [0, 1], chunks: singly, isEach: true },
    { at: company - 1, ids: Array.from({ length: company + 1 }, (_, i) => i), chunks: singly, isEach: true },
    { at: 0, ids: [0], chunks: chunksOf(length), isEach: false },
    { at: 0, ids: [0], chunks: chunksOf(length), isEach: true },
  ];
  let expected: ReadonlyMap<number, readonly number[]> | null = null;
  for (const layout of layouts) {
    const found = await logitsBehind(engine, tokens, layout);
    for (const id of layout.ids) engine.truncate(id, 0);
    expected ??= found;
    for (const [position, logits] of found)
      if (!logits.every((logit, i) => Object.is(logit, expected?.get(position)?.[i]))) return false;
  }
  return true;
}

/** As a plan may cut a prompt: chunks of several sizes, none of a single token. */
function chunksOf(length: number): readonly number[] {
  const chunks: number[] = [];
  let rest = length;
  for (const size of [32, 3, 2]) {
    if (rest < size || rest - size === 1) continue;
    chunks.push(size);
    rest -= size;
  }
  return rest === 0 ? chunks : [...chunks, rest];
}

interface Layout {
  /** Whose logits are compared, of the sequences `ids`. */
  readonly at: number;
  readonly ids: readonly number[];
  readonly chunks: readonly number[];
  /** Whether the logits behind each token are read, or those behind the last only. */
  readonly isEach: boolean;
}

/** By position, what is found behind it. */
async function logitsBehind(
  engine: Engine,
  tokens: readonly number[],
  layout: Layout,
): Promise<ReadonlyMap<number, readonly number[]>> {
  const watched = Array.from({ length: WATCHED_TOKENS }, (_, i) => i);
  const found = new Map<number, readonly number[]>();
  let position = 0;
  for (const size of layout.chunks) {
    const end = position + size;
    const portion = tokens.slice(position, end);
    const items = layout.ids.map((sequence): BatchItem => {
      // The others hold other text: the same tokens in another order.
      const theirs =
        sequence === layout.at ? portion : portion.map((_, i) => tokens[(position + i + sequence) % 7] ?? 0);
      const last = end === tokens.length ? 1 : 0;
      const wants = sequence !== layout.at ? 0 : layout.isEach ? size : last;
      return { sequence, position, tokens: theirs, rows: outputRows(size, { isSteady: true, wants }), wants };
    });
    const logits = (await engine.decode(items)).flatMap((rows) => [...rows]);
    for (const [n, row] of logits.entries())
      found.set(end - logits.length + n, await engine.logitsOf(row, watched));
    position = end;
  }
  return found;
}
