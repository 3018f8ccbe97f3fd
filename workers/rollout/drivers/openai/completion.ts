/**
 * A sampled completion over the wire: the body that asks for it, and the chunks that it comes in. Pure.
 *
 * Two dialects. `completions` is POST /v1/completions of vLLM, SGLang and others. `llama-server` is POST /completion of
 * llama.cpp, since its /v1/completions does not say whether a stop string or the model itself ended the text.
 */
import type { AttemptUsage, Sampling, Structure } from "../../../../services/queue/job.ts";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { rubbish } from "../../../http-exchange.ts";
import {
  countOf,
  fieldsOf,
  idsOf,
  numbersOf,
  objectIn,
  parseJson,
  shown,
  throwReported,
  usageOf,
  type Fields,
  type Prompt,
  type Server,
} from "./wire.ts";

export interface Finish {
  readonly reason: "stop" | "length";
  /** The stop string that ended the text; null: the model itself; undefined: the server does not say. */
  readonly stopString: string | null | undefined;
}

export interface Chunk {
  readonly text: string;
  /** Ids of its tokens; empty where the host does not say. */
  readonly tokens: readonly number[];
  /** Log-probabilities of its tokens; likewise. */
  readonly logprobs: readonly number[];
  readonly finish: Finish | null;
  readonly usage: AttemptUsage | null;
}

export function completionPath(server: Server): string {
  return server === "llama-server" ? "/completion" : "/v1/completions";
}

export interface CompletionRequest {
  readonly model: string;
  readonly prompt: Prompt;
  readonly seed: number;
  readonly sampling: Sampling;
}

/** What of a host decides how it is asked. */
export interface HostDialect {
  readonly server: Server;
  /** Before version 0.11 vLLM called structures "guided". */
  readonly isGuided: boolean;
}

/**
 * The body of a completion, streamed unless by beam search. Options that are off are sent where leaving them out would mean
 * the engine's or the model's own default (llama-server: top_k 40; vLLM and SGLang: the model's generation_config), and
 * left out elsewhere.
 */
export function completionBody(
  host: HostDialect,
  { model, prompt, seed, sampling }: CompletionRequest,
): Record<string, unknown> {
  const { temperature, topP, stop } = sampling;
  const common = {
    model,
    prompt,
    temperature,
    top_p: topP,
    seed,
    stream: true,
    ...(stop.length === 0 ? {} : { stop }),
    ...(sampling.structure === undefined ? {} : structureBody(host, sampling.structure)),
  };
  return host.server === "llama-server"
    ? { ...common, ...llamaBody(sampling) }
    : { ...common, ...completionsBody(host.server, sampling) };
}

function llamaBody({ maxTokens, topK, minP, ...sampling }: Sampling): Record<string, unknown> {
  return {
    n_predict: maxTokens,
    top_k: topK,
    min_p: minP,
    cache_prompt: true,
    ...(sampling.logprobs === true ? { n_probs: 1, post_sampling_probs: false } : {}),
    ...(sampling.tokens === true ? { return_tokens: true } : {}),
  };
}

function completionsBody(server: Server, sampling: Sampling): Record<string, unknown> {
  const { maxTokens, topK, minP, beamWidth } = sampling;
  const isKnown = server === "vllm" || server === "sglang";
  return {
    max_tokens: maxTokens,
    stream_options: { include_usage: true, ...(isKnown ? { continuous_usage_stats: true } : {}) },
    ...(isKnown || topK > 0 ? { top_k: topK > 0 ? topK : -1 } : {}),
    ...(isKnown || minP > 0 ? { min_p: minP } : {}),
    ...(sampling.logprobs === true ? { logprobs: 1 } : {}),
    // With its end in the text, a text that a stop string ended is what its tokens spell, unless they go on behind it.
    ...(server === "vllm" && sampling.tokens === true
      ? { return_token_ids: true, include_stop_str_in_output: true }
      : {}),
    // The engine answers a beam search as a whole.
    ...(beamWidth === undefined
      ? {}
      : { use_beam_search: true, n: beamWidth, stream: false, stream_options: undefined }),
  };
}

function structureBody({ server, isGuided }: HostDialect, structure: Structure): Record<string, unknown> {
  const value =
    structure.kind === "json-schema"
      ? structure.schema
      : structure.kind === "regex"
        ? structure.pattern
        : structure.grammar;
  const key = structure.kind === "json-schema" ? "json" : structure.kind;
  if (server === "vllm")
    return isGuided ? { [`guided_${key}`]: value } : { structured_outputs: { [key]: value } };
  if (server === "llama-server") return { [key === "json" ? "json_schema" : key]: value };
  if (key === "json") return { json_schema: JSON.stringify(value) };
  return { [key === "grammar" ? "ebnf" : key]: value };
}

/** One `data:` of a stream, or a whole answer. Throws as `exchange` does where it is an error or not a chunk. */
export function readChunk(server: Server, data: string, url: string): Chunk {
  const chunk = objectIn(parseJson(data, url), "a completion chunk", url);
  throwReported(chunk, url);
  return server === "llama-server" ? readLlamaChunk(chunk, url) : readCompletionChunk(chunk, url);
}

function readCompletionChunk(chunk: Fields, url: string): Chunk {
  const choices = chunk.get("choices");
  if (!Array.isArray(choices)) throw rubbish(url, 'a completion chunk with "choices"', shown(chunk));
  const usage = usageOf(chunk.get("usage"));
  const first: unknown = choices[0];
  if (first === undefined) return { text: "", tokens: [], logprobs: [], finish: null, usage };
  const choice = objectIn(first, "a choice", url);
  const text = choice.get("text") ?? "";
  if (typeof text !== "string") throw rubbish(url, 'a choice with "text"', shown(choice));
  const reason = choice.get("finish_reason") ?? null;
  return {
    text,
    tokens: idsOf(choice.get("token_ids")) ?? [],
    logprobs: numbersOf(fieldsOf(choice.get("logprobs"))?.get("token_logprobs")),
    finish: reason === null ? null : finishOf(reason, choice, url),
    usage,
  };
}

function finishOf(reason: unknown, choice: Fields, url: string): Finish {
  if (reason === "length") return { reason, stopString: null };
  if (reason === "abort")
    throw new CoppiceError("unavailable", `expected a rollout, found that the host gave it up, from ${url}`);
  if (reason !== "stop") throw rubbish(url, 'finish_reason "stop" or "length"', JSON.stringify(reason));
  // vLLM names it stop_reason, SGLang matched_stop: a stop string, the id of a token (an end of text), or null (the same).
  const key = ["stop_reason", "matched_stop"].find((name) => choice.has(name));
  const said = key === undefined ? undefined : choice.get(key);
  return { reason, stopString: key === undefined ? undefined : typeof said === "string" ? said : null };
}

function readLlamaChunk(chunk: Fields, url: string): Chunk {
  const text = chunk.get("content") ?? "";
  if (typeof text !== "string") throw rubbish(url, 'a completion chunk with "content"', shown(chunk));
  const timings = fieldsOf(chunk.get("timings"));
  const listed = chunk.get("completion_probabilities");
  return {
    text,
    tokens: idsOf(chunk.get("tokens")) ?? [],
    logprobs: numbersOf(
      Array.isArray(listed) ? listed.map((each: unknown) => fieldsOf(each)?.get("logprob")) : [],
    ),
    finish: chunk.get("stop") === true ? llamaFinishOf(chunk, url) : null,
    usage: {
      promptTokens: countOf(chunk.get("tokens_evaluated")),
      cachedTokens: countOf(timings?.get("cache_n")),
      completionTokens: countOf(chunk.get("tokens_predicted")),
    },
  };
}

function llamaFinishOf(chunk: Fields, url: string): Finish {
  const type = chunk.get("stop_type");
  if (type === "limit") return { reason: "length", stopString: null };
  if (type === "eos" || type === "none") return { reason: "stop", stopString: null };
  const word = chunk.get("stopping_word");
  if (type !== "word" || typeof word !== "string")
    throw rubbish(url, '"stop_type" eos, limit or word', shown(chunk));
  return { reason: "stop", stopString: word };
}

/**
 * The text with the stop string that ended it, and that string. Where the server does not say which it was: a text that is
 * not empty was ended by the first of the stop strings, an empty one by the model itself. That is a guess, made only for
 * servers that are none of vLLM, SGLang and llama-server.
 */
export function withStopString(
  text: string,
  finish: Finish,
  stop: readonly string[],
): { readonly text: string; readonly stopString: string | null } {
  const guess = finish.reason === "stop" && text !== "" ? (stop[0] ?? null) : null;
  const stopString = finish.stopString === undefined ? guess : finish.stopString;
  return { text: stopString === null || text.endsWith(stopString) ? text : text + stopString, stopString };
}
