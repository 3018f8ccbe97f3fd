/**
 * The paged KV cache of the engine model: whole blocks, counted by the piece of a path in which they end, so that a prompt of
 * thousands of tokens is a few entries. What running sequences use is pinned; the rest is cached, and evicted least recently used
 * first, from the end of a path towards its beginning.
 *
 * Invariants:
 * 1. pinned blocks <= used blocks <= capacity.
 * 2. Of each piece the first `resident` blocks are there, and then all of its path before it.
 * 3. A sequence that pins a piece pins its whole path before it; a piece is pinned as a whole.
 * 4. Unpinned pieces stand in the list in the order of their last use, children before parents (they are let go in that
 *    order), so its first one has no child that is there.
 */
import { strict as assert } from "node:assert";

/** Identifies the whole path up to and including this piece. */
export type PieceId = number | string;

/** The pieces of a path in which a block ends. A block belongs to the piece that has its last token. */
export interface BlockPath {
  readonly ids: readonly PieceId[];
  /** Whole blocks of the path up to the end of each piece; increasing. */
  readonly ends: readonly number[];
}

/** A sequence, as far as the cache knows it. All but `path` is the cache's to write while the sequence runs. */
export interface BlockHolder {
  readonly path: BlockPath;
  /** Blocks that it holds, shared and its own. */
  blocks: number;
  /** Blocks of its path that it shares through the cache. */
  registered: number;
  /** The cached pieces that it pins: the beginning of its path. */
  readonly pinned: CachedPiece[];
  /** The life of the cache in which it was admitted. */
  cacheLife: number;
}

export interface CachedPiece {
  readonly id: PieceId;
  readonly firstBlock: number;
  resident: number;
  pins: number;
  /** Belongs to a life of the cache that has ended: nobody finds it any more. */
  isLost: boolean;
  previous: CachedPiece | null;
  next: CachedPiece | null;
}

export class KvCache {
  readonly capacityBlocks: number;
  usedBlocks = 0;
  pinnedBlocks = 0;
  readonly #pieces = new Map<PieceId, CachedPiece>();
  #oldest: CachedPiece | null = null;
  #newest: CachedPiece | null = null;
  #life = 0;

  constructor(capacityBlocks: number) {
    this.capacityBlocks = capacityBlocks;
  }

  /** Blocks that can be taken, cached ones among them. */
  get available(): number {
    return this.capacityBlocks - this.pinnedBlocks;
  }

  /** Takes blocks for running sequences; at most `available`. */
  take(blocks: number): void {
    const excess = this.usedBlocks + blocks - this.capacityBlocks;
    if (excess > 0) this.#evict(excess);
    this.usedBlocks += blocks;
    this.pinnedBlocks += blocks;
  }

  /** Gives back blocks that are in nobody's path. */
  give(blocks: number): void {
    this.usedBlocks -= blocks;
    this.pinnedBlocks -= blocks;
  }

  /**
   * What of a path is there, at most `blocksMax`: pins it for the sequence and takes what it `needs` beside it (given the blocks
   * that were found). False, with nothing changed, where that does not fit.
   */
  admit(sequence: BlockHolder, blocksMax: number, needs: (foundBlocks: number) => number): boolean {
    const { path, pinned } = sequence;
    let found = 0;
    let newlyPinned = 0;
    for (let at = 0; found < blocksMax && at < path.ids.length; at += 1) {
      const piece = this.#find(path, at);
      if (piece === null) break;
      pinned.push(piece);
      if (piece.pins === 0) newlyPinned += piece.resident;
      found = piece.firstBlock + piece.resident;
      if (found < (path.ends[at] ?? 0)) break;
    }
    found = Math.min(found, blocksMax);
    const needed = needs(found);
    if (needed + newlyPinned > this.available) {
      pinned.length = 0;
      return false;
    }
    for (const piece of pinned) this.#pin(piece);
    sequence.registered = found;
    sequence.blocks = found + needed;
    sequence.cacheLife = this.#life;
    this.take(needed);
    return true;
  }

  /** Makes the first `blocks` of a sequence's path, which it holds and has pinned so far as registered, findable by others. */
  register(sequence: BlockHolder, blocks: number): void {
    if (sequence.cacheLife !== this.#life) return;
    const { path, pinned } = sequence;
    for (let at = Math.max(0, pinned.length - 1); at < path.ids.length; at += 1) {
      const first = at === 0 ? 0 : (path.ends[at - 1] ?? 0);
      if (first >= blocks) break;
      let piece = pinned[at];
      if (piece === undefined) {
        piece = this.#find(path, at) ?? this.#create(path, at);
        this.#pin(piece);
        pinned.push(piece);
      }
      const end = Math.min(path.ends[at] ?? 0, blocks);
      const known = first + piece.resident;
      // What another sequence brought first is shared, and the copy given back.
      const copies = Math.min(known, end) - Math.max(first, sequence.registered);
      if (copies > 0) this.give(copies);
      if (end > known) piece.resident = end - first;
    }
    sequence.registered = Math.max(sequence.registered, blocks);
  }

  /** A sequence leaves: its first `fullBlocks` stay cached, the rest of what it holds is free. */
  release(sequence: BlockHolder, fullBlocks: number): void {
    if (fullBlocks > sequence.registered) this.register(sequence, fullBlocks);
    this.give(sequence.blocks - sequence.registered);
    for (let piece = sequence.pinned.pop(); piece !== undefined; piece = sequence.pinned.pop())
      this.#unpin(piece);
    sequence.registered = 0;
    sequence.blocks = 0;
  }

  /** Everything that was cached is lost. What running sequences hold stays theirs, and is free when they leave. */
  clear(): void {
    this.evictAll();
    for (const piece of this.#pieces.values()) piece.isLost = true;
    this.#pieces.clear();
    this.#life += 1;
  }

  /** Drops all that no running sequence uses. */
  evictAll(): void {
    this.#evict(this.usedBlocks - this.pinnedBlocks);
  }

  #find(path: BlockPath, at: number): CachedPiece | null {
    const id = path.ids[at];
    const piece = id === undefined ? undefined : this.#pieces.get(id);
    if (piece === undefined) return null;
    assert(
      piece.firstBlock === (at === 0 ? 0 : path.ends[at - 1]),
      `piece ${String(id)}: an id stands for one path, found it behind two`,
    );
    return piece;
  }

  #create(path: BlockPath, at: number): CachedPiece {
    const id = path.ids[at];
    assert(id !== undefined);
    const firstBlock = at === 0 ? 0 : (path.ends[at - 1] ?? 0);
    const piece: CachedPiece = {
      id,
      firstBlock,
      resident: 0,
      pins: 0,
      isLost: false,
      previous: null,
      next: null,
    };
    this.#pieces.set(id, piece);
    return piece;
  }

  #pin(piece: CachedPiece): void {
    piece.pins += 1;
    if (piece.pins > 1 || piece.resident === 0) return;
    this.pinnedBlocks += piece.resident;
    this.#unlink(piece);
  }

  #unpin(piece: CachedPiece): void {
    piece.pins -= 1;
    if (piece.pins > 0) return;
    this.pinnedBlocks -= piece.resident;
    if (piece.isLost) this.usedBlocks -= piece.resident;
    else this.#append(piece);
  }

  #evict(blocks: number): void {
    for (let left = blocks; left > 0;) {
      const piece = this.#oldest;
      assert(piece !== null, "blocks that are not pinned are cached");
      const gone = Math.min(left, piece.resident);
      piece.resident -= gone;
      this.usedBlocks -= gone;
      left -= gone;
      if (piece.resident > 0) continue;
      this.#unlink(piece);
      this.#pieces.delete(piece.id);
    }
  }

  #append(piece: CachedPiece): void {
    piece.previous = this.#newest;
    piece.next = null;
    if (this.#newest === null) this.#oldest = piece;
    else this.#newest.next = piece;
    this.#newest = piece;
  }

  #unlink(piece: CachedPiece): void {
    if (piece.previous === null) this.#oldest = piece.next;
    else piece.previous.next = piece.next;
    if (piece.next === null) this.#newest = piece.previous;
    else piece.next.previous = piece.previous;
    piece.previous = null;
    piece.next = null;
  }
}
