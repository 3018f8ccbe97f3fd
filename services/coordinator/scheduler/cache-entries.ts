/**
 * The table behind the predicted caches: one row for each node that a host is predicted to hold, found by (host, node), in
 * two lists: of its node (each host that holds it), and in one ring of its host (which is pinned, which was used when).
 */
import { NONE, Table } from "./table.ts";
import type { NodeRef } from "./tree-nodes.ts";

/** Fields of an entry. */
export const NODE = 0;
/** Index of the host. */
export const HOST = 1;
/** Entry of the parent node at the same host. */
export const PARENT = 2;
/** Tokens of the node that are held: all of them, but for a leaf that was evicted in part. */
export const RESIDENT = 3;
/** Requests in flight for exactly this path. */
export const FLIGHTS = 4;
/** Children at the same host that are pinned. */
export const PINNED_CHILDREN = 5;
/** The era (of the host's drift) that it was computed in; 0 until a request through here lands: it may still be computed. */
export const COMPUTED_IN = 6;
/** Neighbours in the ring: the one used longer ago, the one used later. */
export const BEFORE = 7;
export const AFTER = 8;
const BEFORE_OF_NODE = 9;
const AFTER_OF_NODE = 10;
const WIDTH = 16;

/** Slots of the index, at least, for each row. */
const SLOTS_PER_ROW = 2;

export class CacheEntries {
  readonly #table = new Table(WIDTH);
  /** Open addressing: row + 1 of each (host, node); 0 is an empty slot. Their number is a power of two. */
  #slots = new Int32Array(1_024);
  #indexed = 0;

  get(row: number, field: number): number {
    return this.#table.get(row, field);
  }

  set(row: number, field: number, value: number): void {
    this.#table.set(row, field, value);
  }

  /** @returns What the field holds now. */
  add(row: number, field: number, change: number): number {
    return this.#table.add(row, field, change);
  }

  /** The row must be out of its ring and out of the index. */
  release(row: number): void {
    this.#table.release(row);
  }

  /** An entry in a ring of its own. */
  make(host: number, node: NodeRef): number {
    const row = this.#table.allocate();
    this.set(row, NODE, node);
    this.set(row, HOST, host);
    this.set(row, PARENT, NONE);
    this.set(row, BEFORE, row);
    this.set(row, AFTER, row);
    return row;
  }

  isPinned(row: number): boolean {
    return this.get(row, FLIGHTS) > 0 || this.get(row, PINNED_CHILDREN) > 0;
  }

  /** Takes a row out of its ring. */
  detach(row: number): void {
    const before = this.get(row, BEFORE);
    const after = this.get(row, AFTER);
    this.set(before, AFTER, after);
    this.set(after, BEFORE, before);
  }

  /** Puts a detached row at the end of the ring that begins behind `head`. */
  append(head: number, row: number): void {
    const last = this.get(head, BEFORE);
    this.set(last, AFTER, row);
    this.set(row, BEFORE, last);
    this.set(row, AFTER, head);
    this.set(head, BEFORE, row);
  }

  nextOfNode(row: number): number {
    return this.get(row, AFTER_OF_NODE);
  }

  /** Puts a row before the first of its node's list. @returns The new first. */
  prependToNode(first: number, row: number): number {
    this.set(row, BEFORE_OF_NODE, NONE);
    this.set(row, AFTER_OF_NODE, first);
    if (first !== NONE) this.set(first, BEFORE_OF_NODE, row);
    return row;
  }

  /** @returns The first of the list that the row was in, given what it was. */
  removeFromNode(first: number, row: number): number {
    const before = this.get(row, BEFORE_OF_NODE);
    const after = this.get(row, AFTER_OF_NODE);
    if (after !== NONE) this.set(after, BEFORE_OF_NODE, before);
    if (before === NONE) return after;
    this.set(before, AFTER_OF_NODE, after);
    return first;
  }

  /** The row of this node at this host, or NONE. */
  find(host: number, node: NodeRef): number {
    const mask = this.#slots.length - 1;
    for (let slot = slotOf(host, node) & mask; ; slot = (slot + 1) & mask) {
      const row = this.#slotAt(slot) - 1;
      if (row === NONE || (this.get(row, NODE) === node && this.get(row, HOST) === host)) return row;
    }
  }

  index(row: number): void {
    if ((this.#indexed + 1) * SLOTS_PER_ROW > this.#slots.length) this.#doubleSlots();
    this.#indexed += 1;
    this.#place(row);
  }

  unindex(row: number): void {
    const mask = this.#slots.length - 1;
    let hole = this.#homeOf(row);
    while (this.#slotAt(hole) !== row + 1) hole = (hole + 1) & mask;
    this.#indexed -= 1;
    // Close the gap, so that a search never meets an empty slot before what it looks for.
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const moved = this.#slotAt(slot);
      if (moved === 0) break;
      const home = this.#homeOf(moved - 1);
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      this.#slots[hole] = moved;
      hole = slot;
    }
    this.#slots[hole] = 0;
  }

  #slotAt(slot: number): number {
    return this.#slots[slot] as number; // slots are masked, so there is one
  }

  #homeOf(row: number): number {
    return slotOf(this.get(row, HOST), this.get(row, NODE)) & (this.#slots.length - 1);
  }

  #place(row: number): void {
    const mask = this.#slots.length - 1;
    let slot = this.#homeOf(row);
    while (this.#slotAt(slot) !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = row + 1;
  }

  #doubleSlots(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(2 * old.length);
    for (const taken of old) if (taken !== 0) this.#place(taken - 1);
  }
}

/** Spreads (host, node) over 32 bits (multipliers of xxHash32, a shift of murmur3). */
function slotOf(host: number, node: NodeRef): number {
  const mixed = Math.imul(node, 0x9e3779b1) ^ Math.imul(host + 1, 0x85ebca77);
  return mixed ^ (mixed >>> 15);
}
