/**
 * The driver for vLLM: POST /v1/completions, prompts and answers as token ids where these are wanted.
 *
 * Cached tokens of a rollout are known where the server runs with --enable-prompt-tokens-details. What it computed and what
 * it found in its cache is read from prompt_tokens_by_source alone: hits and queries were counted anew at each retry before
 * 2026-07, so older releases are unknown here, not wrong. A priority (less goes first) is sent only where the
 * server takes one: some releases refuse any but 0 unless they order by it, newer ones then pass over it.
 */
import { type Sampling, type Structure } from "../../../services/queue/job.ts";
import type { Driver } from "../driver.ts";
import { structureValue } from "./http-host/completion-text.ts";
import { COMPLETIONS_PATH, completionsBody, readCompletionsChunk } from "./http-host/completions-wire.ts";
import type {
  CompletionRequest,
  Dialect,
  EngineReading,
  FoundHost,
  MetHost,
  Missing,
  Speech,
  TokenizerRoutes,
} from "./http-host/dialect.ts";
import { createHttpHost, type HttpHostDriver, type HttpHostOptions } from "./http-host/http-host.ts";
import { type MetricSamples, mostOf, readMetrics, samplesOf, sumOf } from "./http-host/metrics-text.ts";
import { type AskHost, countOf, fieldsAt, textOr } from "./http-host/wire.ts";

export const VLLM: Dialect = { server: "vllm", owner: "vllm", meet };

/** A driver for one vLLM host; it rejects a host that is none with "failed_precondition". */
export function createVllmDriver(options: HttpHostOptions): HttpHostDriver & Driver {
  return createHttpHost({ engine: "vllm", dialects: [VLLM] }, options);
}

async function meet(host: MetHost, signal: AbortSignal): Promise<Speech> {
  const { ask, model, listed } = host;
  const [metrics, said, takesPriority] = await Promise.all([
    textOr(ask, "/metrics", signal).then(readMetrics),
    fieldsAt(ask, "/version", signal),
    ordersByPriority(host, signal),
  ]);
  const version = said?.get("version");
  const isGuided = typeof version === "string" && saysGuided(version);
  const priority = takesPriority ? "lower-first" : null;
  return {
    version: typeof version === "string" ? version : null,
    contextTokens: countOf(listed.get("max_model_len")),
    ...cacheOf(metrics),
    sequencesMax: null,
    hasSlots: false,
    sharesColdPrefixes: true,
    priority,
    can: ["beam-search", "json-schema", "regex", "grammar"],
    completionPath: COMPLETIONS_PATH,
    body: (request) => ({
      ...vllmBody(model, request, isGuided),
      ...(priority === null ? {} : { priority: request.priority }),
    }),
    chunkReader: () => readCompletionsChunk,
    tokenizer: tokenizerOf(model),
    likelihood: "by-tokens",
    ignoreEnd: { ignore_eos: true },
    read: readVllm,
    missing: (found) => missingOf(found, priority),
  };
}

/**
 * Whether one token is sampled under a priority other than 0. The protocol calls it an error unless the server orders by it;
 * newer releases (0.32, tried) take it all the same, and pass over it.
 */
async function ordersByPriority({ ask, model }: MetHost, signal: AbortSignal): Promise<boolean> {
  try {
    const body = { model, prompt: "one two", max_tokens: 1, temperature: 0, priority: 1, stream: false };
    await ask(COMPLETIONS_PATH, body, signal);
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}

/** Before 0.11 structures were "guided". A version that is not told, or is none (of a build from source), is a new one. */
function saysGuided(version: string): boolean {
  const minor = /^0\.(\d+)\./.exec(version);
  return minor !== null && Number(minor[1]) < 11 && Number(minor[1]) > 1;
}

/** Of all engines behind the address: each data-parallel one says its own. */
function cacheOf(metrics: MetricSamples): { kvTokens: number | null; blockTokens: number | null } {
  const each = samplesOf(metrics, ["vllm:cache_config_info"]).map(({ labels }) => ({
    blocks: Number(labels.get("num_gpu_blocks") ?? Number.NaN),
    size: Number(labels.get("block_size") ?? Number.NaN),
  }));
  const tokens = each.reduce((sum, { blocks, size }) => sum + blocks * size, 0);
  const size = each[0]?.size ?? Number.NaN;
  return {
    kvTokens: Number.isSafeInteger(tokens) && tokens > 0 ? tokens : null,
    blockTokens: Number.isSafeInteger(size) && size > 0 ? size : null,
  };
}

/** Options that are off are sent too: left out, they would be those of the model's generation_config. */
function vllmBody(model: string, request: CompletionRequest, isGuided: boolean): Record<string, unknown> {
  const { sampling } = request;
  return {
    ...completionsBody(model, request),
    stream_options: { include_usage: true, continuous_usage_stats: true },
    top_k: sampling.topK > 0 ? sampling.topK : -1,
    min_p: sampling.minP,
    // With its end in the text, a text that a stop string ended is what its tokens spell, unless they go on behind it.
    ...(sampling.tokens === true ? { return_token_ids: true, include_stop_str_in_output: true } : {}),
    ...(sampling.structure === undefined ? {} : structureBody(sampling.structure, isGuided)),
    ...beamBody(sampling),
  };
}

/** The engine answers a beam search as a whole. */
function beamBody({ beamWidth }: Sampling): Record<string, unknown> {
  if (beamWidth === undefined) return {};
  return { use_beam_search: true, n: beamWidth, stream: false, stream_options: undefined };
}

function structureBody(structure: Structure, isGuided: boolean): Record<string, unknown> {
  const key = structure.kind === "json-schema" ? "json" : structure.kind;
  const value = structureValue(structure);
  return isGuided ? { [`guided_${key}`]: value } : { structured_outputs: { [key]: value } };
}

function tokenizerOf(model: string): TokenizerRoutes {
  return {
    tokenizeBody: (text, { begins }) => ({ model, prompt: text, add_special_tokens: begins }),
    detokenizeBody: (tokens) => ({ model, tokens }),
    spelledIn: "prompt",
  };
}

async function readVllm(ask: AskHost, signal: AbortSignal): Promise<EngineReading> {
  const metrics = readMetrics((await ask("/metrics", null, signal)).text);
  const sum = (...names: readonly string[]) => sumOf(samplesOf(metrics, names));
  const bySource = (source: string) =>
    sumOf(samplesOf(metrics, ["vllm:prompt_tokens_by_source_total"], { source }));
  const cached = bySource("local_cache_hit");
  const moved = bySource("external_kv_transfer");
  return {
    running: sum("vllm:num_requests_running"),
    waiting: sum("vllm:num_requests_waiting"),
    // The fullest of several engines: a sequence may be put on any of them.
    kvUsage: mostOf(samplesOf(metrics, ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"])),
    preemptions: sum("vllm:num_preemptions_total", "vllm:num_preemptions"),
    promptTokensComputed: bySource("local_compute"),
    promptTokensCached: cached === null ? null : cached + (moved ?? 0),
    generatedTokens: sum("vllm:generation_tokens_total", "vllm:generation_tokens"),
    startedS: mostOf(samplesOf(metrics, ["process_start_time_seconds"])),
  };
}

function missingOf(found: FoundHost, priority: Speech["priority"]): readonly Missing[] {
  const { reading } = found;
  return [
    ...(found.reportsCachedTokens
      ? []
      : [
          { what: "cached tokens of each rollout", remedy: "start vLLM with --enable-prompt-tokens-details" },
        ]),
    ...(priority === null
      ? [{ what: "order by priority", remedy: "start vLLM with --scheduling-policy priority" }]
      : []),
    ...(reading === null
      ? [{ what: "how the engine is doing", remedy: "let /metrics of vLLM through to this address" }]
      : []),
    ...(reading !== null && reading.promptTokensComputed === null
      ? [
          {
            what: "prompt tokens by source",
            remedy: "a newer release of vLLM has prompt_tokens_by_source_total",
          },
        ]
      : []),
  ];
}
