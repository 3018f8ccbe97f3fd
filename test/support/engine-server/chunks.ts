/** The chunks of a stream as each engine writes them. */
import { decode, logprobOf } from "../toy-tokenizer.ts";
import type { Asked, ServerKind } from "./asked.ts";
import type { Generated } from "./walk.ts";

export interface ChunkWriterOptions {
  readonly kind: ServerKind;
  readonly model: string;
  readonly reportsUsage: boolean;
  /** SGLang: a chunk holds what is new, not the whole text so far. */
  readonly isIncremental: boolean;
}

export interface UsageSaid {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number } | null;
}

export interface ToWrite {
  readonly text: string;
  readonly token: number | null;
  /** Null before the last. */
  readonly end: Generated | null;
  readonly usage: UsageSaid;
  readonly cached: number;
}

/** Writes the chunks of one completion, in order. */
export function chunkWriter(asked: Asked, options: ChunkWriterOptions): (chunk: ToWrite) => unknown {
  if (asked.body["sampling_params"] !== undefined) return sglangWriter(asked, options);
  if (options.kind === "llama-server") return (chunk) => llamaChunk(asked, chunk);
  return (chunk) => completionsChunk(asked, options, chunk);
}

export function envelope(model: string): Record<string, unknown> {
  return { id: "cmpl-1", object: "text_completion", created: 1, model };
}

function completionsChunk(
  { body, wantsLogprobs }: Asked,
  { kind, model, reportsUsage }: ChunkWriterOptions,
  { text, token, end, usage }: ToWrite,
): unknown {
  const ids = token === null ? [] : [token];
  const listed =
    !wantsLogprobs || token === null
      ? null
      : { tokens: [decode(ids)], token_logprobs: ids.map(logprobOf), top_logprobs: [{}], text_offset: [0] };
  const choice = { index: 0, text, logprobs: listed, finish_reason: end?.reason ?? null };
  const told = body["return_token_ids"] === true && kind === "vllm" ? { token_ids: ids } : {};
  const stopped = end?.stopString ?? null;
  const saying = {
    vllm: { stop_reason: stopped },
    sglang: { matched_stop: stopped ?? (end?.reason === "stop" ? 2 : null) },
    "llama-server": {},
    other: {},
  };
  const options = body["stream_options"];
  const isLive =
    typeof options === "object" && options !== null && "continuous_usage_stats" in options && reportsUsage;
  return {
    ...envelope(model),
    choices: [{ ...choice, ...told, ...saying[kind] }],
    ...(isLive ? { usage } : {}),
  };
}

function llamaChunk({ body, wantsLogprobs }: Asked, { text, token, end, usage, cached }: ToWrite): unknown {
  const ids = token === null ? [] : [token];
  const counts = { tokens_evaluated: usage.prompt_tokens, tokens_predicted: usage.completion_tokens };
  // A stream says the tokens piece by piece, the one that ends the text like the others.
  const told = body["return_tokens"] === true ? ids : [];
  if (end === null) {
    const listed = ids.map((id) => ({ id, token: decode([id]), logprob: logprobOf(id), top_logprobs: [] }));
    const probabilities = wantsLogprobs ? { completion_probabilities: listed } : {};
    return { index: 0, content: text, tokens: told, stop: false, id_slot: 0, ...counts, ...probabilities };
  }
  return {
    index: 0,
    content: "",
    tokens: told,
    stop: true,
    stop_type: end.reason === "length" ? "limit" : end.stopString === null ? "eos" : "word",
    stopping_word: end.stopString ?? "",
    timings: { cache_n: cached, prompt_n: 1, predicted_n: end.tokens.length },
    ...counts,
  };
}

function sglangWriter({ wantsLogprobs }: Asked, { isIncremental }: ChunkWriterOptions) {
  let whole = "";
  const ids: number[] = [];
  return ({ text, token, end, usage, cached }: ToWrite): unknown => {
    whole += text;
    const added = token === null ? [] : [token];
    ids.push(...added);
    const listed = (isIncremental ? added : ids).map((id) => [logprobOf(id), id, null]);
    return {
      text: isIncremental ? text : whole,
      output_ids: isIncremental ? added : [...ids],
      meta_info: {
        id: "1",
        finish_reason: end === null ? null : sglangFinish(end),
        prompt_tokens: usage.prompt_tokens,
        weight_version: "default",
        ...(wantsLogprobs ? { output_token_logprobs: listed } : {}),
        completion_tokens: ids.length,
        cached_tokens: cached,
      },
    };
  };
}

function sglangFinish({ reason, stopString, tokens }: Generated): unknown {
  if (reason === "length") return { type: "length", length: tokens.length };
  return { type: "stop", matched: stopString ?? 2 };
}
