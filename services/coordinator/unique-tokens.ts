/** Tokens of one task's paths, as hosts have counted them. Pure. */
import type { AttemptUsage } from "../queue/job.ts";
import type { Prefix } from "../search/program.ts";
import { addKnown } from "./usage.ts";

export class UniqueTokens {
  readonly #known = new Map<Prefix, number>();
  /**
   * Prompt tokens that no placement could have saved: those which no earlier rollout of this task had put into a
   * cache, and the last of each prompt, which every engine computes again to have its logits. null: a host does not count.
   */
  total: number | null = 0;

  /** Tokens of a path, prompt included; null where no host has counted them. */
  until(prefix: Prefix): number | null {
    return this.#known.get(prefix) ?? null;
  }

  /** A rollout behind `prefix` came to `continued`. */
  count(prefix: Prefix, { promptTokens, completionTokens }: AttemptUsage, continued: Prefix): void {
    if (promptTokens === null || completionTokens === null) {
      this.total = null;
      return;
    }
    const known = this.#known.get(prefix) ?? 0;
    this.total = addKnown(this.total, Math.max(1, promptTokens - known));
    this.#known.set(prefix, Math.max(known, promptTokens));
    if (!this.#known.has(continued)) this.#known.set(continued, promptTokens + completionTokens);
  }
}
