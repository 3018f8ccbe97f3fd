/**
 * The driver for llama-server of llama.cpp: POST /completion, since its /v1/completions does not say whether a stop string
 * or the model itself ended the text. Cached tokens are in the timings of every answer; any number of tokens is used again,
 * not whole blocks alone. It decodes one rollout in each of its slots and orders nothing by priority.
 */
import type { Sampling, Structure } from "../../../services/queue/job.ts";
import { rubbish } from "../../http-exchange.ts";
import type { Driver } from "../driver.ts";
import { structureValue } from "./http-host/completion-text.ts";
import {
  UNKNOWN_READING,
  type Chunk,
  type CompletionRequest,
  type Dialect,
  type EngineReading,
  type Finish,
  type FoundHost,
  type MetHost,
  type Missing,
  type Speech,
  type TokenizerRoutes,
} from "./http-host/dialect.ts";
import { createHttpHost, type HttpHostDriver, type HttpHostOptions } from "./http-host/http-host.ts";
import { mostOf, readMetrics, samplesOf, sumOf } from "./http-host/metrics-text.ts";
import {
  type AskHost,
  countOf,
  type Fields,
  fieldsAt,
  fieldsOf,
  idsOf,
  numbersOf,
  parseJson,
  shown,
  textOr,
} from "./http-host/wire.ts";

export const LLAMA_SERVER: Dialect = { server: "llama-server", owner: "llamacpp", meet };

/** A driver for one llama-server; it rejects a host that is none with "failed_precondition". */
export function createLlamaServerDriver(options: HttpHostOptions): HttpHostDriver & Driver {
  return createHttpHost({ engine: "llama-server", dialects: [LLAMA_SERVER] }, options);
}

async function meet({ ask, model, listed }: MetHost, signal: AbortSignal): Promise<Speech> {
  const props = await fieldsAt(ask, "/props", signal);
  const slots = countOf(props?.get("total_slots"));
  const perSlot = countOf(fieldsOf(props?.get("default_generation_settings"))?.get("n_ctx"));
  const build = props?.get("build_info");
  return {
    version: typeof build === "string" ? build : null,
    contextTokens: perSlot ?? countOf(fieldsOf(listed.get("meta"))?.get("n_ctx")),
    kvTokens: slots === null || perSlot === null ? null : slots * perSlot,
    blockTokens: 1,
    sequencesMax: slots === 0 ? null : slots,
    hasSlots: true,
    sharesColdPrefixes: false,
    priority: null,
    can: ["json-schema", "grammar"],
    completionPath: "/completion",
    body: (request) => llamaBody(model, request),
    chunkReader: () => readLlamaChunk,
    tokenizer: TOKENIZER,
    likelihood: null,
    ignoreEnd: { ignore_eos: true },
    read: readLlama,
    missing: missingOf,
  };
}

/** Options that are off are sent too: left out, they would be llama-server's own (top_k 40, min_p 0.05). */
function llamaBody(model: string, { prompt, seed, sampling }: CompletionRequest): Record<string, unknown> {
  return {
    model,
    prompt,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    seed,
    stream: true,
    n_predict: sampling.maxTokens,
    top_k: sampling.topK,
    min_p: sampling.minP,
    cache_prompt: true,
    ...(sampling.stop.length === 0 ? {} : { stop: sampling.stop }),
    ...logprobsBody(sampling),
    ...(sampling.tokens === true ? { return_tokens: true } : {}),
    ...(sampling.structure === undefined ? {} : structureBody(sampling.structure)),
  };
}

/** The model's own log-probabilities, before temperature and narrowing. */
function logprobsBody({ logprobs }: Sampling): Record<string, unknown> {
  return logprobs === true ? { n_probs: 1, post_sampling_probs: false } : {};
}

function structureBody(structure: Structure): Record<string, unknown> {
  return { [structure.kind === "json-schema" ? "json_schema" : structure.kind]: structureValue(structure) };
}

const TOKENIZER: TokenizerRoutes = {
  tokenizeBody: (text, { begins }) => ({ content: text, add_special: begins }),
  detokenizeBody: (tokens) => ({ tokens }),
  spelledIn: "content",
};

function readLlamaChunk(chunk: Fields, url: string): Chunk {
  const text = chunk.get("content");
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

/** By /metrics where the server has it; else what its slots say, which is less. */
async function readLlama(ask: AskHost, signal: AbortSignal): Promise<EngineReading> {
  const text = await textOr(ask, "/metrics", signal);
  if (text === "") return readSlots(ask, signal);
  const metrics = readMetrics(text);
  const of = (name: string) => sumOf(samplesOf(metrics, [`llamacpp:${name}`]));
  return {
    ...UNKNOWN_READING,
    running: of("requests_processing"),
    waiting: of("requests_deferred"),
    // Gone from newer builds, which say nothing of the kind.
    kvUsage: mostOf(samplesOf(metrics, ["llamacpp:kv_cache_usage_ratio"])),
    promptTokensComputed: of("prompt_tokens_total"),
    // Builds of 2026 have it.
    promptTokensCached: of("prompt_tokens_cached_total"),
    generatedTokens: of("tokens_predicted_total"),
  };
}

async function readSlots(ask: AskHost, signal: AbortSignal): Promise<EngineReading> {
  const { url, text } = await ask("/slots", null, signal);
  const slots = parseJson(text, url);
  if (!Array.isArray(slots)) throw rubbish(url, "a list of slots", text);
  const busy = slots.filter((slot: unknown) => fieldsOf(slot)?.get("is_processing") === true);
  return { ...UNKNOWN_READING, running: busy.length };
}

function missingOf({ reading }: FoundHost): readonly Missing[] {
  if (reading !== null && reading.waiting !== null) return [];
  return [{ what: "rollouts that wait in it", remedy: "start llama-server with --metrics" }];
}
