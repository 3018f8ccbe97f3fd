/** What a simulated server says at /metrics, under vLLM's names. Pure. */
import type { EngineModelSignals } from "./engine-model.ts";
import type { EngineProfile } from "./engine-profile.ts";

/** @param startedS When it started, in seconds since the Unix epoch. */
export function metricsText(
  signals: EngineModelSignals,
  host: { readonly model: string; readonly profile: EngineProfile; readonly startedS: number },
): string {
  const { blockTokens, kvCapacityTokens } = host.profile;
  const at = `engine="0",model_name="${host.model.replaceAll(/["\\\n]/g, "_")}"`;
  const { promptTokensComputed: computed, promptTokensCached: cached } = signals;
  const blocks = Math.floor(kvCapacityTokens / blockTokens);
  const lines = (name: string, type: "gauge" | "counter", ...samples: readonly string[]): string =>
    `# TYPE ${name} ${type}\n${samples.map((sample) => `${name}${sample}\n`).join("")}`;
  const one = (name: string, type: "gauge" | "counter", value: number): string =>
    lines(`vllm:${name}`, type, `{${at}} ${value}`);
  return [
    one("num_requests_running", "gauge", signals.running),
    one("num_requests_waiting", "gauge", signals.waiting),
    one("kv_cache_usage_perc", "gauge", signals.kvUsage),
    one("num_preemptions_total", "counter", signals.preemptions),
    one("prompt_tokens_total", "counter", computed + cached),
    one("prompt_tokens_cached_total", "counter", cached),
    lines(
      "vllm:prompt_tokens_by_source_total",
      "counter",
      `{${at},source="local_compute"} ${computed}`,
      `{${at},source="local_cache_hit"} ${cached}`,
      `{${at},source="external_kv_transfer"} 0`,
    ),
    one("generation_tokens_total", "counter", signals.completionTokens),
    lines(
      "vllm:cache_config_info",
      "gauge",
      `{block_size="${blockTokens}",cache_dtype="auto",engine="0",num_gpu_blocks="${blocks}"} 1`,
    ),
    lines("process_start_time_seconds", "gauge", ` ${host.startedS}`),
  ].join("");
}
