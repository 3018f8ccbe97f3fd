/**
 * The driver for SGLang: its native POST /generate, which takes token ids and says the cached tokens of every rollout
 * without a flag. Scores and likelihoods go by its /v1/completions. A priority is sent only where the server orders by it,
 * in the server's own sign: larger goes first unless it was started with --schedule-low-priority-values-first.
 */
import type { Sampling, Structure } from "../../../services/queue/job.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { codeOf, errorText, type Refusal, rubbish } from "../../http-exchange.ts";
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
import {
  type MetricSamples,
  mostByLabel,
  mostOf,
  readMetrics,
  samplesOf,
  sumOf,
} from "./http-host/metrics-text.ts";
import {
  type AskHost,
  countOf,
  type Fields,
  fieldsAt,
  fieldsOf,
  firstOf,
  idsOf,
  numbersOf,
  objectIn,
  parseJson,
  shown,
  textOr,
} from "./http-host/wire.ts";

export const SGLANG: Dialect = { server: "sglang", owner: "sglang", meet };

/** A driver for one SGLang host; it rejects a host that is none with "failed_precondition". */
export function createSglangDriver(options: HttpHostOptions): HttpHostDriver & Driver {
  return createHttpHost({ engine: "sglang", dialects: [SGLANG] }, options);
}

async function meet({ ask, model, listed }: MetHost, signal: AbortSignal): Promise<Speech> {
  // Releases before 0.5.7 have it under another name only.
  const info =
    (await fieldsAt(ask, "/server_info", signal)) ?? (await fieldsAt(ask, "/get_server_info", signal));
  const version = info?.get("version");
  const priority = priorityOf(info);
  const takesSeed = typeof version !== "string" || !isBeforeSeeds(version);
  return {
    version: typeof version === "string" ? version : null,
    contextTokens: countOf(listed.get("max_model_len")) ?? countOf(info?.get("context_length")),
    kvTokens: countOf(info?.get("max_total_num_tokens")),
    blockTokens: countOf(info?.get("page_size")),
    sequencesMax: countOf(info?.get("max_running_requests")),
    hasSlots: false,
    sharesColdPrefixes: false,
    priority,
    can: ["json-schema", "regex", "grammar"],
    completionPath: "/generate",
    body: (request) => generateBody(request, { priority, takesSeed }),
    chunkReader: () =>
      createGenerateReader({ isIncremental: info?.get("incremental_streaming_output") === true }),
    // Only what is wrong with a request is reported so.
    errorStatus: 400,
    abortOf: ({ rid }) => ({ path: "/abort_request", body: { rid } }),
    tokenizer: tokenizerOf(model),
    likelihood: "by-echo",
    ignoreEnd: { ignore_eos: true },
    read: readSglang,
    missing: (found) => missingOf(found, priority),
  };
}

function priorityOf(info: Fields | null): Speech["priority"] {
  if (info?.get("enable_priority_scheduling") !== true) return null;
  return info.get("schedule_low_priority_values_first") === true ? "lower-first" : "higher-first";
}

/** `sampling_seed` came with 0.5.3; before, an option that is not known is an error. */
function isBeforeSeeds(version: string): boolean {
  const parts = /^0\.(\d+)\.(\d+)/.exec(version);
  if (parts === null) return false;
  const [minor, patch] = [Number(parts[1]), Number(parts[2])];
  return minor < 5 || (minor === 5 && patch < 3);
}

/** Options that are off are sent too: left out, they would be those of the model's generation_config. */
function generateBody(
  { prompt, seed, sampling, priority, id }: CompletionRequest,
  host: { readonly priority: Speech["priority"]; readonly takesSeed: boolean },
): Record<string, unknown> {
  const { temperature, topP, topK, minP, maxTokens, stop, structure } = sampling;
  return {
    rid: id,
    ...(typeof prompt === "string" ? { text: prompt } : { input_ids: prompt }),
    sampling_params: {
      temperature,
      top_p: topP,
      top_k: topK > 0 ? topK : -1,
      min_p: minP,
      max_new_tokens: maxTokens,
      ...(host.takesSeed ? { sampling_seed: seed } : {}),
      ...(stop.length === 0 ? {} : { stop }),
      ...(structure === undefined ? {} : structureBody(structure)),
    },
    stream: true,
    ...logprobsBody(sampling),
    // Zero has no sign.
    ...(host.priority === null
      ? {}
      : { priority: host.priority === "lower-first" ? priority : 0 - priority }),
  };
}

function logprobsBody({ logprobs }: Sampling): Record<string, unknown> {
  return logprobs === true ? { return_logprob: true } : {};
}

function structureBody(structure: Structure): Record<string, unknown> {
  const value = structureValue(structure);
  if (structure.kind === "json-schema") return { json_schema: JSON.stringify(value) };
  return { [structure.kind === "grammar" ? "ebnf" : structure.kind]: value };
}

function tokenizerOf(model: string): TokenizerRoutes {
  return {
    tokenizeBody: (text, { begins }) => ({ model, prompt: text, add_special_tokens: begins }),
    detokenizeBody: (tokens) => ({ model, tokens }),
    spelledIn: "text",
  };
}

/**
 * A chunk holds the whole text so far, or what is new of it where the server streams increments; its token ids and their
 * log-probabilities likewise, and not always as its text does (a release's `stream_output` cut the ids alone). So each is
 * judged by itself: as many entries as tokens were completed are all of them.
 */
function createGenerateReader({ isIncremental }: { readonly isIncremental: boolean }) {
  let text = "";
  let tokens = 0;
  let logprobs = 0;
  const news = <T>(list: readonly T[], known: number, completed: number | null): readonly T[] =>
    !isIncremental && list.length === completed ? list.slice(known) : list;

  return (chunk: Fields, url: string): Chunk => {
    const said = chunk.get("text");
    if (typeof said !== "string") throw rubbish(url, 'a chunk of /generate with "text"', shown(chunk));
    const meta = objectIn(chunk.get("meta_info"), 'a chunk of /generate with "meta_info"', url);
    const completed = countOf(meta.get("completion_tokens"));
    const isWhole = !isIncremental && said.startsWith(text);
    const newText = isWhole ? said.slice(text.length) : said;
    text += newText;
    const newTokens = news(idsOf(chunk.get("output_ids")) ?? [], tokens, completed);
    tokens += newTokens.length;
    const newLogprobs = news(logprobsIn(meta), logprobs, completed);
    logprobs += newLogprobs.length;
    return {
      text: newText,
      tokens: newTokens,
      logprobs: newLogprobs,
      finish: finishOf(meta.get("finish_reason"), url),
      usage: {
        promptTokens: countOf(meta.get("prompt_tokens")),
        cachedTokens: countOf(meta.get("cached_tokens")),
        completionTokens: completed,
      },
    };
  };
}

/** [[log-probability, token id, text or null], ...] */
function logprobsIn(meta: Fields): readonly number[] {
  const listed = meta.get("output_token_logprobs");
  if (!Array.isArray(listed)) return [];
  return listed.flatMap((each: unknown) => {
    const logprob = firstOf(each);
    return typeof logprob === "number" ? [logprob] : [];
  });
}

function finishOf(said: unknown, url: string): Finish | null {
  if (said === null || said === undefined) return null;
  const finish = objectIn(said, 'a "finish_reason" with "type"', url);
  const type = finish.get("type");
  if (type === "length") return { reason: "length", stopString: null };
  if (type === "stop") {
    // A stop string, or the id of the token that ended it.
    const matched = finish.get("matched");
    return { reason: "stop", stopString: typeof matched === "string" ? matched : null };
  }
  if (type !== "abort") throw rubbish(url, '"finish_reason" stop, length or abort', shown(finish));
  const status = countOf(finish.get("status_code")) ?? 503;
  const why = errorText(finish.get("message")) ?? "no reason";
  const refusal: Refusal = { status, retryAfterMs: null };
  throw new CoppiceError(
    codeOf(status),
    `expected a rollout, found that the host gave it up (${why}), from ${url}`,
    { cause: refusal },
  );
}

/** By /metrics where the server has it; else what it says of its load, which is less. */
async function readSglang(ask: AskHost, signal: AbortSignal): Promise<EngineReading> {
  const metrics = readMetrics(await textOr(ask, "/metrics", signal));
  if (samplesOf(metrics, ["sglang:num_running_reqs"]).length === 0) return readLoad(ask, signal);
  const sum = (name: string, labels: Readonly<Record<string, string>> = {}) =>
    sumOf(ranks(metrics, name, labels));
  const cached = sum("sglang:cached_tokens_total");
  const prompts = sum("sglang:prompt_tokens_total");
  return {
    running: sum("sglang:num_running_reqs"),
    waiting: sum("sglang:num_queue_reqs"),
    kvUsage: mostOf(samplesOf(metrics, ["sglang:token_usage"])),
    preemptions: sum("sglang:num_retracted_requests_total"),
    // Prompt tokens count those from the cache too.
    promptTokensComputed:
      sum("sglang:realtime_tokens_total", { mode: "prefill_compute" }) ??
      (prompts === null || cached === null ? null : Math.max(0, prompts - cached)),
    promptTokensCached: sum("sglang:realtime_tokens_total", { mode: "prefill_cache" }) ?? cached,
    generatedTokens:
      sum("sglang:realtime_tokens_total", { mode: "decode" }) ?? sum("sglang:generation_tokens_total"),
    startedS: mostOf(samplesOf(metrics, ["process_start_time_seconds"])),
  };
}

/** Every rank of a tensor-parallel group says the same; those of different data-parallel ranks add up. */
function ranks(metrics: MetricSamples, name: string, labels: Readonly<Record<string, string>>) {
  const samples = samplesOf(metrics, [name], labels);
  const isRanked = samples.some((sample) => sample.labels.has("tp_rank"));
  return isRanked ? mostByLabel(samples, "dp_rank") : samples;
}

/** Without a flag: GET /v1/loads, one entry for each data-parallel rank; before 0.5.8 GET /get_load, which says less. */
async function readLoad(ask: AskHost, signal: AbortSignal): Promise<EngineReading> {
  const loads = await fieldsAt(ask, "/v1/loads?include=core", signal);
  const listed = loads?.get("loads");
  if (!Array.isArray(listed)) return readOldLoad(ask, signal);
  const each = listed.map((rank: unknown) => fieldsOf(rank));
  const usages = numbersOf(each.map((rank) => rank?.get("token_usage")));
  return {
    ...UNKNOWN_READING,
    running: sumOver(each, "num_running_reqs"),
    waiting: sumOver(each, "num_waiting_reqs"),
    kvUsage: usages.length === 0 ? null : Math.max(...usages),
    promptTokensComputed: sumOver(each, "total_prefill_uncached_tokens"),
  };
}

/** [{dp_rank, num_reqs, num_waiting_reqs, num_tokens}, ...], the requests that wait among `num_reqs`. */
async function readOldLoad(ask: AskHost, signal: AbortSignal): Promise<EngineReading> {
  const { url, text } = await ask("/get_load", null, signal);
  const loads = parseJson(text, url);
  const each = (Array.isArray(loads) ? loads : [loads]).map((load: unknown) => fieldsOf(load));
  const [all, waiting] = [sumOver(each, "num_reqs"), sumOver(each, "num_waiting_reqs")];
  const running = all === null || waiting === null ? null : Math.max(0, all - waiting);
  return { ...UNKNOWN_READING, running, waiting };
}

/** Null where one of them does not say. */
function sumOver(each: readonly (Fields | null)[], key: string): number | null {
  return each.reduce<number | null>((total, load) => {
    const count = countOf(load?.get(key));
    return total === null || count === null ? null : total + count;
  }, 0);
}

function missingOf(found: FoundHost, priority: Speech["priority"]): readonly Missing[] {
  const { reading } = found;
  return [
    ...((reading?.promptTokensCached ?? null) === null
      ? [{ what: "all of how the engine is doing", remedy: "start SGLang with --enable-metrics" }]
      : []),
    ...(priority === null
      ? [{ what: "order by priority", remedy: "start SGLang with --enable-priority-scheduling" }]
      : []),
    ...(found.reportsCachedTokensOfScores
      ? []
      : [{ what: "cached tokens of scores", remedy: "start SGLang with --enable-cache-report" }]),
  ];
}
