/**
 * The radix tree of a cache-aware router: which hosts were sent which beginnings of prompts. Pieces stand for
 * their characters: two prompts differ from the first character of the first piece in which they differ.
 */
import { EventQueue } from "../../services/planner/event-queue.ts";
import type { PathPiece } from "../../services/planner/synthetic-task.ts";
import { CHARS_PER_TOKEN } from "./router.ts";

interface Node {
  readonly parent: Node | null;
  readonly id: number;
  readonly chars: number;
  readonly children: Map<number, Node>;
  /** By host, when it was last used there: the number of the insertion. */
  readonly used: Map<number, number>;
}

export class HostTree {
  readonly #root: Node = { parent: null, id: -1, chars: 0, children: new Map(), used: new Map() };
  /** Characters by host. */
  readonly #sizes = new Map<number, number>();
  #insertions = 0;

  /** The share of the characters that the tree has, and the host that last used the deepest of them. */
  match(pieces: readonly PathPiece[]): { readonly share: number; readonly host: number | null } {
    let node = this.#root;
    let [matched, total] = [0, 0];
    for (const { tokens } of pieces) total += tokens * CHARS_PER_TOKEN;
    for (const { id } of pieces) {
      const next = node.children.get(id);
      if (next === undefined) break;
      matched += next.chars;
      node = next;
    }
    return { share: total === 0 ? 0 : matched / total, host: lastUser(node) };
  }

  insert(pieces: readonly PathPiece[], host: number): void {
    this.#insertions += 1;
    let node = this.#root;
    node.used.set(host, this.#insertions);
    for (const { id, tokens } of pieces) {
      let next = node.children.get(id);
      if (next === undefined) {
        next = { parent: node, id, chars: tokens * CHARS_PER_TOKEN, children: new Map(), used: new Map() };
        node.children.set(id, next);
      }
      if (!next.used.has(host)) this.#grow(host, next.chars);
      // Taken out first, so that the map's last entry is the last user.
      next.used.delete(host);
      next.used.set(host, this.#insertions);
      node = next;
    }
  }

  /** Characters that a host has in the tree. */
  sizeOf(host: number): number {
    return this.#sizes.get(host) ?? 0;
  }

  /** Cuts each host's part to so many characters, least recently used leaves first. */
  evict(charsMax: number): void {
    for (const [host, size] of this.#sizes) if (size > charsMax) this.#evictOf(host, charsMax);
  }

  #evictOf(host: number, charsMax: number): void {
    const leaves = new EventQueue<Node>();
    const queue = [this.#root];
    for (const node of queue) {
      const before = queue.length;
      for (const child of node.children.values()) if (child.used.has(host)) queue.push(child);
      if (queue.length === before) leaves.push(node.used.get(host) ?? 0, node);
    }
    for (let leaf = leaves.pop(); leaf !== undefined && this.sizeOf(host) > charsMax; leaf = leaves.pop()) {
      const { parent } = leaf;
      if (parent === null) return;
      leaf.used.delete(host);
      this.#grow(host, -leaf.chars);
      if (leaf.used.size === 0) parent.children.delete(leaf.id);
      const isLeafNow = ![...parent.children.values()].some((child) => child.used.has(host));
      if (isLeafNow) leaves.push(parent.used.get(host) ?? 0, parent);
    }
  }

  #grow(host: number, chars: number): void {
    this.#sizes.set(host, this.sizeOf(host) + chars);
  }
}

function lastUser({ used }: Node): number | null {
  let last: number | null = null;
  for (const host of used.keys()) last = host;
  return last;
}
