/**
 * A driver: our code that speaks to one engine. Drivers are siblings (same file shape, one conformance suite in
 * test/conformance/driver.ts): `embedded`, `openai`, `replay`. A driver knows one host and nothing of jobs or lanes.
 */
import type {
  AttemptUsage,
  PromptPiece,
  RolloutResult,
  Sampling,
  SegmentId,
} from "../../services/queue/job.ts";
import type { HostFacts } from "../../services/link/link.ts";

export interface SampleRequest {
  /**
   * The prompt. A piece that has token ids is given to the engine as these where it takes token ids (`promptInTokens` of
   * prompt.ts); elsewhere the texts are joined.
   */
  readonly pieces: readonly PromptPiece[];
  /** Problem id and sample number: what the replay engine finds its record by. */
  readonly problem: string;
  readonly sample: number;
  readonly seed: number;
  readonly sampling: Sampling;
  /** Pieces behind the rendered prompt of the problem; absent or 0: the prompt is that rendered prompt. */
  readonly depth?: number;
  /** Content address of the whole prompt: how step-level records are matched by the replay engine. */
  readonly prefix?: SegmentId;
  /** Less goes first, on a host that runs what it holds by priority. Absent: 0. */
  readonly priority?: number;
  /** Told what is known of the usage while it grows, so that an aborted rollout is not of unknown cost. */
  readonly onUsage?: (usage: AttemptUsage) => void;
  /** Told once that the host has the first token: from now on the prompt is in its cache. */
  readonly onFirstToken?: () => void;
}

/** Told while an ask is answered: see `SampleRequest`. */
export type Progress = Required<Pick<SampleRequest, "onUsage" | "onFirstToken">>;

export interface SampleAnswer {
  readonly result: RolloutResult;
  readonly usage: AttemptUsage;
}

/** The probability that `positive` rather than `negative` follows the prompt: P(+) / (P(+) + P(-)). */
export interface ScoreRequest {
  readonly pieces: readonly PromptPiece[];
  readonly positive: string;
  readonly negative: string;
  /** Told what it uses at most, as soon as that is known, so that an aborted one is not of unknown cost. */
  readonly onUsage?: (usage: AttemptUsage) => void;
}

export interface ScoreAnswer {
  /** In [0, 1]. */
  readonly score: number;
  readonly usage: AttemptUsage;
}

/** How likely the model finds a given text behind a prompt. */
export interface LikelihoodRequest {
  readonly pieces: readonly PromptPiece[];
  readonly continuation: PromptPiece;
}

export interface LikelihoodAnswer {
  /** The mean natural log-probability of the continuation's tokens; at most 0. */
  readonly meanLogprob: number;
  /** Of the whole text as prompt; nothing is completed. */
  readonly usage: AttemptUsage;
}

/** What a reward model says of a text: of all of it, or of each step that it marks. */
export interface RewardRequest {
  readonly input: string;
  readonly over: "text" | "steps";
}

export interface RewardAnswer {
  /** One row for the text, or one for each step in order: the model's labels' values, as it gives them. At least one each. */
  readonly rows: readonly (readonly number[])[];
  readonly usage: AttemptUsage;
}

/** What an engine says of itself. null is unknown (I8). Counters count from the engine's start, or from the driver's. */
export interface EngineSignals {
  /** Sequences that it decodes, and those that wait in it; of other clients too. */
  readonly running: number | null;
  readonly waiting: number | null;
  /** Share of the KV cache in use, from 0 to 1. */
  readonly kvUsage: number | null;
  readonly preemptions: number | null;
  /** Requests that this driver saw refused for want of room (429, 503). */
  readonly refusals: number;
  /** Prompt tokens that it computed, and that it took from its cache. */
  readonly promptTokensComputed: number | null;
  readonly promptTokensCached: number | null;
  /** How often it dropped its whole cache, as far as the driver was told. */
  readonly cacheClears: number;
}

/** What a probe finds of a host. */
export type ProbedFacts = Omit<HostFacts, "id" | "engine" | "gpus">;

/**
 * Every call that leaves the process takes a signal; an abort stops the work on the host too, and rejects with
 * the signal's reason. Failures are CoppiceError: `unavailable`, `resource_exhausted` and `deadline_exceeded` will be
 * retried by the lane, every other code fails the ask at once. Messages name the host's address.
 */
export interface Driver {
  readonly engine: string;
  /** Finds out what the host is: health, model, concurrency, KV capacity, whether cached tokens are reported. */
  probe(signal: AbortSignal): Promise<ProbedFacts>;
  /**
   * How the engine is doing now; null where it does not say. Costs it no inference. Rejects with "unavailable" or
   * "deadline_exceeded" where nobody answers.
   */
  signals(signal: AbortSignal): Promise<EngineSignals | null>;
  /**
   * One rollout. Called concurrently, at most `concurrency` at once. Rejects with "invalid_argument" for a decoding option
   * that its host does not have (`refuseInability` of ability.ts), never leaves one out.
   */
  sample(request: SampleRequest, signal: AbortSignal): Promise<SampleAnswer>;
  /** Rejects with "unimplemented" unless its host can `score`. */
  score(request: ScoreRequest, signal: AbortSignal): Promise<ScoreAnswer>;
  /** Rejects with "unimplemented" unless its host can tell the `likelihood` of a text. */
  likelihood(request: LikelihoodRequest, signal: AbortSignal): Promise<LikelihoodAnswer>;
  /** Rejects with "unimplemented" unless its host serves a `reward` model. */
  reward(request: RewardRequest, signal: AbortSignal): Promise<RewardAnswer>;
  close(): Promise<void>;
}
