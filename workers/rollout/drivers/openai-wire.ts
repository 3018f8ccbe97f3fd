/**
 * What goes over the wire to a host that speaks the OpenAI completions API, and what comes back: bodies out, chunks in. Pure.
 *
 * Two dialects. `completions` is POST /v1/completions of vLLM, SGLang and others. `llama-server` is POST /completion of
 * llama.cpp, since its /v1/completions does not say whether a stop string or the model itself ended the text.
 */
import { type AttemptUsage, type Sampling, UNKNOWN_TOKENS } from "../../../services/queue/job.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { codeOf, errorText, rubbish } from "../../http-exchange.ts";

/** Who answers, as far as /v1/models says. */
export type Server = "vllm" | "sglang" | "llama-server" | "other";

export interface Finish {
  readonly reason: "stop" | "length";
  /** The stop string that ended the text; null: the model itself; undefined: the server does not say. */
  readonly stopString: string | null | undefined;
}

export interface Chunk {
  readonly text: string;
  readonly finish: Finish | null;
  readonly usage: AttemptUsage | null;
}

export function completionPath(server: Server): string {
  return server === "llama-server" ? "/completion" : "/v1/completions";
}

export interface CompletionRequest {
  readonly model: string;
  readonly prompt: string;
  readonly seed: number;
  readonly sampling: Sampling;
}

/**
 * The body of a streamed completion. Options that are off are sent where leaving them out would mean the engine's or the
 * model's own default (llama-server: top_k 40; vLLM and SGLang: the model's generation_config), and left out elsewhere.
 */
export function completionBody(
  server: Server,
  { model, prompt, seed, sampling }: CompletionRequest,
): Record<string, unknown> {
  const { temperature, topP, topK, minP, maxTokens, stop } = sampling;
  const common = {
    model,
    prompt,
    temperature,
    top_p: topP,
    seed,
    stream: true,
    ...(stop.length === 0 ? {} : { stop }),
  };
  if (server === "llama-server")
    return { ...common, n_predict: maxTokens, top_k: topK, min_p: minP, cache_prompt: true };
  const isKnown = server === "vllm" || server === "sglang";
  return {
    ...common,
    max_tokens: maxTokens,
    stream_options: { include_usage: true, ...(isKnown ? { continuous_usage_stats: true } : {}) },
    ...(isKnown || topK > 0 ? { top_k: topK > 0 ? topK : -1 } : {}),
    ...(isKnown || minP > 0 ? { min_p: minP } : {}),
  };
}

/** One `data:` of a stream. Throws as `exchange` does where it is an error or not a chunk. */
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
  if (first === undefined) return { text: "", finish: null, usage };
  const choice = objectIn(first, "a choice", url);
  const text = choice.get("text") ?? "";
  if (typeof text !== "string") throw rubbish(url, 'a choice with "text"', shown(choice));
  const reason = choice.get("finish_reason") ?? null;
  return { text, finish: reason === null ? null : finishOf(reason, choice, url), usage };
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
  const usage: AttemptUsage = {
    promptTokens: countOf(chunk.get("tokens_evaluated")),
    cachedTokens: countOf(timings?.get("cache_n")),
    completionTokens: countOf(chunk.get("tokens_predicted")),
  };
  if (chunk.get("stop") !== true) return { text, finish: null, usage };
  const type = chunk.get("stop_type");
  if (type === "limit") return { text, finish: { reason: "length", stopString: null }, usage };
  if (type === "eos" || type === "none") return { text, finish: { reason: "stop", stopString: null }, usage };
  const word = chunk.get("stopping_word");
  if (type !== "word" || typeof word !== "string")
    throw rubbish(url, '"stop_type" eos, limit or word', shown(chunk));
  return { text, finish: { reason: "stop", stopString: word }, usage };
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

/** The body that asks for the probabilities of the next token. */
export function scoreBody(model: string, prompt: string, logprobs: number): Record<string, unknown> {
  return { model, prompt, max_tokens: 1, temperature: 1, top_p: 1, seed: 0, logprobs, stream: false };
}

/** Log-probabilities of the next token, by its text; null where the server gives none. Both shapes that are in use. */
export function readTopLogprobs(
  body: string,
  url: string,
): { readonly top: ReadonlyMap<string, number> | null; readonly usage: AttemptUsage } {
  const answer = objectIn(parseJson(body, url), "a completion", url);
  throwReported(answer, url);
  const choices = answer.get("choices");
  if (!Array.isArray(choices) || choices.length === 0)
    throw rubbish(url, 'a completion with "choices"', shown(answer));
  const logprobs = fieldsOf(fieldsOf(choices[0])?.get("logprobs"));
  const list =
    logprobs?.get("top_logprobs") ?? fieldsOf(firstOf(logprobs?.get("content")))?.get("top_logprobs");
  return { top: topOf(list), usage: usageOf(answer.get("usage")) ?? UNKNOWN_TOKENS };
}

function topOf(list: unknown): ReadonlyMap<string, number> | null {
  const first = firstOf(list);
  if (first === undefined || first === null) return null;
  const top = new Map<string, number>();
  const put = (token: unknown, logprob: unknown): void => {
    if (typeof token === "string" && typeof logprob === "number")
      top.set(token, Math.max(logprob, top.get(token) ?? -Infinity));
  };
  const entries = fieldsOf(first);
  // llama-server: [{token, logprob}, ...]; OpenAI: [{"token": logprob, ...}].
  if (entries?.has("token") === true && Array.isArray(list)) {
    for (const each of list) put(fieldsOf(each)?.get("token"), fieldsOf(each)?.get("logprob"));
  } else for (const [token, logprob] of entries ?? []) put(token, logprob);
  return top.size === 0 ? null : top;
}

/**
 * P(positive) / (P(positive) + P(negative)). One that is not listed counts as the least likely listed token, which it is
 * below. Null when neither is listed.
 */
export function scoreOf(top: ReadonlyMap<string, number>, positive: string, negative: string): number | null {
  const plus = logprobOf(top, positive);
  const minus = logprobOf(top, negative);
  if (plus === null && minus === null) return null;
  const least = Math.min(...top.values());
  return 1 / (1 + Math.exp((minus ?? least) - (plus ?? least)));
}

/** As listed; else with SentencePiece's mark for a space; else without its leading space, as some servers print it. */
function logprobOf(top: ReadonlyMap<string, number>, token: string): number | null {
  return top.get(token) ?? top.get(token.replaceAll(" ", "\u2581")) ?? top.get(token.trim()) ?? null;
}

export function usageOf(value: unknown): AttemptUsage | null {
  const usage = fieldsOf(value);
  if (usage === null) return null;
  return {
    promptTokens: countOf(usage.get("prompt_tokens")),
    cachedTokens: countOf(fieldsOf(usage.get("prompt_tokens_details"))?.get("cached_tokens")),
    completionTokens: countOf(usage.get("completion_tokens")),
  };
}

export type Fields = ReadonlyMap<string, unknown>;

/** The fields of a JSON object; null when it is not one. */
export function fieldsOf(value: unknown): Fields | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return new Map<string, unknown>(Object.entries(value));
}

/** A whole number from 0, else null: unknown. */
export function countOf(value: unknown): number | null {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

export function parseJson(text: string, url: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw rubbish(url, "JSON", text.trim() === "" ? "nothing" : text);
  }
}

export function objectIn(value: unknown, what: string, url: string): Fields {
  const fields = fieldsOf(value);
  if (fields === null) throw rubbish(url, what, JSON.stringify(value));
  return fields;
}

/** An error that the host reports under status 200: inside of a stream there is no other way. */
function throwReported(chunk: Fields, url: string): void {
  const error = chunk.get("error") ?? (chunk.get("object") === "error" ? chunk.get("message") : null) ?? null;
  if (error === null) return;
  const status = countOf(fieldsOf(error)?.get("code")) ?? 500;
  throw new CoppiceError(
    codeOf(status),
    `expected a rollout, found the error ${errorText(error) ?? shown(chunk)}, from ${url}`,
  );
}

function firstOf(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : undefined;
}

function shown(fields: Fields): string {
  return JSON.stringify(Object.fromEntries(fields));
}
