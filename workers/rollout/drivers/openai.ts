/**
 * The driver for a host of which only the address is known: it finds out what answers there and speaks its dialect. A
 * server that is none of vLLM, SGLang and llama-server is spoken to by POST /v1/completions in the words that all such
 * servers know; of how it is doing nothing is known.
 */
import type { Driver } from "../driver.ts";
import { COMPLETIONS_PATH, completionsBody, readCompletionsChunk } from "./http-host/completions-wire.ts";
import {
  UNKNOWN_READING,
  type CompletionRequest,
  type Dialect,
  type MetHost,
  type Speech,
} from "./http-host/dialect.ts";
import { createHttpHost, type HttpHostDriver, type HttpHostOptions } from "./http-host/http-host.ts";
import { countOf } from "./http-host/wire.ts";
import { LLAMA_SERVER } from "./llama-server.ts";
import { SGLANG } from "./sglang.ts";
import { VLLM } from "./vllm.ts";

const PLAIN: Dialect = { server: "other", owner: null, meet };

/** A driver for one host that speaks the completions API, whichever engine is behind it. */
export function createOpenaiDriver(options: HttpHostOptions): HttpHostDriver & Driver {
  return createHttpHost({ engine: "openai", dialects: [VLLM, SGLANG, LLAMA_SERVER, PLAIN] }, options);
}

function meet({ model, listed }: MetHost): Promise<Speech> {
  return Promise.resolve({
    version: null,
    contextTokens: countOf(listed.get("max_model_len")),
    kvTokens: null,
    blockTokens: null,
    sequencesMax: null,
    hasSlots: false,
    sharesColdPrefixes: false,
    priority: null,
    can: [],
    completionPath: COMPLETIONS_PATH,
    body: (request) => plainBody(model, request),
    chunkReader: () => readCompletionsChunk,
    tokenizer: null,
    likelihood: "by-echo",
    ignoreEnd: {},
    read: () => Promise.resolve(UNKNOWN_READING),
    missing: () => [],
  });
}

/** Options that are no part of the API are sent only where they are on; the probe has found out whether they are heard. */
function plainBody(model: string, request: CompletionRequest): Record<string, unknown> {
  const { topK, minP } = request.sampling;
  return {
    ...completionsBody(model, request),
    ...(topK > 0 ? { top_k: topK } : {}),
    ...(minP > 0 ? { min_p: minP } : {}),
  };
}
