/**
 * Writes `decisions.jsonl`: a line for each thing that the scheduler decided about a task, for `coppice explain`. Nothing waits for it
 * and nothing is rebuilt from it: lines gather in memory and go to disk together, and what a crash or a slow disk takes is lost.
 *
 * The file is bounded (I7). `placed`, `moved` and `lent` are all written. Of the groups of asks that a tree sends to its home, the first
 * `sentHead`, then the 32nd, the 64th and so on; each line says how many were left out before it (`skipped`). A task of some hundred
 * rollouts is told whole, one of thousands with a line per doubling. At `bytesMax`, over all attempts, a line says that no more
 * follow.
 */
import type { Clock, Timer } from "../runtime/clock.ts";
import { messageOf } from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";
import type { AppendFile } from "./append-file.ts";
import type { OpenAsk } from "./backlog.ts";
import { decisionRow } from "./decision-row.ts";
import type { Decision } from "./scheduler/decision.ts";

export interface DecisionLogLimits {
  /** Groups of asks of one tree that are all written; a power of two. Of later ones, those whose number is one. */
  readonly sentHead: number;
  /** The file grows no further than this. */
  readonly bytesMax: number;
  /** A line waits in memory for so long at most. */
  readonly flushMs: number;
  /** Characters that may wait for a disk that is slow; what comes then is lost. */
  readonly waitingMax: number;
}

export const DEFAULT_DECISION_LOG_LIMITS: DecisionLogLimits = {
  sentHead: 16,
  bytesMax: 1024 ** 3,
  flushMs: 1_000,
  waitingMax: 4 * 1024 * 1024,
};

/** The asks of one task for hosts of one model. */
export interface DecidedTree {
  readonly task: { readonly id: string };
  readonly needs: { readonly model: string };
}

interface Sends {
  count: number;
  skipped: number;
}

export class DecisionLog {
  readonly #file: AppendFile;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #attempt: number;
  readonly #limits: DecisionLogLimits;
  /** Of the trees that are open. */
  readonly #sends = new WeakMap<DecidedTree, Sends>();
  #lines: string[] = [];
  #waiting = 0;
  #lost = 0;
  #timer: Timer | null = null;
  #flushing: Promise<void> | null = null;
  #isFull: boolean;

  constructor(
    file: AppendFile,
    options: {
      readonly clock: Clock;
      readonly log: Log;
      readonly attempt: number;
      readonly limits?: Partial<DecisionLogLimits> | undefined;
    },
  ) {
    this.#file = file;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#attempt = options.attempt;
    this.#limits = { ...DEFAULT_DECISION_LOG_LIMITS, ...options.limits };
    this.#isFull = file.end >= this.#limits.bytesMax;
  }

  /** @param asks What was sent by it. */
  decided(tree: DecidedTree, decision: Decision, asks: readonly OpenAsk[]): void {
    if (this.#isFull) return;
    const skipped = this.#skipped(tree, decision);
    if (skipped === null) return;
    const row = decisionRow(decision, {
      atMs: this.#clock.nowMs(),
      attempt: this.#attempt,
      task: tree.task.id,
      model: tree.needs.model,
      asks,
      skipped,
    });
    this.#write(`${JSON.stringify(row)}\n`);
  }

  /** Resolves when what was decided so far is on disk, or is lost. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    while (this.#flushing !== null) await this.#flushing;
    if (this.#lines.length === 0) return;
    const text = this.#lines.join("");
    this.#lines = [];
    this.#waiting = 0;
    this.#flushing = this.#append(text).finally(() => (this.#flushing = null));
    await this.#flushing;
  }

  /** @returns Sends that were left out before this decision; null when this one is too. */
  #skipped(tree: DecidedTree, { kind }: Decision): number | null {
    let sends = this.#sends.get(tree);
    if (sends === undefined) this.#sends.set(tree, (sends = { count: 0, skipped: 0 }));
    if (kind === "sent") {
      sends.count += 1;
      if (sends.count > this.#limits.sentHead && !isPowerOfTwo(sends.count)) {
        sends.skipped += 1;
        return null;
      }
    }
    const { skipped } = sends;
    sends.skipped = 0;
    return skipped;
  }

  #write(line: string): void {
    const { bytesMax, flushMs, waitingMax } = this.#limits;
    if (this.#file.end + this.#waiting + line.length > bytesMax) {
      this.#isFull = true;
      const end = { at_ms: this.#clock.nowMs(), attempt: this.#attempt, kind: "full", bytes_max: bytesMax };
      this.#lines.push(`${JSON.stringify(end)}\n`);
    } else if (this.#waiting + line.length > waitingMax) {
      this.#lost += 1;
    } else {
      this.#lines.push(line);
      this.#waiting += line.length;
    }
    this.#timer ??= this.#clock.after(flushMs, () => void this.flush());
  }

  async #append(text: string): Promise<void> {
    try {
      await this.#file.append(text);
    } catch (error) {
      // The file cannot be written any more: trying again and saying so again would help nobody.
      this.#isFull = true;
      this.#log.warn({ output: this.#file.path, error: messageOf(error) }, "decisions_not_written");
    }
    if (this.#lost > 0) this.#log.warn({ output: this.#file.path, decisions: this.#lost }, "decisions_lost");
    this.#lost = 0;
  }
}

function isPowerOfTwo(n: number): boolean {
  return (n & (n - 1)) === 0;
}
