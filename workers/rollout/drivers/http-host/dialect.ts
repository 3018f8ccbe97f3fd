/**
 * A dialect: what one engine's HTTP interface has of its own. Each driver's file (../vllm.ts and its siblings) holds one;
 * `http-host.ts` is the driver that speaks any of them.
 */
import type { Ability, AttemptUsage, Sampling } from "../../../../services/queue/job.ts";
import type { AskHost, Fields, Prompt, Server } from "./wire.ts";

export interface Dialect {
  readonly server: Server;
  /** `owned_by` of the models that such a server lists; null: any other. */
  readonly owner: string | null;
  /**
   * Looks at a host that is one, beside what every host is asked. What it does not tell is unknown, and no reason to fail;
   * rejects only with the signal's reason.
   */
  meet(host: MetHost, signal: AbortSignal): Promise<Speech>;
}

/** A host that is up and serves the model. */
export interface MetHost {
  readonly ask: AskHost;
  readonly model: string;
  /** What /v1/models says of the model. */
  readonly listed: Fields;
}

/** How one host is spoken to, with what was found of it. */
export interface Speech extends EngineFacts {
  readonly completionPath: string;
  /** The body of a completion, streamed unless by beam search. */
  body(request: CompletionRequest): Record<string, unknown>;
  /** Reads the chunks of one completion, in their order. Throws as `exchange` does where one is none, or says an error. */
  chunkReader(): (chunk: Fields, url: string) => Chunk;
  /** The HTTP status that an error inside of a stream counts as where it has no code; 500 unless said. */
  readonly errorStatus?: number;
  /** What stops a completion on the host where a proxy does not pass on that the socket was closed. */
  abortOf?(body: Readonly<Record<string, unknown>>): Question | null;
  /** Null where it takes no token ids. */
  readonly tokenizer: TokenizerRoutes | null;
  /** How it tells the log-probability of a given text. */
  readonly likelihood: "by-tokens" | "by-echo" | null;
  /** Keeps the text going until `max_tokens`, where the engine has such an option. */
  readonly ignoreEnd: Readonly<Record<string, unknown>>;
  /** How the engine is doing. Costs it no inference; unknown numbers are null. Rejects as `ask` does. */
  read(ask: AskHost, signal: AbortSignal): Promise<EngineReading>;
  /** What a flag of the server would add to what it says and does. */
  missing(found: FoundHost): readonly Missing[];
}

export interface Question {
  readonly path: string;
  readonly body: unknown;
}

/** null is unknown (I8). */
export interface EngineFacts {
  readonly version: string | null;
  /** Longest prompt plus completion. */
  readonly contextTokens: number | null;
  /** Tokens in its KV cache. */
  readonly kvTokens: number | null;
  readonly blockTokens: number | null;
  /** Sequences that it decodes at once; more wait in it. */
  readonly sequencesMax: number | null;
  /** Whether it refuses to hold more than `sequencesMax`, or gains nothing by it: its slots. */
  readonly hasSlots: boolean;
  readonly sharesColdPrefixes: boolean;
  /** Null: it orders nothing by priority. */
  readonly priority: "lower-first" | "higher-first" | null;
  /** What it can do by its documentation, with no question that would show it cheaply. */
  readonly can: readonly Ability[];
}

/** What the questions that every host is asked have shown. */
export interface FoundHost {
  readonly reportsCachedTokens: boolean;
  /** Whether /v1/completions, by which texts are scored, does. */
  readonly reportsCachedTokensOfScores: boolean;
  /** Null where it does not say how it is doing. */
  readonly reading: EngineReading | null;
}

export interface Missing {
  readonly what: string;
  readonly remedy: string;
}

/** null is unknown (I8). Counters count from the engine's start. */
export interface EngineReading {
  readonly running: number | null;
  readonly waiting: number | null;
  /** From 0 to 1. */
  readonly kvUsage: number | null;
  readonly preemptions: number | null;
  readonly promptTokensComputed: number | null;
  readonly promptTokensCached: number | null;
  readonly generatedTokens: number | null;
  /** When the process was started, in seconds: another number is another process. */
  readonly startedS: number | null;
}

export const UNKNOWN_READING: EngineReading = {
  running: null,
  waiting: null,
  kvUsage: null,
  preemptions: null,
  promptTokensComputed: null,
  promptTokensCached: null,
  generatedTokens: null,
  startedS: null,
};

export interface CompletionRequest {
  readonly prompt: Prompt;
  readonly seed: number;
  readonly sampling: Sampling;
  /** Less goes first, whatever the engine's own sign. */
  readonly priority: number;
  /** A name for the request, where the engine wants one. */
  readonly id: string;
}

export interface Finish {
  readonly reason: "stop" | "length";
  /** The stop string that ended the text; null: the model itself; undefined: the server does not say. */
  readonly stopString: string | null | undefined;
}

/** What a chunk adds to the ones before. */
export interface Chunk {
  readonly text: string;
  /** Ids of its tokens; empty where the host does not say. */
  readonly tokens: readonly number[];
  /** Log-probabilities of its tokens; likewise. */
  readonly logprobs: readonly number[];
  readonly finish: Finish | null;
  /** Of the completion so far; null where the chunk does not say. */
  readonly usage: AttemptUsage | null;
}

/** The routes /tokenize and /detokenize. */
export interface TokenizerRoutes {
  tokenizeBody(text: string, options: { readonly begins: boolean }): Record<string, unknown>;
  detokenizeBody(tokens: readonly number[]): Record<string, unknown>;
  /** The field of what /detokenize answers. */
  readonly spelledIn: string;
}
