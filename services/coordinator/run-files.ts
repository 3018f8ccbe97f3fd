/** The open files of a run that is being worked on: lock, journal, rows, metrics, decisions. Opened together, closed together. */
import { join } from "node:path";
import type { Disk } from "../runtime/disk.ts";
import type { Log } from "../runtime/log.ts";
import { messageOf } from "../runtime/errors.ts";
import { AppendFile } from "./append-file.ts";
import { Journal } from "./journal.ts";
import { checkHeader } from "./journal-entry.ts";
import { headerOf, Past } from "./past.ts";
import { hashRunProblems, replaceFile, Rows, RUN_FILES } from "./run-directory.ts";
import { lockRunDirectory } from "./run-lock.ts";
import type { Summary, SweepStatus } from "./status.ts";
import type { Sweep } from "./sweep.ts";

/** Takes a run directory for this process. @returns What to call to give it back. */
export type RunLock = (directory: string) => Promise<() => Promise<void>>;

export interface RunFilesOptions {
  readonly log: Log;
  readonly disk: Disk;
  /** `lockRunDirectory` by default. */
  readonly lock?: RunLock | undefined;
}

export class RunFiles {
  readonly journal: Journal;
  readonly rows: Rows;
  /** Number of problems in the run. */
  readonly problems: number;
  /** `decisions.jsonl`; written by the run's `DecisionLog`. */
  readonly decisions: AppendFile;
  readonly #directory: string;
  readonly #metrics: AppendFile;
  readonly #unlock: () => Promise<void>;
  readonly #disk: Disk;
  readonly #log: Log;

  private constructor(options: {
    readonly directory: string;
    readonly journal: Journal;
    readonly rows: Rows;
    readonly problems: number;
    readonly metrics: AppendFile;
    readonly decisions: AppendFile;
    readonly unlock: () => Promise<void>;
    readonly disk: Disk;
    readonly log: Log;
  }) {
    this.journal = options.journal;
    this.rows = options.rows;
    this.problems = options.problems;
    this.decisions = options.decisions;
    this.#directory = options.directory;
    this.#metrics = options.metrics;
    this.#unlock = options.unlock;
    this.#disk = options.disk;
    this.#log = options.log;
  }

  /**
   * Locks the run directory, reads its journal, and cuts its rows to what the journal vouches for.
   * @throws not_found, data_loss, or failed_precondition for a run that is locked or that searches differently.
   */
  static async open(
    sweep: Sweep,
    { log, disk, lock = lockRunDirectory }: RunFilesOptions,
  ): Promise<{ readonly files: RunFiles; readonly past: Past }> {
    const directory = sweep.output;
    const problems = await hashRunProblems(directory, disk);
    const unlock = await lock(directory);
    try {
      const past = new Past(sweep);
      const reopened = await Journal.reopen(
        join(directory, RUN_FILES.journal),
        (entry) => past.visit(entry),
        disk,
      );
      const { journal, header, tornBytes } = reopened;
      checkHeader(headerOf(sweep, problems), header, directory);
      if (tornBytes > 0) log.warn({ output: directory, bytes: tornBytes }, "journal_tail_cut");
      const rows = await Rows.open(directory, past, disk);
      const metrics = await AppendFile.open(join(directory, RUN_FILES.metrics), { endsLine: true, disk });
      const decisions = await AppendFile.open(join(directory, RUN_FILES.decisions), { endsLine: true, disk });
      const files = new RunFiles({
        directory,
        journal,
        rows,
        problems: problems.count,
        metrics,
        decisions,
        unlock,
        disk,
        log,
      });
      return { files, past };
    } catch (error) {
      await unlock();
      throw error;
    }
  }

  /** A line of `metrics.jsonl`. Losing one harms nobody, so it is only logged. */
  async appendMetrics(atMs: number, status: SweepStatus): Promise<void> {
    try {
      await this.#metrics.append(`${JSON.stringify({ at_ms: atMs, ...status })}\n`);
    } catch (error) {
      this.#log.warn({ output: this.#directory, error: messageOf(error) }, "metrics_not_written");
    }
  }

  writeSummary(summary: Summary): Promise<void> {
    return replaceFile(
      join(this.#directory, RUN_FILES.summary),
      `${JSON.stringify(summary, null, 2)}\n`,
      this.#disk,
    );
  }

  /** Waits for what was appended, then lets go of everything. */
  async close(): Promise<void> {
    const { journal, rows, decisions } = this;
    await Promise.allSettled([journal, rows, decisions, this.#metrics].map((file) => file.close()));
    await this.#unlock();
  }
}
