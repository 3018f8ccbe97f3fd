/** POST /v1/completions as vLLM and plain servers have it: the body that asks, and the chunks that answer. Pure. */
import type { Sampling } from "../../../../services/queue/job.ts";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { rubbish } from "../../../http-exchange.ts";
import type { Chunk, CompletionRequest, Finish } from "./dialect.ts";
import { fieldsOf, idsOf, numbersOf, objectIn, shown, type Fields, usageOf } from "./wire.ts";

export const COMPLETIONS_PATH = "/v1/completions";

/** What every such server takes. */
export function completionsBody(
  model: string,
  { prompt, seed, sampling }: CompletionRequest,
): Record<string, unknown> {
  return {
    model,
    prompt,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    seed,
    max_tokens: sampling.maxTokens,
    stream: true,
    stream_options: { include_usage: true },
    ...(sampling.stop.length === 0 ? {} : { stop: sampling.stop }),
    ...logprobsBody(sampling),
  };
}

function logprobsBody({ logprobs }: Sampling): Record<string, unknown> {
  return logprobs === true ? { logprobs: 1 } : {};
}

export function readCompletionsChunk(chunk: Fields, url: string): Chunk {
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
