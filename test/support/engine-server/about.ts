/** What each engine tells of itself beside completions: versions, properties, metrics. */
import type { ServerKind } from "./asked.ts";

export interface EngineState {
  readonly running: number;
  readonly computed: number;
  readonly cached: number;
  readonly generated: number;
  readonly startedS: number;
}

export interface AboutOptions {
  readonly kind: ServerKind;
  readonly version: string;
  readonly hasMetrics: boolean;
  readonly isPrioritized: boolean;
  readonly lowPriorityFirst: boolean;
  readonly isIncremental: boolean;
}

/** What is found at a path: an object as JSON, a text as it is, or null: nothing. */
export function aboutAt(path: string, options: AboutOptions, state: EngineState): unknown {
  switch (options.kind) {
    case "vllm":
      if (path === "/version") return { version: options.version };
      return path === "/metrics" && options.hasMetrics ? vllmMetrics(state) : null;
    case "sglang":
      if (path === "/server_info") return serverInfo(options);
      if (path === "/v1/loads?include=core" && !isOld(options))
        return { version: options.version, loads: [loadOf(state)] };
      if (path === "/get_load" && isOld(options))
        return [{ dp_rank: 0, num_reqs: state.running, num_waiting_reqs: 0, num_tokens: 0 }];
      return path === "/metrics" && options.hasMetrics ? sglangMetrics(state) : null;
    case "llama-server":
      if (path === "/props")
        return {
          total_slots: 4,
          default_generation_settings: { n_ctx: 2048 },
          build_info: "b11434-0000000",
        };
      if (path === "/slots")
        return [0, 1, 2, 3].map((id) => ({ id, n_ctx: 2048, is_processing: id < state.running }));
      return path === "/metrics" && options.hasMetrics ? llamaMetrics(state) : null;
    case "other":
      return null;
  }
}

/** SGLang before it had /v1/loads. */
function isOld({ version }: AboutOptions): boolean {
  return version.startsWith("0.4.");
}

function loadOf({ running, computed }: EngineState): unknown {
  return {
    dp_rank: 0,
    num_running_reqs: running,
    num_waiting_reqs: 0,
    max_total_num_tokens: 20_480,
    token_usage: running / 100,
    cache_hit_rate: 0,
    total_prefill_uncached_tokens: computed,
  };
}

function vllmMetrics({ running, computed, cached, generated, startedS }: EngineState): string {
  const at = 'engine="0",model_name="tiny"';
  return [
    "# HELP vllm:num_requests_running Number of requests in model execution batches.",
    "# TYPE vllm:num_requests_running gauge",
    `vllm:num_requests_running{${at}} ${running}.0`,
    `vllm:num_requests_waiting{${at}} 0.0`,
    `vllm:kv_cache_usage_perc{${at}} ${running / 100}`,
    `vllm:num_preemptions_total{${at}} 0.0`,
    `vllm:prompt_tokens_by_source_total{${at},source="local_compute"} ${computed}.0`,
    `vllm:prompt_tokens_by_source_total{${at},source="local_cache_hit"} ${cached}.0`,
    `vllm:prompt_tokens_by_source_total{${at},source="external_kv_transfer"} 0.0`,
    `vllm:generation_tokens_total{${at}} ${generated}.0`,
    `vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="1000"} 1.0`,
    `process_start_time_seconds ${startedS}`,
    "",
  ].join("\n");
}

function sglangMetrics({ running, computed, cached, generated }: EngineState): string {
  // Two ranks of one tensor-parallel group say the same.
  const lines = ["0", "1"].flatMap((rank) => {
    const at = `engine_type="unified",model_name="tiny",dp_rank="0",tp_rank="${rank}"`;
    return [
      `sglang:num_running_reqs{${at}} ${running}.0`,
      `sglang:num_queue_reqs{${at}} 0.0`,
      `sglang:token_usage{${at}} ${running / 100}`,
      `sglang:num_retracted_requests_total{${at}} 0.0`,
      `sglang:realtime_tokens_total{${at},mode="prefill_compute"} ${computed}.0`,
      `sglang:realtime_tokens_total{${at},mode="prefill_cache"} ${cached}.0`,
      `sglang:realtime_tokens_total{${at},mode="decode"} ${generated}.0`,
    ];
  });
  return [...lines, ""].join("\n");
}

function llamaMetrics({ running, computed, cached, generated }: EngineState): string {
  return [
    "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.",
    "# TYPE llamacpp:prompt_tokens_total counter",
    `llamacpp:prompt_tokens_total ${computed}`,
    `llamacpp:prompt_tokens_cached_total ${cached}`,
    `llamacpp:tokens_predicted_total ${generated}`,
    `llamacpp:requests_processing ${running}`,
    "llamacpp:requests_deferred 0",
    "",
  ].join("\n");
}

function serverInfo({ version, isPrioritized, lowPriorityFirst, isIncremental }: AboutOptions): unknown {
  return {
    model_path: "tiny",
    page_size: 1,
    enable_priority_scheduling: isPrioritized,
    schedule_low_priority_values_first: lowPriorityFirst,
    incremental_streaming_output: isIncremental,
    max_total_num_tokens: 20_480,
    max_running_requests: 128,
    internal_states: [{}],
    version,
  };
}
