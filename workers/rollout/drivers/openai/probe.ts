/** What an OpenAI-compatible host is: whether it is up, what it serves, what it holds, and what it reports. */
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import type { Ability } from "../../../../services/queue/job.ts";
import type { HostFacts } from "../../../../services/link/link.ts";
import { refusalOf, rubbish } from "../../../http-exchange.ts";
import type { HostDialect } from "./completion.ts";
import { createHostTokenizer } from "./host-tokenizer.ts";
import { likelihoodByEcho } from "./likelihood.ts";
import { askReward } from "./reward.ts";
import { readTopLogprobs, scoreBody } from "./score.ts";
import { countOf, fieldsOf, objectIn, parseJson, type AskHost, type Fields, type Server } from "./wire.ts";

/** Likeliest tokens to ask for: vLLM's default ceiling, then OpenAI's. */
const TOP_LOGPROBS = [20, 5] as const;
/** The first is longer than a block of any engine's KV cache; the second is for a model whose context it does not fit. */
const PROBE_PROMPTS = ["one two three four five six seven eight nine ten ".repeat(8), "one two"] as const;

/** Options that are no part of the API: a server may take them or pass over them. */
export const EXTRA_OPTIONS = ["top_k", "min_p"] as const;
export type ExtraOption = (typeof EXTRA_OPTIONS)[number];

export interface ProbedHost extends Omit<HostFacts, "id" | "engine">, HostDialect {
  /** 0 where it cannot score. */
  readonly topLogprobs: number;
  /** What it takes in without a word, and does not act on. */
  readonly ignores: readonly ExtraOption[];
}

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
  const dialect = { server, isGuided: server === "vllm" && (await isGuided(ask, signal)) };
  const [capacity, reports] = await Promise.all([
    capacityOf(ask, server, model, signal),
    reportsOf(ask, { server, model: id }, signal),
  ]);
  return {
    ...dialect,
    model: id,
    concurrency: Math.min(host.concurrency, capacity.slots ?? host.concurrency),
    concurrencyMax: Math.min(host.concurrency, capacity.slots ?? host.concurrency),
    blockTokens: null,
    sharesColdPrefixes: server === "vllm",
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
  const optional = (path: string): Promise<string> => textOr(ask, path, signal);
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

/** Before 0.11. A version that is not told, or is none (of a build from source), is a new one. */
async function isGuided(ask: AskHost, signal: AbortSignal): Promise<boolean> {
  const said = jsonFields(await textOr(ask, "/version", signal))?.get("version");
  const version = typeof said === "string" ? /^0\.(\d+)\./.exec(said) : null;
  return version !== null && Number(version[1]) < 11 && Number(version[1]) > 1;
}

type Reports = Pick<ProbedHost, "reportsCachedTokens" | "can" | "topLogprobs" | "ignores">;

interface Asked {
  readonly server: Server;
  readonly model: string;
}

/** What it does with a completion; a host that completes nothing may be a reward model. */
async function reportsOf(ask: AskHost, host: Asked, signal: AbortSignal): Promise<Reports> {
  let warm: Warm;
  try {
    warm = await warmUp(ask, host.model, signal);
  } catch (error) {
    const isRefused = refusalOf(error) !== null && (await isRewardModel(ask, host, signal));
    if (!isRefused) throw error;
    return { reportsCachedTokens: false, can: ["reward"], topLogprobs: 0, ignores: [] };
  }
  const listed = await listingOf(ask, host, { ...warm, signal });
  const [ignores, optional] = await Promise.all([
    host.server === "other" ? ignoredBy(ask, warm.plain, signal) : [],
    optionalAbilities(ask, host, { hasLogprobs: listed.topLogprobs > 0, signal }),
  ]);
  const scored: readonly Ability[] = listed.topLogprobs > 0 ? ["score"] : [];
  const sampled: readonly Ability[] = listed.hasTokenLogprobs ? ["logprobs"] : [];
  const can = [...scored, ...optional, ...sampled, ...ABILITIES_OF[host.server]];
  return { reportsCachedTokens: listed.reportsCachedTokens, can, topLogprobs: listed.topLogprobs, ignores };
}

/** What an engine can do by its documentation, with no question that would show it cheaply. */
const ABILITIES_OF: Readonly<Record<Server, readonly Ability[]>> = {
  vllm: ["beam-search", "json-schema", "regex", "grammar"],
  sglang: ["json-schema", "regex", "grammar"],
  "llama-server": ["json-schema", "grammar"],
  other: [],
};

/** Those that depend on how the server was started, or on its version. */
async function optionalAbilities(
  ask: AskHost,
  { server, model }: Asked,
  { hasLogprobs, signal }: { readonly hasLogprobs: boolean; readonly signal: AbortSignal },
): Promise<readonly Ability[]> {
  const succeeds = async (question: () => Promise<unknown>): Promise<boolean> => {
    try {
      return (await question()) !== false;
    } catch {
      signal.throwIfAborted();
      return false;
    }
  };
  if (server === "vllm" || server === "llama-server") {
    const tokenizer = createHostTokenizer(ask, { server, model });
    const hasTokens = await succeeds(async () =>
      tokenizer.spells(await tokenizer.of(signal).continuation("one"), "one", signal),
    );
    if (!hasTokens) return [];
    return server === "vllm" && hasLogprobs ? ["likelihood", "tokens"] : ["tokens"];
  }
  const request = { pieces: [{ text: "one two" }], continuation: { text: " three" } };
  const echoes = hasLogprobs && (await succeeds(() => likelihoodByEcho(ask, request, { model, signal })));
  return echoes ? ["likelihood"] : [];
}

async function isRewardModel(ask: AskHost, host: Asked, signal: AbortSignal): Promise<boolean> {
  for (const over of ["text", "steps"] as const) {
    try {
      await askReward(ask, { input: "one two", over }, { ...host, signal });
      return true;
    } catch {
      signal.throwIfAborted();
    }
  }
  return false;
}

/** Which of the extra options it takes with a value that is none: a server that knows an option, or knows all, refuses that. */
async function ignoredBy(
  ask: AskHost,
  plain: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<readonly ExtraOption[]> {
  const ignored: ExtraOption[] = [];
  for (const option of EXTRA_OPTIONS) {
    try {
      await ask("/v1/completions", { ...plain, [option]: "none" }, signal);
      ignored.push(option);
    } catch {
      signal.throwIfAborted();
    }
  }
  return ignored;
}

interface Listing {
  readonly reportsCachedTokens: boolean;
  readonly topLogprobs: number;
  readonly hasTokenLogprobs: boolean;
}

/** The same prompt again: does the answer say how much of it was cached, and does it list probabilities? */
async function listingOf(
  ask: AskHost,
  { server, model }: Asked,
  { prompt, plain, signal }: Warm & { readonly signal: AbortSignal },
): Promise<Listing> {
  for (const topLogprobs of TOP_LOGPROBS) {
    try {
      const { url, text } = await ask("/v1/completions", scoreBody(model, prompt, topLogprobs), signal);
      const { top, usage, hasTokenLogprobs } = readTopLogprobs(text, url);
      return {
        reportsCachedTokens: usage.cachedTokens !== null,
        topLogprobs: top === null ? 0 : topLogprobs,
        // llama-server samples by another route, which lists them where this one does.
        hasTokenLogprobs: server === "llama-server" ? top !== null : hasTokenLogprobs,
      };
    } catch (error) {
      if (refusalOf(error)?.status !== 400) throw error;
    }
  }
  const again = await ask("/v1/completions", plain, signal);
  const reportsCachedTokens = readTopLogprobs(again.text, again.url).usage.cachedTokens !== null;
  return { reportsCachedTokens, topLogprobs: 0, hasTokenLogprobs: false };
}

interface Warm {
  readonly prompt: string;
  readonly plain: Readonly<Record<string, unknown>>;
}

/** Has the host answer a prompt for the first time. Resolves with the prompt that it took. */
async function warmUp(ask: AskHost, model: string, signal: AbortSignal): Promise<Warm> {
  const [long, short] = PROBE_PROMPTS;
  const answered = async (prompt: string): Promise<Warm> => {
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

/** What is found at a path; "" where nothing is. */
async function textOr(ask: AskHost, path: string, signal: AbortSignal): Promise<string> {
  try {
    return (await ask(path, null, signal)).text;
  } catch {
    signal.throwIfAborted();
    return "";
  }
}

function jsonFields(text: string): Fields | null {
  try {
    return fieldsOf(JSON.parse(text));
  } catch {
    return null;
  }
}
