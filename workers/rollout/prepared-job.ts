/** From a job to what answers each of its asks, once the texts that they name are fetched. */
import {
  type AttemptUsage,
  type Job,
  NO_TOKENS,
  type Report,
  type RolloutJob,
  type VerificationJob,
} from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { SegmentCache } from "../segment-cache.ts";
import type { Driver, Progress } from "./driver.ts";
import { createJudge } from "./inference/create-judge.ts";
import { sharedPath } from "./inference/shared-path.ts";
import { type PromptPath, promptPath } from "./prompt-path.ts";

export interface Answered {
  readonly result: Report["result"];
  readonly usage: AttemptUsage;
}

export interface PreparedAsk {
  /** What its prompt has in common with those of others. */
  readonly path: PromptPath;
  answer(progress: Progress, signal: AbortSignal): Promise<Answered>;
}

/** By the id of an ask of the job. */
export type PreparedJob = (ask: string) => PreparedAsk;

export interface PreparationParts {
  readonly segments: SegmentCache;
  readonly driver: Driver;
}

/**
 * Rejects as the segment cache does, and with "invalid_argument" for a verifier that no host can run.
 */
export function prepareJob(job: Job, parts: PreparationParts, signal: AbortSignal): Promise<PreparedJob> {
  return job.kind === "rollout"
    ? prepareRollouts(job, parts, signal)
    : prepareVerifications(job, parts, signal);
}

/** Of a job whose texts cannot be had: every ask fails alike, and has cost nothing. */
export function failedJob(reason: string, message: string): PreparedJob {
  const answered: Answered = { result: { kind: "failure", reason, message }, usage: NO_TOKENS };
  return () => ({ path: [], answer: async () => answered });
}

async function prepareRollouts(
  job: RolloutJob,
  { segments, driver }: PreparationParts,
  signal: AbortSignal,
): Promise<PreparedJob> {
  const pieces = await segments.piecesOf(job.prefix, signal);
  const path = promptPath(job.prefix, pieces);
  const asks = new Map(job.asks.map((ask) => [ask.id, ask]));
  const shared = {
    pieces,
    prefix: job.prefix.at(-1) ?? "",
    problem: job.problem,
    sampling: job.sampling,
    depth: job.depth,
    ...(job.priority === undefined ? {} : { priority: job.priority }),
  };
  return (id) => {
    const ask = asks.get(id);
    if (ask === undefined) throw noSuchAsk(job, id);
    const { sample, seed } = ask;
    return {
      path,
      answer: (progress, askSignal) => driver.sample({ ...shared, sample, seed, ...progress }, askSignal),
    };
  };
}

async function prepareVerifications(
  job: VerificationJob,
  { segments, driver }: PreparationParts,
  signal: AbortSignal,
): Promise<PreparedJob> {
  const [spec, problem] = await Promise.all([
    segments.textOf([job.verifier], signal),
    segments.textOf([job.problemData], signal),
  ]);
  const judge = createJudge({ spec, problem, driver });
  const asks = new Map(
    await Promise.all(
      job.asks.map(async ({ id, candidate, seed }): Promise<readonly [string, PreparedAsk]> => {
        const path = await segments.piecesOf(candidate, signal);
        const prepared: PreparedAsk = {
          path: sharedPath(judge.spec, promptPath(candidate, path)),
          answer: (progress, askSignal) => judge({ path, seed }, askSignal, progress),
        };
        return [id, prepared];
      }),
    ),
  );
  return (id) => {
    const prepared = asks.get(id);
    if (prepared === undefined) throw noSuchAsk(job, id);
    return prepared;
  };
}

function noSuchAsk(job: Job, ask: string): CoppiceError {
  return new CoppiceError("internal", `job ${job.id} has no ask ${ask}`);
}
