/**
 * Verifies a run's candidates again, without generating, into a run directory of its own. It appears whole under its name or
 * not at all; the run that is read is never changed.
 *
 * Problems are verified some at a time and written in their order, so memory holds a few problems and the rows are the same
 * whatever the verifiers' speed (I4, I6).
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ProblemData, VerdictResult } from "../../queue/job.ts";
import { type Clock, sleep } from "../../runtime/clock.ts";
import { asCoppiceError, CoppiceError, messageOf } from "../../runtime/errors.ts";
import {
  createRunDirectory,
  exists,
  hashRunProblems,
  readRunProblems,
  replaceFile,
  Rows,
  RUN_FILES,
} from "../run-directory.ts";
import { type ProblemRows, readProblemRows } from "../run-rows/problem-rows.ts";
import { damagedRow, type StoredResult } from "../run-rows/stored-row.ts";
import { candidateText, type StoredTask } from "../run-rows/stored-task.ts";
import { renderPrompt } from "../sweep-file/prompt-template.ts";
import { renderResolved } from "../sweep-file/sweep-resolve.ts";
import { UNLIMITED } from "../amount.ts";
import type { Arm, Sweep } from "../sweep.ts";
import { amountsIn, timesIn } from "../unit-keys.ts";
import type { Summary } from "../status.ts";
import { Totals } from "../tally.ts";
import { AgreementTotals } from "./agreement.ts";
import { type Rescored, rescoreTask, type RescoredTask } from "./rescored-task.ts";

export interface ScoreLimits {
  /** Problems whose candidates are verified at the same time. */
  readonly problemsAtOnce: number;
  /** Candidates of one problem that are verified at the same time. */
  readonly candidatesAtOnce: number;
  /** Tries of a verification that fails for a reason which may pass, and the wait between two of them. */
  readonly attemptsMax: number;
  readonly retryMs: number;
}

export const DEFAULT_SCORE_LIMITS: ScoreLimits = {
  problemsAtOnce: 16,
  candidatesAtOnce: 32,
  attemptsMax: 4,
  retryMs: 1_000,
};

/** What a verifier judges. */
export interface ScoredCandidate {
  readonly prompt: string;
  readonly text: string;
  readonly problem: ProblemData;
}

export interface ScoreParts {
  /** The verifier of `Scoring.sweep`. Rejects as a verifier pool does. */
  readonly verify: (candidate: ScoredCandidate, signal: AbortSignal) => Promise<VerdictResult>;
  readonly clock: Clock;
  /** The program's version. */
  readonly version: string;
  readonly signal: AbortSignal;
  /** Called as candidates are verified. */
  readonly onProgress: (candidates: number) => void;
  readonly limits?: Partial<ScoreLimits>;
}

export interface Scoring {
  /** The run that is read, as its `resolved.yaml` says. */
  readonly before: Sweep;
  /** The same with the verifier that judges now, and its own run directory. */
  readonly after: Sweep;
}

/**
 * @returns The summary that was written.
 * @throws already_exists; data_loss naming file and line of a damaged row; failed_precondition for a run that was killed
 *   between two rows; what the verifier said where trying again cannot mend it; the signal's reason.
 */
export async function scoreRun({ before, after }: Scoring, parts: ScoreParts): Promise<Summary> {
  if (await exists(after.output)) {
    const message = `${after.output}: expected a new run directory, found one that exists; name another with --out`;
    throw new CoppiceError("already_exists", message);
  }
  const { sha256 } = await hashRunProblems(before.output);
  const given = await readFile(join(before.output, RUN_FILES.given), "utf8").catch((error: unknown) => {
    throw new CoppiceError("not_found", `${before.output}: expected a run directory: ${messageOf(error)}`);
  });
  const problems = join(after.output, RUN_FILES.problems);
  const origin = { problems, version: parts.version, problemsSha256: sha256, modules: "by-path" } as const;
  const resolved = renderResolved(after, origin);
  const summaries: Summary[] = [];
  const content = { given, resolved, problems: readRunProblems(before.output) };
  await createRunDirectory(after.output, content, async (partial, { count }) => {
    const scorer = new Scorer({ before, after }, parts);
    const summary = await scorer.run(partial, count * after.arms.length);
    await replaceFile(join(partial, RUN_FILES.summary), `${JSON.stringify(summary, null, 2)}\n`);
    summaries.push(summary);
  });
  const [summary] = summaries;
  if (summary === undefined) throw new Error("a run directory that was created was scored");
  return summary;
}

interface RescoredProblem {
  readonly tasks: readonly { readonly rescored: RescoredTask; readonly candidates: readonly Rescored[] }[];
}

class Scorer {
  readonly #scoring: Scoring;
  readonly #parts: ScoreParts;
  readonly #limits: ScoreLimits;
  readonly #totals: Totals;
  readonly #agreement = new AgreementTotals();
  readonly #arms: ReadonlyMap<string, Arm>;
  #scored = 0;

  constructor(scoring: Scoring, parts: ScoreParts) {
    this.#scoring = scoring;
    this.#parts = parts;
    this.#limits = { ...DEFAULT_SCORE_LIMITS, ...parts.limits };
    this.#totals = new Totals(scoring.after);
    this.#arms = new Map(scoring.after.arms.map((arm) => [arm.id, arm]));
  }

  /** @param total Tasks of the run. */
  async run(directory: string, total: number): Promise<Summary> {
    const { before, after } = this.#scoring;
    const startedMs = this.#parts.clock.monotonicMs();
    const rows = await Rows.open(directory, { rolloutsEnd: 0, resultsEnd: 0 });
    try {
      const read = readProblemRows(before.output, {
        arms: [...this.#arms.keys()],
        signal: this.#parts.signal,
      });
      for await (const { tasks } of inOrder(read, (one) => this.#rescore(one), this.#limits.problemsAtOnce)) {
        await Promise.all(tasks.map(({ rescored }) => rows.append(rescored.rollouts, rescored.result)));
        for (const { rescored, candidates } of tasks) {
          this.#totals.add(rescored.tally);
          if (candidates.length > 0) this.#agreement.add(candidates, rescored);
        }
      }
    } finally {
      await rows.close();
    }
    const wallMs = this.#parts.clock.monotonicMs() - startedMs;
    const { rollouts, usage, settled } = this.#totals;
    const { budget } = before;
    const summary = this.#totals.summary({
      version: this.#parts.version,
      state: settled === total ? "completed" : "interrupted",
      total,
      budget: {
        given: { ...amountsIn(budget), ...timesIn(budget) },
        // What is read again says nothing of prompts that were answered and not kept, or of what the run had paid.
        spent: {
          ...amountsIn({ ...UNLIMITED, rollouts, completionTokens: usage.completion_tokens }),
          ...timesIn({ wallMs: Math.round(wallMs), gpuMs: null }),
        },
      },
      wallMs,
    });
    const names = { run: before.output, before: before.verifier.kind, after: after.verifier.kind };
    return { ...summary, agreement: this.#agreement.read(names) };
  }

  async #rescore({ problem, tasks }: ProblemRows): Promise<RescoredProblem> {
    const prompt = tasks.some(({ rollouts }) => rollouts.length > 0)
      ? renderPrompt(this.#scoring.before.promptTemplate, problem)
      : "";
    const rescored = [];
    for (const task of tasks) {
      const settled = settledTask(task);
      const candidates = await this.#verifyTask(settled, { prompt, problem });
      const arm = this.#arms.get(task.strategy);
      if (arm === undefined) throw new Error(`rows of an unknown arm are refused: ${task.strategy}`);
      const { seed } = this.#scoring.after;
      rescored.push({ rescored: rescoreTask(settled, candidates, { arm, seed }), candidates });
    }
    return { tasks: rescored };
  }

  async #verifyTask(
    task: StoredTask,
    { prompt, problem }: Omit<ScoredCandidate, "text">,
  ): Promise<readonly Rescored[]> {
    const judged = task.rollouts.filter(({ verdict }) => verdict !== null);
    const verdicts = new Map<string, VerdictResult | null>();
    const waiting = judged.values();
    const strand = async (): Promise<void> => {
      for (const rollout of waiting) {
        const candidate = { prompt, text: candidateText(task, rollout), problem };
        verdicts.set(rollout.ask, await this.#verdict(candidate));
        this.#scored += 1;
        this.#parts.onProgress(this.#scored);
      }
    };
    const strands = Math.min(judged.length, this.#limits.candidatesAtOnce);
    await Promise.all(Array.from({ length: strands }, strand));
    return judged.map((rollout) => ({ rollout, verdict: verdicts.get(rollout.ask) ?? null }));
  }

  /** Null where the verifier could not be asked, as often as it was tried: the candidate is then not judged. */
  async #verdict(candidate: ScoredCandidate): Promise<VerdictResult | null> {
    const { verify, clock, signal } = this.#parts;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await verify(candidate, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!asCoppiceError(error).isRetryable) throw error;
        if (attempt >= this.#limits.attemptsMax) return null;
      }
      await sleep(clock, this.#limits.retryMs, signal);
    }
  }
}

/** Rows without a result were written by a run that was killed before they counted. */
function settledTask(task: StoredTask): StoredTask & { readonly result: StoredResult } {
  const { result } = task;
  if (result !== null) return { ...task, result };
  const at = task.rollouts[0]?.at ?? task.id;
  throw damagedRow(
    at,
    `task ${task.id} has rollouts and no result: the run was killed; \`coppice run --resume\` mends it`,
  );
}

/** Works on `atOnce` of what comes at the same time, and yields in the order in which it came. */
async function* inOrder<T, R>(
  source: AsyncIterable<T>,
  work: (one: T) => Promise<R>,
  atOnce: number,
): AsyncGenerator<R> {
  const working: Promise<R>[] = [];
  for await (const one of source) {
    const promise = work(one);
    // What fails is told when its turn comes; until then somebody must hold it.
    promise.catch(() => undefined);
    working.push(promise);
    const first = working.length >= atOnce ? working.shift() : undefined;
    if (first !== undefined) yield await first;
  }
  for (const rest of working) yield await rest;
}
