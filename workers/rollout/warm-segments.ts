/**
 * Which segments the host should have in its KV cache: those behind which a first token came. An estimate: the host may
 * have dropped one under us, which costs a prefill and nothing else. Pure bookkeeping, least recently used out first (I6).
 *
 * Whatever touches a segment touches the path before it too, root last, so a path is forgotten from its end, as engines
 * do it: where a segment is warm, so is every one before it.
 */
import type { SegmentId } from "../../services/queue/job.ts";
import type { PromptPath } from "./prompt-path.ts";

/** Segments remembered, whatever the host's memory: two megabytes of ids. */
export const WARM_SEGMENTS_MAX = 16_384;

export class WarmSegments {
  /** Tokens of the segment alone, by id; oldest first. */
  readonly #tokens = new Map<SegmentId, number>();
  readonly #segmentsMax: number;
  readonly #tokensMax: number;
  #tokensHeld = 0;

  /** @param limits.tokensMax What the host's cache holds. */
  constructor(limits: { readonly segmentsMax: number; readonly tokensMax: number }) {
    this.#segmentsMax = limits.segmentsMax;
    this.#tokensMax = limits.tokensMax;
  }

  get size(): number {
    return this.#tokens.size;
  }

  has(id: SegmentId): boolean {
    return this.#tokens.has(id);
  }

  /** Tokens of the longest warm beginning of the path. */
  tokensOf(path: PromptPath): number {
    return path.findLast(({ id }) => this.#tokens.has(id))?.tokensTo ?? 0;
  }

  /** The host has computed the whole path. */
  add(path: PromptPath): void {
    for (let index = path.length - 1; index >= 0; index -= 1) {
      const segment = path[index];
      if (segment === undefined) continue;
      this.#put(segment.id, segment.tokensTo - (path[index - 1]?.tokensTo ?? 0));
    }
    for (const oldest of this.#tokens.keys()) {
      if (this.#tokens.size <= this.#segmentsMax && this.#tokensHeld <= this.#tokensMax) return;
      this.#drop(oldest);
    }
  }

  /** The host reads the path: what is warm of it is used again. */
  touch(path: PromptPath): void {
    this.add(path.slice(0, 1 + path.findLastIndex(({ id }) => this.#tokens.has(id))));
  }

  /** The host has lost its cache. */
  clear(): void {
    this.#tokens.clear();
    this.#tokensHeld = 0;
  }

  #put(id: SegmentId, tokens: number): void {
    this.#drop(id);
    this.#tokens.set(id, tokens);
    this.#tokensHeld += tokens;
  }

  #drop(id: SegmentId): void {
    this.#tokensHeld -= this.#tokens.get(id) ?? 0;
    this.#tokens.delete(id);
  }
}
