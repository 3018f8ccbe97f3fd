/**
 * A driver: our code that speaks to one engine. Drivers are siblings (same file shape, one conformance suite in
 * test/conformance/driver.ts): `embedded`, `openai`, `replay`. A driver knows one host and nothing of jobs or lanes.
 */
import type { AttemptUsage, RolloutResult, Sampling, SegmentId } from "../../services/queue/job.ts";
import type { HostFacts } from "../../services/link/link.ts";

export interface SampleRequest {
  readonly prompt: string;
  /** Problem id and sample number: what the replay engine finds its record by. */
  readonly problem: string;
  readonly sample: number;
  readonly seed: number;
  readonly sampling: Sampling;
  /** Pieces of the prompt after the rendered prompt of the problem; absent or 0: `prompt` is that rendered prompt. */
  readonly depth?: number;
  /** Content address of the whole prompt: how step-level records are matched by the replay engine. */
  readonly prefix?: SegmentId;
  /** Told what is known of the usage while it grows, so that an aborted rollout is not of unknown cost. */
  readonly onUsage?: (usage: AttemptUsage) => void;
}

export interface SampleAnswer {
  readonly result: RolloutResult;
  readonly usage: AttemptUsage;
}

/** The probability that `positive` rather than `negative` follows the prompt: P(+) / (P(+) + P(-)). */
export interface ScoreRequest {
  readonly prompt: string;
  readonly positive: string;
  readonly negative: string;
}

export interface ScoreAnswer {
  /** In [0, 1]. */
  readonly score: number;
  readonly usage: AttemptUsage;
}

/**
 * Every call that leaves the process takes a signal; an abort stops the work on the host too, and rejects with
 * the signal's reason. Failures are CoppiceError: `unavailable`, `resource_exhausted` and `deadline_exceeded` will be
 * retried by the lane, every other code fails the ask at once. Messages name the host's address.
 */
export interface Driver {
  readonly engine: string;
  /** Finds out what the host is: health, model, concurrency, KV capacity, whether cached tokens are reported. */
  probe(signal: AbortSignal): Promise<Omit<HostFacts, "id" | "engine">>;
  /** One rollout. Called concurrently, at most `concurrency` at once. */
  sample(request: SampleRequest, signal: AbortSignal): Promise<SampleAnswer>;
  /** Rejects with "unimplemented" where `canScore` is false. */
  score(request: ScoreRequest, signal: AbortSignal): Promise<ScoreAnswer>;
  close(): Promise<void>;
}
