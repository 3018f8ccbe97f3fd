/** What the asks of one task have used, and what they were charged. */
import type { AttemptUsage } from "../queue/job.ts";
import { type Amount, NOTHING, sumOf } from "./amount.ts";
import type { AnswerEntry, LossEntry, SpentEntry } from "./journal-entry.ts";
import type { Usage } from "./status.ts";
import { addKnown, addUsage, flopsOf, NO_USAGE } from "./usage.ts";

export class TaskUsage {
  readonly #modelParameters: number | null;
  #usage: Usage;
  #charged: Amount = NOTHING;

  constructor({
    modelParameters,
    isReopened,
  }: {
    /** Of the sweep's model. */
    readonly modelParameters: number | null;
    /** An earlier attempt at the run opened the task, and nobody can say what was in flight when that ended. */
    readonly isReopened: boolean;
  }) {
    this.#modelParameters = modelParameters;
    this.#usage = isReopened
      ? { ...NO_USAGE, retried_tokens: null, gpu_seconds: null, flops: null }
      : NO_USAGE;
  }

  get read(): Usage {
    return this.#usage;
  }

  get charged(): Amount {
    return this.#charged;
  }

  /** What counts whatever becomes of an ask; once for each entry. @param model That judged it; null: the sweep's. */
  settled(entry: AnswerEntry | LossEntry | SpentEntry, model: string | null): void {
    const { usage, charge, gpuMs = 0, retriedTokens = 0 } = entry;
    this.#charged = sumOf(this.#charged, charge);
    const flops = flopsOf(usage, model === null ? this.#modelParameters : null);
    this.#usage = addUsage(this.#usage, {
      ...NO_USAGE,
      retried_tokens: retriedTokens,
      gpu_seconds: gpuMs / 1_000,
      // Of tries that were in vain nobody knows what they had computed.
      flops: addKnown(flops, retriedTokens === 0 ? 0 : null),
    });
  }

  /** What became of it: `rolloutUsage`, `cancelledUsage` and so on. */
  add(of: (usage: AttemptUsage) => Usage, { usage }: { readonly usage: AttemptUsage }): void {
    this.#usage = addUsage(this.#usage, of(usage));
  }
}
