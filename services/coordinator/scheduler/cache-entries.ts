/**
 * The table behind the predicted caches: one row for each node that a host is predicted to hold, found by (host, node), in
 * two lists: of its node (each host that holds it), and in one ring of its host (which is pinned, which was used when).
 */
import { at, grown, NONE, type Column } from "./column.ts";
import type { NodeRef } from "./tree-nodes.ts";

const ROWS = 1_024;
/** Of the slots of the index, at most 1 of so many is taken before it doubles. */
const SLOTS_PER_ROW = 2;

export class CacheEntries {
  node: Column = new Int32Array(ROWS);
  host: Column = new Int32Array(ROWS);
  /** Entry of the parent node at the same host. */
  parent: Column = new Int32Array(ROWS);
  /** Tokens of the node that are held: all of them, but for a leaf that was evicted in part. */
  resident: Column = new Int32Array(ROWS);
  /** Requests in flight for exactly this path. */
  flights: Column = new Int32Array(ROWS);
  /** Children at the same host that are pinned. */
  pinnedChildren: Column = new Int32Array(ROWS);
  /** The era (of the host's drift) that it was computed in; 0 until a request through here lands: it may still be computed. */
  computedIn: Column = new Int32Array(ROWS);
  before: Column = new Int32Array(ROWS);
  after: Column = new Int32Array(ROWS);
  #beforeOfNode: Column = new Int32Array(ROWS);
  #afterOfNode: Column = new Int32Array(ROWS);
  /** Open addressing: row + 1 of each (host, node); 0 is an empty slot. */
  #slots: Column = new Int32Array(ROWS * SLOTS_PER_ROW);
  #indexed = 0;
  #used = 0;
  /** First of the rows that are free again, linked by `after`. */
  #free = NONE;

  /** A row in a ring of its own. */
  allocate(host: number, node: NodeRef): number {
    const row = this.#freeRow();
    this.node[row] = node;
    this.host[row] = host;
    this.parent[row] = NONE;
    this.resident[row] = 0;
    this.flights[row] = 0;
    this.pinnedChildren[row] = 0;
    this.computedIn[row] = 0;
    this.before[row] = row;
    this.after[row] = row;
    return row;
  }

  /** The row must be out of its ring, and in no index. */
  release(row: number): void {
    this.after[row] = this.#free;
    this.#free = row;
  }

  isPinned(row: number): boolean {
    return at(this.flights, row) > 0 || at(this.pinnedChildren, row) > 0;
  }

  /** Takes a row out of its ring. */
  detach(row: number): void {
    const before = at(this.before, row);
    const after = at(this.after, row);
    this.after[before] = after;
    this.before[after] = before;
  }

  /** Puts a detached row at the end of the ring that begins behind `head`. */
  append(head: number, row: number): void {
    const last = at(this.before, head);
    this.after[last] = row;
    this.before[row] = last;
    this.after[row] = head;
    this.before[head] = row;
  }

  nextOfNode(row: number): number {
    return at(this.#afterOfNode, row);
  }

  /** Puts a row before the first of its node's list. @returns The new first. */
  prependToNode(first: number, row: number): number {
    this.#beforeOfNode[row] = NONE;
    this.#afterOfNode[row] = first;
    if (first !== NONE) this.#beforeOfNode[first] = row;
    return row;
  }

  /** @returns The first of the list that the row was in, given what it was. */
  removeFromNode(first: number, row: number): number {
    const before = at(this.#beforeOfNode, row);
    const after = at(this.#afterOfNode, row);
    if (after !== NONE) this.#beforeOfNode[after] = before;
    if (before === NONE) return after;
    this.#afterOfNode[before] = after;
    return first;
  }

  /** The row of this node at this host, or NONE. */
  find(host: number, node: NodeRef): number {
    const mask = this.#slots.length - 1;
    for (let slot = slotOf(host, node) & mask; ; slot = (slot + 1) & mask) {
      const row = at(this.#slots, slot) - 1;
      if (row === NONE || (at(this.node, row) === node && at(this.host, row) === host)) return row;
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
    while (at(this.#slots, hole) !== row + 1) hole = (hole + 1) & mask;
    this.#indexed -= 1;
    // Close the gap, so that a search never meets an empty slot before what it looks for.
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const moved = at(this.#slots, slot);
      if (moved === 0) break;
      const home = this.#homeOf(moved - 1);
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      this.#slots[hole] = moved;
      hole = slot;
    }
    this.#slots[hole] = 0;
  }

  #homeOf(row: number): number {
    return slotOf(at(this.host, row), at(this.node, row)) & (this.#slots.length - 1);
  }

  #place(row: number): void {
    const mask = this.#slots.length - 1;
    let slot = this.#homeOf(row);
    while (at(this.#slots, slot) !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = row + 1;
  }

  #doubleSlots(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(2 * old.length);
    for (const taken of old) if (taken !== 0) this.#place(taken - 1);
  }

  #freeRow(): number {
    if (this.#free !== NONE) {
      const row = this.#free;
      this.#free = at(this.after, row);
      return row;
    }
    if (this.#used === this.node.length) this.#grow(2 * this.#used);
    this.#used += 1;
    return this.#used - 1;
  }

  #grow(rows: number): void {
    this.node = grown(this.node, rows);
    this.host = grown(this.host, rows);
    this.parent = grown(this.parent, rows);
    this.resident = grown(this.resident, rows);
    this.flights = grown(this.flights, rows);
    this.pinnedChildren = grown(this.pinnedChildren, rows);
    this.computedIn = grown(this.computedIn, rows);
    this.before = grown(this.before, rows);
    this.after = grown(this.after, rows);
    this.#beforeOfNode = grown(this.#beforeOfNode, rows);
    this.#afterOfNode = grown(this.#afterOfNode, rows);
  }
}

/** Spreads (host, node) over 32 bits (multipliers of xxHash32, a shift of murmur3). */
function slotOf(host: number, node: NodeRef): number {
  const mixed = Math.imul(node, 0x9e3779b1) ^ Math.imul(host + 1, 0x85ebca77);
  return mixed ^ (mixed >>> 15);
}
