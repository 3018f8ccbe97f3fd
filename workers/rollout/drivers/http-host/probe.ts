/** What a host is: whether it is up, what answers there and what it serves, what it holds, and what it reports. */
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import { type Ability, type AttemptUsage, UNKNOWN_TOKENS } from "../../../../services/queue/job.ts";
import { refusalOf, rubbish } from "../../../http-exchange.ts";
import type { CompletionRequest, Dialect, EngineReading, Speech } from "./dialect.ts";
import { createHostTokenizer } from "./host-tokenizer.ts";
import { likelihoodByEcho } from "./likelihood.ts";
import { askReward } from "./reward.ts";
import { readTopLogprobs, scoreBody } from "./score.ts";
import { type AskHost, type Fields, objectIn, parseJson, type Server } from "./wire.ts";

/** Likeliest tokens to ask for: vLLM's default ceiling, then OpenAI's. */
const TOP_LOGPROBS = [20, 5] as const;
/** The first is longer than a block of any engine's KV cache; the second is for a model whose context it does not fit. */
const PROBE_PROMPTS = ["one two three four five six seven eight nine ten ".repeat(8), "one two"] as const;

/** Options that are no part of the API: a server may take them or pass over them. */
export const EXTRA_OPTIONS = ["top_k", "min_p"] as const;
export type ExtraOption = (typeof EXTRA_OPTIONS)[number];

export interface ProbedHost {
  readonly server: Server;
  readonly model: string;
  readonly speech: Speech;
  readonly can: readonly Ability[];
  /** 0 where it cannot score. */
  readonly topLogprobs: number;
  /** What it takes in without a word, and does not act on. */
  readonly ignores: readonly ExtraOption[];
  readonly reportsCachedTokens: boolean;
  readonly reportsCachedTokensOfScores: boolean;
  /** Prompt and cached tokens of the second of two equal prompts, as it said them. */
  readonly repeated: AttemptUsage;
  /** Null where it does not say how it is doing. */
  readonly reading: EngineReading | null;
}

/** Samples by the host's own route, as a rollout would be. */
export type SampleHost = (
  speech: Speech,
  request: Omit<CompletionRequest, "id">,
  signal: AbortSignal,
) => Promise<AttemptUsage>;

export interface ProbeOptions {
  readonly root: string;
  readonly model: string | null;
  /** The engine that the host must be: the name, and the dialects that it may speak. */
  readonly engine: string;
  readonly dialects: readonly Dialect[];
  readonly sample: SampleHost;
}

/**
 * Rejects with "unavailable" while the host is not there or loads its model, "failed_precondition" where it is another
 * engine, serves another model or refuses the key, "data_loss" where something else answers at that address.
 */
export async function probeHost(
  ask: AskHost,
  options: ProbeOptions,
  signal: AbortSignal,
): Promise<ProbedHost> {
  await checkHealth(ask, signal);
  const { url, text } = await ask("/v1/models", null, signal);
  const listed = chooseModel(modelsIn(text, url), options.model, url);
  const dialect = chooseDialect(listed, options, url);
  const { server } = dialect;
  const model = String(listed.get("id"));
  const speech = await dialect.meet({ ask, model, listed }, signal);
  const reports = await reportsOf(ask, { server, model, speech, sample: options.sample }, signal);
  return { server, model, speech, ...reports, reading: await readingOf(ask, speech, signal) };
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

function chooseDialect(listed: Fields, { engine, dialects }: ProbeOptions, url: string): Dialect {
  const owner = listed.get("owned_by");
  const spoken =
    dialects.find((each) => each.owner === owner) ?? dialects.find((each) => each.owner === null);
  if (spoken !== undefined) return spoken;
  const wanted = dialects.map((each) => JSON.stringify(each.owner)).join(" or ");
  const found = `the model ${JSON.stringify(listed.get("id"))} owned by ${JSON.stringify(owner ?? null)}`;
  throw new CoppiceError(
    "failed_precondition",
    `expected a host of the engine ${engine} (a model owned by ${wanted}), found ${found}, from ${url}; ` +
      `"openai" is the engine that speaks to whatever answers`,
  );
}

/** Null where it says nothing of itself. */
async function readingOf(ask: AskHost, speech: Speech, signal: AbortSignal): Promise<EngineReading | null> {
  try {
    const reading = await speech.read(ask, signal);
    return Object.values(reading).every((value) => value === null) ? null : reading;
  } catch {
    signal.throwIfAborted();
    return null;
  }
}

interface Asked {
  readonly server: Server;
  readonly model: string;
  readonly speech: Speech;
  readonly sample: SampleHost;
}

type Reports = Omit<ProbedHost, "server" | "model" | "speech" | "reading">;

/** What it does with a completion; a host that completes nothing may be a reward model. */
async function reportsOf(ask: AskHost, host: Asked, signal: AbortSignal): Promise<Reports> {
  let warm: Warm;
  try {
    warm = await warmUp(ask, host.model, signal);
  } catch (error) {
    const isRefused = refusalOf(error) !== null && (await isRewardModel(ask, host, signal));
    if (!isRefused) throw error;
    return {
      can: ["reward"],
      topLogprobs: 0,
      ignores: [],
      reportsCachedTokens: false,
      reportsCachedTokensOfScores: false,
      repeated: UNKNOWN_TOKENS,
    };
  }
  const listed = await listingOf(ask, host, { ...warm, signal });
  const repeated = await host.sample(host.speech, probeRequest(warm.prompt, 1), signal);
  const [ignores, optional] = await Promise.all([
    host.server === "other" ? ignoredBy(ask, warm.plain, signal) : [],
    optionalAbilities(ask, host, { hasLogprobs: listed.topLogprobs > 0, signal }),
  ]);
  const scored: readonly Ability[] = listed.topLogprobs > 0 ? ["score"] : [];
  const sampled: readonly Ability[] = listed.hasTokenLogprobs ? ["logprobs"] : [];
  return {
    can: [...scored, ...optional, ...sampled, ...host.speech.can],
    topLogprobs: listed.topLogprobs,
    ignores,
    reportsCachedTokens: repeated.cachedTokens !== null,
    reportsCachedTokensOfScores: listed.reportsCachedTokens,
    repeated,
  };
}

/** What a probe samples by: the model as it is. */
export function probeRequest(prompt: string, maxTokens: number): Omit<CompletionRequest, "id"> {
  const sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, maxTokens, stop: [] };
  return { prompt, seed: 0, sampling, priority: 0 };
}

/** Those that depend on how the server was started, or on its version. */
async function optionalAbilities(
  ask: AskHost,
  { model, speech }: Asked,
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
  const tokenizer = speech.tokenizer === null ? null : createHostTokenizer(ask, speech.tokenizer);
  const hasTokens =
    tokenizer !== null &&
    (await succeeds(async () =>
      tokenizer.spells(await tokenizer.of(signal).continuation("one"), "one", signal),
    ));
  const request = { pieces: [{ text: "one two" }], continuation: { text: " three" } };
  const isLikely =
    hasLogprobs &&
    (speech.likelihood === "by-echo"
      ? await succeeds(() => likelihoodByEcho(ask, request, { model, signal }))
      : speech.likelihood === "by-tokens" && hasTokens);
  return [...(isLikely ? (["likelihood"] as const) : []), ...(hasTokens ? (["tokens"] as const) : [])];
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
