/** The way to the end of a prompt, in the words of its segments: what asks with a common beginning have in common. */
import type { PromptPiece, SegmentId } from "../../services/queue/job.ts";

/** Characters of a text of unknown token ids that count as one token: what tokenizers make of English, roughly. */
export const CHARS_PER_TOKEN = 4;

export interface PathSegment {
  /** Names the whole path up to the segment's end, so an equal id is an equal beginning. */
  readonly id: SegmentId;
  /** Tokens of the prompt up to the segment's end; estimated where token ids are not known. */
  readonly tokensTo: number;
}

/** From the root. Empty: an ask that shares its prompt with nobody. */
export type PromptPath = readonly PathSegment[];

/** @param pieces What the segments say, in the order of `ids`. */
export function promptPath(ids: readonly SegmentId[], pieces: readonly PromptPiece[]): PromptPath {
  let tokensTo = 0;
  return ids.map((id, index) => {
    const piece = pieces[index];
    tokensTo += piece?.tokens?.length ?? Math.ceil((piece?.text.length ?? 0) / CHARS_PER_TOKEN);
    return { id, tokensTo };
  });
}
