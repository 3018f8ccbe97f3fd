/**
 * The nodes of the prefix tree: one for each chained content address, whoever asked for it. A row is used again once its
 * node is gone.
 *
 * Invariants: (1) row 0 is the empty path and is never freed; (2) `claims` of a node counts its children, its retainers and
 * the hosts that are predicted to hold it: at 0 it is freed, and gives up its own claim on its parent.
 */
import assert from "node:assert/strict";
import type { SegmentId } from "../../queue/job.ts";
import { NONE, Table } from "./table.ts";

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

/** Fields of a node. */
const PARENT = 0;
const TOKENS = 1;
const IS_KNOWN = 2;
const RETAINED = 3;
const CLAIMS = 4;
/** First of the entries of this node, one for each host that holds it: the list is the predicted caches' own. */
const FIRST_ENTRY = 5;
const WIDTH = 8;

export class TreeNodes {
  readonly #rows = new Map<SegmentId, NodeRef>();
  readonly #ids: SegmentId[] = [""];
  readonly #table = new Table(WIDTH);

  constructor() {
    assert(this.#table.allocate() === ROOT);
    this.#table.set(ROOT, FIRST_ENTRY, NONE);
    this.#table.set(ROOT, IS_KNOWN, 1);
  }

  /** Live nodes, the empty path not counted. */
  get size(): number {
    return this.#rows.size;
  }

  parent(node: NodeRef): NodeRef {
    return this.#table.get(node, PARENT);
  }

  tokens(node: NodeRef): number {
    return this.#table.get(node, TOKENS);
  }

  isKnown(node: NodeRef): boolean {
    return this.#table.get(node, IS_KNOWN) === 1;
  }

  firstEntry(node: NodeRef): number {
    return this.#table.get(node, FIRST_ENTRY);
  }

  setFirstEntry(node: NodeRef, entry: number): void {
    this.#table.set(node, FIRST_ENTRY, entry);
  }

  /** Replaces the estimate of a node. */
  know(node: NodeRef, tokens: number): void {
    this.#table.set(node, TOKENS, wholeTokens(tokens));
    this.#table.set(node, IS_KNOWN, 1);
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
    assert(
      this.#table.get(node, PARENT) === parent,
      `segment ${piece.id} does not continue ${this.#ids[parent]}`,
    );
    return node;
  }

  /** Programmer error where a path is not chained: its pieces are not the nodes above its last one. */
  requireIs(node: NodeRef, piece: PathPiece): void {
    const id = this.#ids[node];
    assert(id === piece.id, `path is not chained: expected segment ${id}, found ${piece.id}`);
  }

  retain(node: NodeRef): void {
    this.#table.add(node, RETAINED, 1);
    this.#table.add(node, CLAIMS, 1);
  }

  release(node: NodeRef): void {
    assert(this.#table.get(node, RETAINED) > 0, `node ${node} (${this.#ids[node]}) is not retained`);
    this.#table.add(node, RETAINED, -1);
    this.#unclaim(node);
  }

  /** One more host holds it. */
  hold(node: NodeRef): void {
    this.#table.add(node, CLAIMS, 1);
  }

  /** One host less holds it. */
  drop(node: NodeRef): void {
    this.#unclaim(node);
  }

  /** Frees the node, and those above it, that nobody claims any more. */
  #unclaim(node: NodeRef): void {
    for (let row = node; this.#table.add(row, CLAIMS, -1) === 0 && row !== ROOT;) {
      const parent = this.#table.get(row, PARENT);
      this.#rows.delete(this.#ids[row] ?? "");
      this.#ids[row] = "";
      this.#table.release(row);
      row = parent;
    }
  }

  #make(parent: NodeRef, piece: PathPiece): NodeRef {
    const row = this.#table.allocate();
    this.#rows.set(piece.id, row);
    this.#ids[row] = piece.id;
    this.#table.set(row, PARENT, parent);
    this.#table.set(row, TOKENS, wholeTokens(piece.tokens));
    this.#table.set(row, IS_KNOWN, piece.isKnown ? 1 : 0);
    this.#table.set(row, FIRST_ENTRY, NONE);
    this.#table.add(parent, CLAIMS, 1);
    return row;
  }
}

/** Estimates may be fractions and reports may be anything: a count of tokens is a whole number that fits its column. */
export function wholeTokens(tokens: number): number {
  assert(tokens >= 0 && tokens < 2 ** 31, `expected a number of tokens, found ${tokens}`);
  return Math.round(tokens);
}
