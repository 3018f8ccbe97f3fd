/** What a task has lost for good, and to what. */
import type { LossEntry } from "./journal-entry.ts";
import type { TaskTally } from "./tally.ts";

export class TaskLosses {
  #count = 0;
  readonly #byReason: Record<string, number> = {};
  #first: string | null = null;

  add({ loss, failure }: LossEntry): void {
    this.#count += 1;
    const why = loss.reason === "budget" ? "budget" : (failure ?? "unknown");
    this.#byReason[why] = (this.#byReason[why] ?? 0) + 1;
    this.#first ??= loss.message;
  }

  /** Of the first one; null: there is none. */
  get message(): string | null {
    return this.#first;
  }

  get tally(): Pick<TaskTally, "losses" | "lossesByReason"> {
    return { losses: this.#count, ...(this.#count === 0 ? {} : { lossesByReason: this.#byReason }) };
  }
}
