/**
 * What comes back of asks: reports of workers, and jobs that lanes gave back or gave up. An ask is then settled, or asked again here or
 * at another host, or nothing becomes of it because nobody waits.
 *
 * Invariants: I1 (what is being settled is settled by that alone), I3 (an answer is taken only where it is paid for).
 */
import type { FailureClass } from "../queue/failure-classes.ts";
import type { Job, Report } from "../queue/job.ts";
import { CoppiceError } from "../runtime/errors.ts";
import { isOverrun } from "./ask-cost.ts";
import type { OpenAsk } from "./backlog.ts";
import type { Hedges } from "./hedges.ts";
import { entryOf, isAnswerTo, isOutdated } from "./report-entry.ts";
import type { Retries } from "./retries.ts";
import type { RunParts } from "./run-parts.ts";
import type { Settlement } from "./settlement.ts";
import type { TaskDispatch } from "./task-dispatch.ts";
import type { TaskRun } from "./task-run.ts";

export interface ReceptionOptions {
  readonly parts: Pick<RunParts, "dispatcher" | "log">;
  readonly dispatch: TaskDispatch;
  readonly settlement: Settlement;
  readonly retries: Retries;
  readonly hedges: Hedges | null;
  /** Whether the rest of the sweep is settled as it stands: nothing is asked again then. */
  readonly isCutShort: () => boolean;
  /** The task has something to do. */
  readonly stir: (task: TaskRun) => void;
}

export class Reception {
  readonly #options: ReceptionOptions;

  constructor(options: ReceptionOptions) {
    this.#options = options;
  }

  /** A report of a worker. Resolves once it needs no sending again. */
  accept(task: TaskRun, report: Report): Promise<void> {
    const { parts, dispatch, settlement, hedges, retries, isCutShort, stir } = this.#options;
    const asked = task.asks.get(report.ask);
    if (asked?.accepting === null && !isAnswerTo(asked.ask, report.result)) {
      const found = `task ${report.task}, ask ${report.ask}: expected the answer to a ${asked.ask.kind}, found a ${report.result.kind}`;
      return Promise.reject(new CoppiceError("invalid_argument", `${found} from worker ${report.worker}`));
    }
    const isAnswer = report.result.kind === "rollout";
    const open = settlement.addressee(task, { job: report.job, ask: report.ask, isAnswer });
    if (open === undefined) return Promise.resolve();
    if (open.accepting !== null) return open.accepting;
    if (isOutdated(report, open)) return Promise.resolve();
    // Sent by an attempt before this one, and not by this one yet, it is paid for now.
    if (!dispatch.reserve(task, open)) return Promise.resolve();
    hedges?.answered(task, open);
    if (!isCutShort() && retries.isElsewhere(task, open, report)) {
      open.effort.wasted(report.usage.completionTokens);
      return Promise.resolve();
    }
    dispatch.answered(task, open, report);
    if (report.attempt > 1) open.effort.wasted(null);
    if (report.result.kind === "cancelled" && !open.isWithdrawn) {
      // A worker gave an ask back that is still wanted: it drains.
      this.#comeBack(task, open, report.usage.completionTokens);
      stir(task);
      return Promise.resolve();
    }
    if (isOverrun(open, report.usage)) parts.log.warn({ ...report, result: null }, "host_overran");
    open.accepting = settlement.settle(task, open, entryOf(report, open, task.prices));
    return open.accepting;
  }

  /** A lane gave asks back. @param isLost Whether nobody knows what became of who may have held them. */
  returned(
    task: TaskRun,
    job: Job,
    { asks, isLost }: { readonly asks: readonly string[]; readonly isLost: boolean },
  ): void {
    for (const open of this.#stillOpen(task, job, asks)) {
      if (isLost && this.#options.retries.isPoison(open)) {
        const why = `job ${job.id}: ${open.workersLost} workers or hosts died with it`;
        this.#lose(task, open, "killed_workers", why);
      } else this.#comeBack(task, open, null);
    }
    this.#options.stir(task);
  }

  /** A lane lost the job again and again. */
  givenUp(
    task: TaskRun,
    job: Job,
    { asks, why }: { readonly asks: readonly string[]; readonly why: string },
  ): void {
    for (const open of this.#stillOpen(task, job, asks))
      this.#lose(task, open, "lane_lost", `job ${job.id}: ${why}`);
  }

  /** Those of the asks that somebody waits for; those that were withdrawn have stopped. */
  *#stillOpen(task: TaskRun, job: Job, asks: readonly string[]): Generator<OpenAsk> {
    const { settlement } = this.#options;
    for (const ask of asks) {
      const open = settlement.addressee(task, { job: job.id, ask, isAnswer: false });
      if (open === undefined || open.accepting !== null) continue;
      if (open.isWithdrawn) settlement.assumeStopped(task, open);
      else yield open;
    }
  }

  #lose(task: TaskRun, open: OpenAsk, failure: FailureClass, message: string): void {
    const { retries, settlement } = this.#options;
    retries.lost(failure, message);
    settlement.lose(task, open, { reason: "lost", message: `${failure}: ${message}` }, failure);
  }

  /** The ask is asked again; the try that is over had generated so many tokens, as far as anybody knows. */
  #comeBack(task: TaskRun, open: OpenAsk, tokens: number | null): void {
    const { parts, dispatch } = this.#options;
    open.effort.ended(parts.dispatcher.gpus);
    if (open.ask.kind === "sample") open.effort.wasted(tokens);
    dispatch.cameBack(task, open);
  }
}
