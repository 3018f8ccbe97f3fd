/** What an OpenAI-compatible host is: whether it is up, what it serves, what it holds, and what it reports. */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { HostFacts } from "../../../services/link/link.ts";
import { refusalOf, rubbish } from "../../http-exchange.ts";
import {
  countOf,
  fieldsOf,
  objectIn,
  parseJson,
  readTopLogprobs,
  scoreBody,
  type Fields,
  type Server,
} from "./openai-wire.ts";

/** Likeliest tokens to ask for: vLLM's default ceiling, then OpenAI's. */
const TOP_LOGPROBS = [20, 5] as const;
/** The first is longer than a block of any engine's KV cache; the second is for a model whose context it does not fit. */
const PROBE_PROMPTS = ["one two three four five six seven eight nine ten ".repeat(8), "one two"] as const;

export interface ProbedHost extends Omit<HostFacts, "id" | "engine"> {
  readonly server: Server;
  /** 0 where it cannot score. */
  readonly topLogprobs: number;
}

/** Asks the host one question: GET where `body` is null, else POST. Resolves with the whole answer. */
export type AskHost = (
  path: string,
  body: unknown,
  signal: AbortSignal,
) => Promise<{ readonly url: string; readonly text: string }>;

/**
 * Rejects with "unavailable" while the host is not there or loads its model, "failed_precondition" where it serves another
 * model or refuses the key, "data_loss" where something else answers at that address.
 */
export async function probeHost(
  ask: AskHost,
  host: { readonly root: string; readonly model: string | null; readonly concurrency: number },
  signal: AbortSignal,
): Promise<ProbedHost> {
  await checkHealth(ask, signal);
  const { url, text } = await ask("/v1/models", null, signal);
  const models = modelsIn(text, url);
  const model = chooseModel(models, host.model, url);
  const server = serverOf(model);
  const id = String(model.get("id"));
  const [capacity, reports] = await Promise.all([
    capacityOf(ask, server, model, signal),
    reportsOf(ask, id, signal),
  ]);
  return {
    server,
    model: id,
    concurrency: Math.min(host.concurrency, capacity.slots ?? host.concurrency),
    kvCapacityTokens: capacity.kvTokens,
    contextTokens: capacity.contextTokens,
    ...reports,
  };
}

/** A server without /health is asked nothing more; one that says "loading" (503) is not up. */
async function checkHealth(ask: AskHost, signal: AbortSignal): Promise<void> {
  try {
    await ask("/health", null, signal);
  } catch (error) {
    const status = refusalOf(error)?.status ?? null;
    if (status === null || status === 503) throw error;
  }
}

function modelsIn(text: string, url: string): readonly Fields[] {
  const data = objectIn(parseJson(text, url), "a list of models", url).get("data");
  if (!Array.isArray(data)) throw rubbish(url, 'a list of models with "data"', text);
  const models = data.map((each) => objectIn(each, "a model", url));
  const nameless = models.find((model) => typeof model.get("id") !== "string");
  if (nameless !== undefined) throw rubbish(url, 'a model with "id"', text);
  return models;
}

function chooseModel(models: readonly Fields[], wanted: string | null, url: string): Fields {
  const served = models.map((model) => String(model.get("id"))).join(", ") || "none";
  const chosen = wanted === null ? models[0] : models.find((model) => model.get("id") === wanted);
  if (chosen === undefined || (wanted === null && models.length > 1)) {
    const expected = wanted === null ? "one model" : `the model ${JSON.stringify(wanted)}`;
    throw new CoppiceError("failed_precondition", `expected ${expected}, found ${served}, from ${url}`);
  }
  return chosen;
}

function serverOf(model: Fields): Server {
  const owner = model.get("owned_by");
  if (owner === "vllm" || owner === "sglang") return owner;
  return owner === "llamacpp" ? "llama-server" : "other";
}

interface Capacity {
  readonly contextTokens: number | null;
  readonly kvTokens: number | null;
  readonly slots: number | null;
}

/** What the server tells of itself beside the API; what it does not tell is unknown, and no reason to fail. */
async function capacityOf(
  ask: AskHost,
  server: Server,
  model: Fields,
  signal: AbortSignal,
): Promise<Capacity> {
  const contextTokens = countOf(model.get("max_model_len"));
  const optional = async (path: string): Promise<string> => {
    try {
      return (await ask(path, null, signal)).text;
    } catch {
      signal.throwIfAborted();
      return "";
    }
  };
  switch (server) {
    case "vllm":
      return { contextTokens, kvTokens: vllmKvTokens(await optional("/metrics")), slots: null };
    case "sglang":
      return {
        contextTokens,
        kvTokens: countOf(jsonFields(await optional("/server_info"))?.get("max_total_num_tokens")),
        slots: null,
      };
    case "llama-server": {
      const props = jsonFields(await optional("/props"));
      const slots = countOf(props?.get("total_slots"));
      const perSlot = countOf(fieldsOf(props?.get("default_generation_settings"))?.get("n_ctx"));
      return {
        contextTokens: perSlot,
        kvTokens: slots === null || perSlot === null ? null : slots * perSlot,
        slots: slots === 0 ? null : slots,
      };
    }
    case "other":
      return { contextTokens, kvTokens: null, slots: null };
  }
}

function vllmKvTokens(metrics: string): number | null {
  const labels = /^vllm:cache_config_info\{(.*)\}/m.exec(metrics)?.[1] ?? "";
  const blocks = Number(/\bnum_gpu_blocks="(\d+)"/.exec(labels)?.[1]);
  const size = Number(/\bblock_size="(\d+)"/.exec(labels)?.[1]);
  return Number.isSafeInteger(blocks * size) ? blocks * size : null;
}

/** The same prompt twice: does the second answer say how much of it was cached, and does it list probabilities? */
async function reportsOf(
  ask: AskHost,
  model: string,
  signal: AbortSignal,
): Promise<Pick<ProbedHost, "reportsCachedTokens" | "can" | "topLogprobs">> {
  const { prompt, plain } = await warmUp(ask, model, signal);
  for (const topLogprobs of TOP_LOGPROBS) {
    try {
      const { url, text } = await ask("/v1/completions", scoreBody(model, prompt, topLogprobs), signal);
      const { top, usage } = readTopLogprobs(text, url);
      return {
        reportsCachedTokens: usage.cachedTokens !== null,
        can: top === null ? [] : ["score"],
        topLogprobs: top === null ? 0 : topLogprobs,
      };
    } catch (error) {
      if (refusalOf(error)?.status !== 400) throw error;
    }
  }
  const again = await ask("/v1/completions", plain, signal);
  return {
    reportsCachedTokens: readTopLogprobs(again.text, again.url).usage.cachedTokens !== null,
    can: [],
    topLogprobs: 0,
  };
}

/** Has the host answer a prompt for the first time. Resolves with the prompt that it took. */
async function warmUp(
  ask: AskHost,
  model: string,
  signal: AbortSignal,
): Promise<{ readonly prompt: string; readonly plain: Readonly<Record<string, unknown>> }> {
  const [long, short] = PROBE_PROMPTS;
  const answered = async (prompt: string): Promise<{ prompt: string; plain: Record<string, unknown> }> => {
    const plain: Record<string, unknown> = { ...scoreBody(model, prompt, 0) };
    delete plain["logprobs"];
    const { text, url } = await ask("/v1/completions", plain, signal);
    readTopLogprobs(text, url);
    return { prompt, plain };
  };
  try {
    return await answered(long);
  } catch (error) {
    if (refusalOf(error)?.status !== 400) throw error;
    return answered(short);
  }
}

function jsonFields(text: string): Fields | null {
  try {
    return fieldsOf(JSON.parse(text));
  } catch {
    return null;
  }
}
