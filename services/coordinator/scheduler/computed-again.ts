/**
 * What hosts compute again because trees or asks go elsewhere than where their prefixes lie: so much of all that they compute, and no
 * more, whatever time it would save. Pure.
 */
import type { Candidate } from "./placement.ts";
import type { NodeRef, PrefixTree } from "./prefix-tree.ts";

export interface ComputedAgainLimits {
  /** Prompt tokens that may be computed again so that no host has less to do than others, as a share of all that were computed. */
  readonly computedAgainMax: number;
}

/** So many tokens may be computed again in any case: before anything was answered there is nothing to be a share of. */
const ALWAYS_TOKENS = 2_048;

/** Asks that might go elsewhere: how many, and the path of the one that goes next. */
export interface Leaving {
  readonly node: NodeRef;
  readonly asks: number;
}

export class ComputedAgain {
  readonly #limits: ComputedAgainLimits;
  readonly #prefixes: PrefixTree;
  #computedTokens = 0;
  #againTokens = 0;

  constructor(limits: ComputedAgainLimits, prefixes: PrefixTree) {
    this.#limits = limits;
    this.#prefixes = prefixes;
  }

  /** A host computed so much of a prompt. */
  computed(tokens: number): void {
    this.#computedTokens += tokens;
  }

  /** So much that another host holds is computed again. */
  again(tokens: number): void {
    this.#againTokens += tokens;
  }

  may(tokens: number): boolean {
    const most = Math.max(ALWAYS_TOKENS, this.#limits.computedAgainMax * this.#computedTokens);
    return tokens <= 0 || this.#againTokens + tokens <= most;
  }

  /** Tokens that would be computed again here: of the first path, and for each further ask as many as its last piece has. */
  tokensOf(here: Candidate, there: Candidate, { node, asks }: Leaving): number {
    const again = there.cachedTokens - here.cachedTokens;
    return again <= 0 ? 0 : again + (asks - 1) * this.#prefixes.lastTokens(node);
  }
}
