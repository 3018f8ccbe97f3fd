/**
 * What travels between the coordinator and the workers: jobs down a lane, reports back up the link.
 * Plain data, JSON-safe (BullMQ stores JSON). Texts do not travel in jobs: a job names segments by id, and a worker
 * fetches those that it does not hold over its link (a prompt travels once per worker, not once per job).
 */

/** Content address of a segment: 32 hex digits of SHA-256 over the parent's id and the segment's own text and token ids. */
export type SegmentId = string;

/** A piece of a prompt: its text and, where it was sampled and the engine gave them, the token ids that it was sampled as. */
export interface PromptPiece {
  readonly text: string;
  /** Exactly the tokens of `text`; absent where nobody knows them, and for text that was written. */
  readonly tokens?: readonly number[];
}

/** A piece of a prefix; the text of a prefix is the concatenation of its segments' texts, root first. */
export interface Segment extends PromptPiece {
  readonly id: SegmentId;
}

/** How one rollout is sampled. Absent options take the engine's default. */
export interface Sampling {
  readonly temperature: number;
  /** 1 is off. */
  readonly topP: number;
  /** 0 is off. */
  readonly topK: number;
  /** 0 is off. */
  readonly minP: number;
  readonly maxTokens: number;
  /** Strings that end the rollout. The one that did is kept at the end of the rollout's text. */
  readonly stop: readonly string[];
  /** Whether the mean log-probability of the sampled tokens is wanted. Absent: no. */
  readonly logprobs?: boolean;
  /** Whether the ids of the sampled tokens are wanted, because the rollout will be continued. Absent: no. */
  readonly tokens?: boolean;
  /** What the text must be. Absent: anything. */
  readonly structure?: Structure;
  /** The engine's own beam search of this width, instead of sampling. Absent: no. */
  readonly beamWidth?: number;
}

/** A form that an engine holds a text to while it decodes. */
export type Structure =
  | { readonly kind: "json-schema"; readonly schema: Readonly<Record<string, unknown>> }
  | { readonly kind: "regex"; readonly pattern: string }
  /** GBNF for llama.cpp, EBNF for vLLM and SGLang. */
  | { readonly kind: "grammar"; readonly grammar: string };

/**
 * What a host may be able to do beside sampling. `score`: the probability of one next token against another. `likelihood`:
 * the log-probability of a given text. `reward`: the score of a reward model. `logprobs`, `tokens`: says them of what it
 * samples. `beam-search`, `json-schema`, `regex`, `grammar`: the options of that name.
 */
export const ABILITIES = [
  "score",
  "likelihood",
  "reward",
  "logprobs",
  "tokens",
  "beam-search",
  "json-schema",
  "regex",
  "grammar",
] as const;
export type Ability = (typeof ABILITIES)[number];

export function isAbility(name: string): name is Ability {
  return (ABILITIES as readonly string[]).includes(name);
}

/** What a host must be able to do for this sampling. Token ids are welcome, never necessary: text stands in for them. */
export function abilitiesFor(sampling: Sampling): readonly Ability[] {
  return [
    ...(sampling.logprobs === true ? (["logprobs"] as const) : []),
    ...(sampling.structure === undefined ? [] : [sampling.structure.kind]),
    ...(sampling.beamWidth === undefined ? [] : (["beam-search"] as const)),
  ];
}

export interface RolloutAsk {
  readonly id: string;
  /** The how-manieth sample of this prefix within the task, from 0: the replay engine's record number. */
  readonly sample: number;
  /** Derived from (sweep seed, task, ask, sample): I4. 31 bits. */
  readonly seed: number;
}

interface JobBase {
  /** Deterministic: adding a job twice is one job. No ":" and not a whole number (BullMQ forbids both). */
  readonly id: string;
  readonly sweep: string;
  readonly task: string;
  /** The id of the task's problem: how records are matched by the replay engine. */
  readonly problem: string;
}

/** Sibling asks: n rollouts of one prefix under one sampling. */
export interface RolloutJob extends JobBase {
  readonly kind: "rollout";
  readonly prefix: readonly SegmentId[];
  /** Pieces behind the rendered prompt; at least 1 where the prefix begins with a prompt that the program wrote. */
  readonly depth: number;
  readonly sampling: Sampling;
  /** Less goes first, on a host that runs what it holds by priority: the age of the task. Absent: 0. */
  readonly priority?: number;
  readonly asks: readonly RolloutAsk[];
}

export interface VerificationAsk {
  readonly id: string;
  /** The candidate's path; the first segment is the rendered prompt, the rest is the candidate's text. */
  readonly candidate: readonly SegmentId[];
  /** For verifiers that sample: derived from (sweep seed, task, path, role). 31 bits. */
  readonly seed: number;
}

/** Candidates or paths of one task for one verifier. */
export interface VerificationJob extends JobBase {
  readonly kind: "verification";
  /** A segment whose text is the problem as JSON: `ProblemData`. */
  readonly problemData: SegmentId;
  /** A segment whose text is the verifier's specification as JSON: `VerifierSpec`. */
  readonly verifier: SegmentId;
  readonly asks: readonly VerificationAsk[];
}

export type Job = RolloutJob | VerificationJob;

/** What a verifier may know of a problem. */
export interface ProblemData {
  readonly id: string;
  /** The problem's own prompt, before the sweep's template. */
  readonly prompt: string;
  readonly reference: string | null;
  readonly tests: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** `kind` names the verifier; the rest are its options, as in the sweep file (snake_case), already validated. */
export interface VerifierSpec {
  readonly kind: string;
  readonly [option: string]: unknown;
}

/** Tokens of one attempt at one ask. null is unknown, never zero (I8). */
export interface AttemptUsage {
  readonly promptTokens: number | null;
  /** Prompt tokens that the host took from its KV cache. */
  readonly cachedTokens: number | null;
  readonly completionTokens: number | null;
}

/** Nothing was asked of an engine. */
export const NO_TOKENS: AttemptUsage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
/** Nobody can say (I8). */
export const UNKNOWN_TOKENS: AttemptUsage = {
  promptTokens: null,
  cachedTokens: null,
  completionTokens: null,
};

export interface RolloutResult {
  readonly kind: "rollout";
  /** The continuation alone, with the stop string that ended it, if one did. */
  readonly text: string;
  readonly finishReason: "stop" | "length";
  /** The stop string that ended it; null when the model ended it itself or the length did. */
  readonly stopString: string | null;
  /** Mean log-probability of the sampled tokens; null when the engine does not say, or was not asked. */
  readonly meanLogprob: number | null;
  /** Exactly the tokens of `text`; absent when the engine does not give them, or was not asked. */
  readonly tokens?: readonly number[];
}

export interface VerdictResult {
  readonly kind: "verdict";
  readonly verdict: "correct" | "incorrect" | "undecided";
  /** Higher is better; null when the verifier gives none. A process reward is in [0, 1]. */
  readonly score: number | null;
  /** The canonical answer key for votes; null when none could be read (it then abstains). */
  readonly answer: string | null;
  /** Why; always present unless the verdict is "correct". */
  readonly reason: string | null;
}

/** The ask was withdrawn while it ran, or before. */
export interface CancelledResult {
  readonly kind: "cancelled";
}

/** Every attempt failed, or the failure is one that retrying cannot mend. */
export interface FailureResult {
  readonly kind: "failure";
  /** A short class for counting: "no_record", "host_unreachable", "host_rubbish", "context_overflow", "verifier_crashed"... */
  readonly reason: string;
  readonly message: string;
}

/** What came of one ask. A second report of the same ask changes nothing (I1). */
export interface Report {
  readonly sweep: string;
  readonly task: string;
  readonly ask: string;
  readonly job: string;
  /** From 1. */
  readonly attempt: number;
  readonly worker: string;
  /** The host that served it; null for a verifier that needs none. */
  readonly host: string | null;
  readonly result: RolloutResult | VerdictResult | CancelledResult | FailureResult;
  readonly usage: AttemptUsage;
  readonly startedMs: number;
  readonly endedMs: number;
  /** When the host had the first token; absent where nobody knows. */
  readonly firstTokenMs?: number;
}
