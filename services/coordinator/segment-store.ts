/**
 * The segments that open tasks refer to, by content address. A task retains what its jobs name and releases all of it when
 * it settles, so the store grows with what is open (I6).
 */
import { createHash } from "node:crypto";
import type { PromptPiece, Segment, SegmentId } from "../queue/job.ts";
import { CoppiceError } from "../runtime/errors.ts";

/**
 * The content address of a segment: equal text (and tokens, where they are known) behind an equal parent is an equal id, on
 * every machine.
 */
export function segmentId(parent: SegmentId | null, { text, tokens }: PromptPiece): SegmentId {
  const hash = createHash("sha256");
  hash
    .update(parent ?? "root")
    .update("\0")
    .update(text);
  if (tokens !== undefined) hash.update("\0").update(tokens.join(" "));
  return hash.digest("hex").slice(0, 32);
}

interface Held {
  readonly segment: Segment;
  holders: number;
}

export class SegmentStore {
  readonly #held = new Map<SegmentId, Held>();

  get size(): number {
    return this.#held.size;
  }

  /** One more holder of this segment. */
  retain(segment: Segment): void {
    const held = this.#held.get(segment.id);
    if (held === undefined) this.#held.set(segment.id, { segment, holders: 1 });
    else held.holders += 1;
  }

  release(id: SegmentId): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    held.holders -= 1;
    if (held.holders === 0) this.#held.delete(id);
  }

  /** Throws "not_found" naming the first that nobody holds: its task has settled. */
  get(ids: readonly SegmentId[]): readonly Segment[] {
    return ids.map((id) => {
      const held = this.#held.get(id);
      if (held === undefined) throw new CoppiceError("not_found", `segment ${id}: no open task refers to it`);
      return held.segment;
    });
  }
}
