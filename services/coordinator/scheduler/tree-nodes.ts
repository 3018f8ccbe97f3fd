/**
 * The nodes of the prefix tree: one for each chained content address, whoever asked for it. Rows of columns; a row is used
 * again once its node is gone.
 *
 * Invariants: (1) row 0 is the empty path and is never freed; (2) `claims` of a node counts its children, its retainers and
 * the hosts that are predicted to hold it: at 0 it is freed, and gives up its own claim on its parent.
 */
import assert from "node:assert/strict";
import type { SegmentId } from "../../queue/job.ts";
import { add, at, grown, NONE, type Column } from "./column.ts";

/** A piece of a path; `id` is the chained content address of the path up to and including it. */
export interface PathPiece {
  readonly id: SegmentId;
  /** Of this piece alone: counted, or estimated where `isKnown` is false. */
  readonly tokens: number;
  readonly isKnown: boolean;
}

/** A node of the tree. Good from `retain` to `release`. */
export type NodeRef = number;

/** The empty path. */
export const ROOT: NodeRef = 0;

const ROWS = 1_024;

export class TreeNodes {
  readonly #rows = new Map<SegmentId, NodeRef>();
  readonly #ids: SegmentId[] = [""];
  #parent: Column = new Int32Array(ROWS);
  #tokens: Column = new Int32Array(ROWS);
  #isKnown: Column = new Int32Array(ROWS);
  #retained: Column = new Int32Array(ROWS);
  #claims: Column = new Int32Array(ROWS);
  /** First of the entries of this node, one for each host that holds it: the list is the predicted caches' own. */
  #firstEntry: Column = new Int32Array(ROWS);
  /** Rows that were used so far, and the first of those that are free again (linked by `parent`). */
  #used = 1;
  #free: NodeRef = NONE;

  constructor() {
    this.#firstEntry[ROOT] = NONE;
    this.#isKnown[ROOT] = 1;
  }

  /** Live nodes, the empty path not counted. */
  get size(): number {
    return this.#rows.size;
  }

  parent(node: NodeRef): NodeRef {
    return at(this.#parent, node);
  }

  tokens(node: NodeRef): number {
    return at(this.#tokens, node);
  }

  isKnown(node: NodeRef): boolean {
    return at(this.#isKnown, node) === 1;
  }

  firstEntry(node: NodeRef): number {
    return at(this.#firstEntry, node);
  }

  setFirstEntry(node: NodeRef, entry: number): void {
    this.#firstEntry[node] = entry;
  }

  /** Replaces the estimate of a node. */
  know(node: NodeRef, tokens: number): void {
    this.#tokens[node] = wholeTokens(tokens);
    this.#isKnown[node] = 1;
  }

  /** The node of a path, root first; made, with all above it, where it is new. Whoever calls claims or retains it at once. */
  reach(path: readonly PathPiece[]): NodeRef {
    let depth = path.length;
    let node = ROOT;
    for (; depth > 0; depth -= 1) {
      const piece = path[depth - 1];
      const known = piece === undefined ? undefined : this.#rows.get(piece.id);
      if (known === undefined) continue;
      node = known;
      break;
    }
    for (; depth < path.length; depth += 1) {
      const piece = path[depth];
      if (piece !== undefined) node = this.#make(node, piece);
    }
    return node;
  }

  /** The child of a node; made where it is new. Whoever calls claims or retains it at once. */
  child(parent: NodeRef, piece: PathPiece): NodeRef {
    const node = this.#rows.get(piece.id) ?? this.#make(parent, piece);
    this.requireIs(node, piece);
    assert(at(this.#parent, node) === parent, `segment ${piece.id} does not continue ${this.#ids[parent]}`);
    return node;
  }

  /** Programmer error where a path is not chained: its pieces are not the nodes above its last one. */
  requireIs(node: NodeRef, piece: PathPiece): void {
    const id = this.#ids[node];
    assert(id === piece.id, `path is not chained: expected segment ${id}, found ${piece.id}`);
  }

  retain(node: NodeRef): void {
    add(this.#retained, node, 1);
    add(this.#claims, node, 1);
  }

  release(node: NodeRef): void {
    assert(at(this.#retained, node) > 0, `node ${node} (${this.#ids[node]}) is not retained`);
    add(this.#retained, node, -1);
    this.unclaim(node);
  }

  claim(node: NodeRef): void {
    add(this.#claims, node, 1);
  }

  /** Frees the node, and those above it, that nobody claims any more. */
  unclaim(node: NodeRef): void {
    for (let row = node; add(this.#claims, row, -1) === 0 && row !== ROOT;) {
      const parent = at(this.#parent, row);
      this.#rows.delete(this.#ids[row] ?? "");
      this.#ids[row] = "";
      this.#parent[row] = this.#free;
      this.#free = row;
      row = parent;
    }
  }

  #make(parent: NodeRef, piece: PathPiece): NodeRef {
    const row = this.#allocate();
    this.#rows.set(piece.id, row);
    this.#ids[row] = piece.id;
    this.#parent[row] = parent;
    this.#tokens[row] = wholeTokens(piece.tokens);
    this.#isKnown[row] = piece.isKnown ? 1 : 0;
    this.#retained[row] = 0;
    this.#claims[row] = 0;
    this.#firstEntry[row] = NONE;
    add(this.#claims, parent, 1);
    return row;
  }

  #allocate(): NodeRef {
    if (this.#free !== NONE) {
      const row = this.#free;
      this.#free = at(this.#parent, row);
      return row;
    }
    if (this.#used === this.#parent.length) {
      const rows = 2 * this.#used;
      this.#parent = grown(this.#parent, rows);
      this.#tokens = grown(this.#tokens, rows);
      this.#isKnown = grown(this.#isKnown, rows);
      this.#retained = grown(this.#retained, rows);
      this.#claims = grown(this.#claims, rows);
      this.#firstEntry = grown(this.#firstEntry, rows);
    }
    this.#used += 1;
    return this.#used - 1;
  }
}

/** Estimates may be fractions and reports may be anything: a count of tokens is a whole number that fits its column. */
export function wholeTokens(tokens: number): number {
  assert(tokens >= 0 && tokens < 2 ** 31, `expected a number of tokens, found ${tokens}`);
  return Math.round(tokens);
}
