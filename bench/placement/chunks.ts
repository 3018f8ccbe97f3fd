/** A prompt cut into chunks of equal size, as routers hash it. */
import type { PathPiece } from "../../services/planner/synthetic-task.ts";

/** Chunks that end within one piece at most. */
const CHUNKS_OF_PIECE_MAX = 2 ** 14;

/**
 * Chunks from the beginning, each as a number that is equal for equal prompts up to its end: it is told by
 * the piece in which it ends. @param isLastPartial Whether what is left at the end counts as a chunk.
 */
export function chunksOf(
  pieces: readonly PathPiece[],
  { chunkTokens, isLastPartial }: { readonly chunkTokens: number; readonly isLastPartial: boolean },
): readonly number[] {
  const chunks: number[] = [];
  let tokens = 0;
  for (const piece of pieces) {
    const before = chunks.length;
    const ends = Math.floor((tokens + piece.tokens) / chunkTokens);
    for (let i = before; i < ends; i++) chunks.push(piece.id * CHUNKS_OF_PIECE_MAX + (i - before));
    tokens += piece.tokens;
  }
  const last = pieces.at(-1);
  // The end of one prompt is a whole chunk of no other: the last number of the piece is its own.
  if (isLastPartial && last !== undefined && tokens % chunkTokens > 0)
    chunks.push((last.id + 1) * CHUNKS_OF_PIECE_MAX - 1);
  return chunks;
}
