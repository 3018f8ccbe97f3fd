/** The open files of a run that is being worked on: lock, journal, rows, metrics, decisions. Opened together, closed together. */
import { join } from "node:path";
import type { Disk } from "../runtime/disk.ts";
import type { Log } from "../runtime/log.ts";
import { messageOf } from "../runtime/errors.ts";
import { AppendFile } from "./append-file.ts";
import type { Journal } from "./journal.ts";
import type { Past } from "./past.ts";
import { openHistory } from "./run-history.ts";
import { hashRunProblems, replaceFile, Rows, RUN_FILES } from "./run-directory.ts";
import { type HeldRun, type LockOptions, lockRunDirectory, type RunLock } from "./run-lock.ts";
import type { Summary, SweepStatus } from "./status.ts";
import type { CurvePoint } from "./sweep-status.ts";
import type { Sweep } from "./sweep.ts";

export interface RunFilesOptions {
  readonly log: Log;
  readonly disk: Disk;
  /** `lockRunDirectory` by default. */
  readonly lock?: RunLock | undefined;
  /** Of the lock. */
  readonly lockOptions?: LockOptions;
  /** A new `resolved.yaml`, of a sweep that was changed. */
  readonly resolved?: string | undefined;
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
  readonly #held: HeldRun;
  readonly #disk: Disk;
  readonly #log: Log;

  private constructor(options: {
    readonly directory: string;
    readonly journal: Journal;
    readonly rows: Rows;
    readonly problems: number;
    readonly metrics: AppendFile;
    readonly decisions: AppendFile;
    readonly held: HeldRun;
    readonly disk: Disk;
    readonly log: Log;
  }) {
    this.journal = options.journal;
    this.rows = options.rows;
    this.problems = options.problems;
    this.decisions = options.decisions;
    this.#directory = options.directory;
    this.#metrics = options.metrics;
    this.#held = options.held;
    this.#disk = options.disk;
    this.#log = options.log;
  }

  /**
   * Locks the run directory, reads its journal, and cuts its rows to what the journal vouches for.
   * @throws not_found, data_loss, or failed_precondition for a run that is locked or that searches differently.
   */
  static async open(
    sweep: Sweep,
    { log, disk, lock = lockRunDirectory, lockOptions = {}, resolved }: RunFilesOptions,
  ): Promise<{ readonly files: RunFiles; readonly past: Past }> {
    const directory = sweep.output;
    const problems = await hashRunProblems(directory, disk);
    const held = await lock(directory, lockOptions);
    try {
      const history = await openHistory(sweep, { problems, generation: held.generation, resolved, disk });
      const { journal, past, tornBytes } = history;
      if (tornBytes > 0) log.warn({ output: directory, bytes: tornBytes }, "journal_tail_cut");
      const rows = await Rows.open(directory, past, {
        disk,
        isFenced: !held.isAlone,
        confirm: () => journal.confirm(),
      });
      if (!held.isAlone) await held.madeOwn();
      const metrics = await AppendFile.open(join(directory, RUN_FILES.metrics), { endsLine: true, disk });
      const decisions = await AppendFile.open(join(directory, RUN_FILES.decisions), { endsLine: true, disk });
      const files = new RunFiles({
        directory,
        journal,
        rows,
        problems: problems.count,
        metrics,
        decisions,
        held,
        disk,
        log,
      });
      return { files, past };
    } catch (error) {
      await held.release();
      throw error;
    }
  }

  /** A line of `metrics.jsonl`. Losing one harms nobody, so it is only logged. */
  async appendMetrics(atMs: number, status: SweepStatus & CurvePoint): Promise<void> {
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
    await this.#held.release();
  }
}
