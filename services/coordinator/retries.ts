/** What becomes of an ask that failed: asked again at another host, as its class of failure says, or lost; and what watchers hear of it. */
import { retryRule, WORKERS_LOST_MAX } from "../queue/failure-classes.ts";
import type { Report } from "../queue/job.ts";
import type { OpenAsk } from "./backlog.ts";
import type { TaskRun } from "./task-run.ts";

export interface RetriesOptions {
  /** Sends it to a host at which it has not failed yet. @returns Whether there is one. */
  readonly send: (task: TaskRun, open: OpenAsk) => boolean;
  readonly notice: (message: string) => void;
}

export class Retries {
  readonly #options: RetriesOptions;
  readonly #lost = new Map<string, number>();
  readonly #retried = new Map<string, number>();

  constructor(options: RetriesOptions) {
    this.#options = options;
  }

  /** A host gave an ask up. @returns Whether another host has it now; then nothing is to be settled. */
  isElsewhere(task: TaskRun, open: OpenAsk, { result, host }: Report): boolean {
    if (result.kind !== "failure" || open.isWithdrawn || open.isHedge) return false;
    const { reason } = result;
    const { hosts } = retryRule(reason);
    if (host !== null && hosts > 1) {
      const failedAt = [...(open.failedAt ?? []), host];
      open.failedAt = failedAt;
      if (failedAt.length < hosts && this.#options.send(task, open)) {
        this.#count(this.#retried, reason, {
          what: "asked again elsewhere after",
          message: `${host}: ${result.message}`,
        });
        return true;
      }
    }
    this.lost(reason, result.message);
    return false;
  }

  /** @param reason Its class of failure. */
  lost(reason: string, message: string): void {
    this.#count(this.#lost, reason, { what: "lost to", message });
  }

  /** The worker that may have held it was not heard of any more. @returns Whether it is set aside: it may be what they died of. */
  isPoison(open: OpenAsk): boolean {
    open.workersLost = (open.workersLost ?? 0) + 1;
    return open.workersLost >= WORKERS_LOST_MAX;
  }

  /** The first, the tenth, the hundredth of a class is told: what happens often is not told often. */
  #count(
    counts: Map<string, number>,
    reason: string,
    { what, message }: { readonly what: string; readonly message: string },
  ): void {
    const count = (counts.get(reason) ?? 0) + 1;
    counts.set(reason, count);
    if (!Number.isInteger(Math.log10(count))) return;
    this.#options.notice(`${what} ${reason} (${count} so far): ${message}`);
  }
}
