/** How many tokens the prompts of one task can be at most: what hosts have counted, and bytes behind that. */
import type { AttemptUsage } from "../queue/job.ts";
import { JOINT_TOKENS_MAX, SPECIAL_TOKENS_MAX, textTokensMax } from "../queue/token-bound.ts";
import type { Prefix } from "../search/program.ts";

export class PromptBound {
  readonly #counted = new Map<Prefix, number>();
  readonly #sampled = new Map<Prefix, number>();
  readonly #bytes = new Map<Prefix, number>();

  /** A rollout behind `prefix` came to `continued`. */
  saw(prefix: Prefix, { promptTokens, completionTokens }: AttemptUsage, continued: Prefix): void {
    if (promptTokens !== null) this.counted(prefix, promptTokens);
    if (completionTokens !== null) this.sampled(continued, completionTokens);
  }

  /** A host was given this prompt and counted so many tokens in it. */
  counted(prefix: Prefix, tokens: number): void {
    this.#counted.set(prefix, Math.max(tokens, this.#counted.get(prefix) ?? 0));
  }

  /** The last piece of this path was sampled as so many tokens. */
  sampled(prefix: Prefix, tokens: number): void {
    this.#sampled.set(prefix, Math.max(tokens, this.#sampled.get(prefix) ?? 0));
  }

  /**
   * At least the tokens of the path at any host of its model, what engines put before and behind a prompt included. Prompts
   * that a host counted are compared by that count: another engine may put other special tokens there.
   */
  of(prefix: Prefix): number {
    let behind = 0;
    for (let node: Prefix | null = prefix; node !== null; node = node.parent) {
      const counted = this.#counted.get(node);
      if (counted !== undefined) return counted + behind + SPECIAL_TOKENS_MAX;
      behind += this.#pieceOf(node);
      if (node.parent !== null) behind += JOINT_TOKENS_MAX;
    }
    return behind + SPECIAL_TOKENS_MAX;
  }

  #pieceOf(node: Prefix): number {
    let bytes = this.#bytes.get(node);
    if (bytes === undefined) this.#bytes.set(node, (bytes = textTokensMax(node.text)));
    return Math.max(bytes, this.#sampled.get(node) ?? 0);
  }
}
