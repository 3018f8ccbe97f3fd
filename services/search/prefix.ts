/**
 * The prefix tree of one search. Equal text under one node is one node, so identity is equality of the path.
 */
import type { AskId, Prefix } from "./program.ts";

/** A new tree that grows from the rendered prompt. Two searches never share a tree. */
export function rootPrefix(text: string): Prefix {
  return new PrefixNode(null, { text, ask: null, depth: 0 });
}

/** The beginning of a path that a program wrote itself. */
export function writtenPrefix(text: string): Prefix {
  return new PrefixNode(null, { text, ask: null, depth: 1 });
}

/**
 * The whole text up to and including this node, root first. O(depth); for hosts and verifiers, not for
 * programs.
 */
export function textOf(prefix: Prefix): string {
  const texts: string[] = [];
  for (let node: Prefix | null = prefix; node !== null; node = node.parent) texts.push(node.text);
  return texts.toReversed().join("");
}

class PrefixNode implements Prefix {
  readonly parent: Prefix | null;
  readonly text: string;
  readonly depth: number;
  #ask: AskId | null;
  #children: Map<string, PrefixNode> | null = null;

  constructor(
    parent: Prefix | null,
    node: { readonly text: string; readonly ask: AskId | null; readonly depth: number },
  ) {
    this.parent = parent;
    this.text = node.text;
    this.depth = node.depth;
    this.#ask = node.ask;
  }

  get ask(): AskId | null {
    return this.#ask;
  }

  extend(text: string, ask: AskId | null = null): Prefix {
    if (text === "") return this;
    this.#children ??= new Map();
    const known = this.#children.get(text);
    if (known === undefined) {
      const child = new PrefixNode(this, { text, ask, depth: this.depth + 1 });
      this.#children.set(text, child);
      return child;
    }
    if (ask !== null && (known.#ask === null || compareAskIds(ask, known.#ask) < 0)) known.#ask = ask;
    return known;
  }
}

/** Order of ids by their numbers, so that "0.3/0" precedes "0.12/0". Negative when `a` is first. */
export function compareAskIds(a: AskId, b: AskId): number {
  const left = a.split(/[./]/u);
  const right = b.split(/[./]/u);
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = Number(left[i]) - Number(right[i]);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
