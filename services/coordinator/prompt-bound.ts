/** How many tokens the prompts of one task can be at most: what hosts have counted, and bytes behind that. */
import type { AttemptUsage } from "../queue/job.ts";
import { JOINT_TOKENS_MAX, SPECIAL_TOKENS_MAX, textTokensMax } from "../queue/token-bound.ts";
import type { Prefix } from "../search/program.ts";

/** What a host may put around a prompt and count in it: a chat template with its own instructions. */
export const TEMPLATE_TOKENS_MAX = 4_096;

export class PromptBound {
  readonly #counted = new Map<Prefix, number>();
  readonly #sampled = new Map<Prefix, number>();
  readonly #bytes = new Map<Prefix, number>();

  /**
   * A rollout behind `prefix` came to `continued`. A host that claims to have made more than `completionMax` is not believed: its
   * word would make every ask behind that rollout dearer than the budget, and end the task with most of it left.
   */
  saw(
    prefix: Prefix,
    { promptTokens, completionTokens }: AttemptUsage,
    { continued, completionMax }: { readonly continued: Prefix; readonly completionMax: number },
  ): void {
    if (promptTokens !== null) this.counted(prefix, promptTokens);
    if (completionTokens !== null) this.sampled(continued, Math.min(completionTokens, completionMax));
  }

  /** A host was given this prompt and counted so many tokens in it. More than text and template can be is not believed. */
  counted(prefix: Prefix, tokens: number): void {
    const believed = Math.min(tokens, this.#textOf(prefix) + TEMPLATE_TOKENS_MAX);
    this.#counted.set(prefix, Math.max(believed, this.#counted.get(prefix) ?? 0));
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

  #textOf(prefix: Prefix): number {
    let tokens = SPECIAL_TOKENS_MAX;
    for (let node: Prefix | null = prefix; node !== null; node = node.parent)
      tokens += this.#pieceOf(node) + JOINT_TOKENS_MAX;
    return tokens;
  }

  #pieceOf(node: Prefix): number {
    let bytes = this.#bytes.get(node);
    if (bytes === undefined) this.#bytes.set(node, (bytes = textTokensMax(node.text)));
    return Math.max(bytes, this.#sampled.get(node) ?? 0);
  }
}
