/**
 * The embedded host: a small or medium model through llama.cpp inside this process (node-llama-cpp, CPU).
 *
 * Concurrent rollouts are decoded together (embedded/batcher.ts). A prompt is given to the idle sequence that
 * holds the longest part of it; siblings of a prompt that is being evaluated wait for it and take a copy;
 * what is reused is counted.
 *
 * Repeatability. Left to itself, llama.cpp's arithmetic depends on how rollouts happen to be batched: of 200
 * texts made alone and among 32, 0.5 to 2% differed. Shaping the batches (embedded/batch-plan.ts) makes it
 * exact at no cost that could be measured (all 200 equal; tokens per second 0.9 to 1.1 of the other, between
 * rounds of a busy machine), so it is the default. It is checked at load, because it depends on the processor
 * and on the format of the weights. Where it is not exact, `reproducible: true` decodes one rollout at a
 * time. The figures: bench/embedded.ts, 1 M parameters, f16.
 */
import { CoppiceError, asCoppiceError, messageOf } from "../../../services/runtime/errors.ts";
import type { Ability, AttemptUsage } from "../../../services/queue/job.ts";
import type { HostFacts } from "../../../services/link/link.ts";
import type { Driver, SampleAnswer, SampleRequest, ScoreAnswer, ScoreRequest } from "../driver.ts";
import { refuseInability, unable } from "../ability.ts";
import { promptText } from "../prompt.ts";
import { Batcher } from "./embedded/batcher.ts";
import type { Arithmetic, Demand, Supply } from "./embedded/batcher.ts";
import { Completion, rememberPieces } from "./embedded/completion.ts";
import type { Pieces } from "./embedded/completion.ts";
import { loadEngine } from "./embedded/engine.ts";
import type { Engine } from "./embedded/engine.ts";
import { isSteadyExact } from "./embedded/invariance.ts";
import { readModelFile } from "./embedded/model-file.ts";
import type { ModelFile } from "./embedded/model-file.ts";

export interface EmbeddedOptions {
  /** A GGUF file. */
  readonly modelPath: string;
  /** Rollouts decoded at once, each with a KV cache of `contextTokens`: the host's concurrency. Default 32. */
  readonly sequences?: number;
  /** Longest prompt plus completion. Default: what the model was trained for, at most 4096. */
  readonly contextTokens?: number;
  /**
   * Threads of one evaluation. llama.cpp's threads spin while they wait, so more pay off on large models
   * only. Default 1.
   */
  readonly threads?: number;
  /**
   * Whether the same prompt, seed and sampling must give the same text whatever runs beside it (I4). true: in
   * any case, one rollout at a time if need be. false: do not try, do not check. Default: where batches can
   * be shaped so that it holds, which `isReproducible` tells.
   */
  readonly reproducible?: boolean;
}

export interface EmbeddedDriver extends Driver {
  /**
   * Whether equal requests give equal texts whatever runs beside them, on this processor and with this model.
   */
  isReproducible(signal: AbortSignal): Promise<boolean>;
}

const CAN: readonly Ability[] = ["score"];

export const SEQUENCES_DEFAULT = 32;
export const SEQUENCES_MAX = 255;
export const THREADS_DEFAULT = 1;

/** A model that is loaded, and what runs on it. */
interface Host {
  readonly file: ModelFile;
  readonly engine: Engine;
  readonly pieces: Pieces;
  readonly batcher: Batcher;
  readonly arithmetic: Arithmetic;
}

/**
 * Nothing is read before the first call; the model is loaded once, and a failed load is tried again by the
 * next call. A model file that is missing, not GGUF or damaged rejects with invalid_argument saying what was
 * found.
 */
export function createEmbeddedDriver(options: EmbeddedOptions): EmbeddedDriver {
  const { modelPath } = options;
  const sequences = wholeNumber("sequences", options.sequences ?? SEQUENCES_DEFAULT, SEQUENCES_MAX);
  const threads = wholeNumber("threads", options.threads ?? THREADS_DEFAULT, 1024);
  const contextTokens =
    options.contextTokens === undefined
      ? null
      : wholeNumber("context_tokens", options.contextTokens, 1 << 24);
  let loading: Promise<Host> | null = null;
  let closing: Promise<void> | null = null;

  async function load(): Promise<Host> {
    const file = await readModelFile(modelPath);
    const engine = await loadEngine(file, { sequences, contextTokens, threads });
    const arithmetic = await chooseArithmetic(engine, sequences, options.reproducible);
    const batcher = new Batcher(engine, { sequences, arithmetic });
    return { file, engine, pieces: rememberPieces(engine), batcher, arithmetic };
  }

  async function host(signal: AbortSignal): Promise<Host> {
    if (closing !== null) throw closedError(modelPath);
    loading ??= load().catch((error: unknown) => {
      loading = null;
      throw error;
    });
    const found = await orAborted(loading, signal);
    // It may have closed meanwhile; an engine that is disposed must not be touched.
    if (closing !== null) throw closedError(modelPath);
    return found;
  }

  return {
    engine: "embedded",

    async probe(signal): Promise<Omit<HostFacts, "id" | "engine">> {
      const { file, engine } = await host(signal);
      return {
        model: file.name,
        concurrency: sequences,
        kvCapacityTokens: sequences * engine.contextTokens,
        contextTokens: engine.contextTokens,
        reportsCachedTokens: true,
        can: CAN,
      };
    },

    async sample(request, signal) {
      return sampleOn(await host(signal), request, signal);
    },

    async score(request, signal) {
      return scoreOn(await host(signal), request, signal);
    },

    async likelihood() {
      throw unable("likelihood", `embedded host ${modelPath}`);
    },

    async reward() {
      throw unable("reward", `embedded host ${modelPath}`);
    },

    async isReproducible(signal) {
      return (await host(signal)).arithmetic !== "free";
    },

    close() {
      closing ??= closeHost(loading, closedError(modelPath));
      return closing;
    },
  };
}

async function closeHost(loading: Promise<Host> | null, reason: CoppiceError): Promise<void> {
  const found = await loading?.catch(() => null);
  if (found === null || found === undefined) return;
  await found.batcher.close(reason);
  await found.engine.dispose();
}

async function chooseArithmetic(
  engine: Engine,
  sequences: number,
  reproducible: boolean | undefined,
): Promise<Arithmetic> {
  if (reproducible === false) return "free";
  if (await isSteadyExact(engine, sequences)) return "steady";
  return reproducible === true ? "serial" : "free";
}

async function sampleOn(host: Host, request: SampleRequest, signal: AbortSignal): Promise<SampleAnswer> {
  const { sampling } = request;
  refuseInability(sampling, CAN, `embedded host ${host.file.path}`);
  const prompt = promptTokens(host, promptText(request.pieces), 1);
  if (sampling.maxTokens < 1) {
    const found = `max_tokens must be at least 1, found ${sampling.maxTokens}`;
    throw new CoppiceError("invalid_argument", `embedded host ${host.file.path}: ${found}`);
  }
  const tokensMax = Math.min(sampling.maxTokens, host.engine.contextTokens - prompt.length);
  const completion = new Completion(sampling, host.pieces, tokensMax);
  const usageWith = (cachedTokens: number): AttemptUsage => {
    return { promptTokens: prompt.length, cachedTokens, completionTokens: completion.tokens };
  };
  const demand: Demand = {
    kind: "sample",
    completion,
    sampler: host.engine.createSampler(sampling, request.seed),
    onToken: (cachedTokens) => request.onUsage?.(usageWith(cachedTokens)),
  };
  request.onUsage?.(usageWith(0));
  const supply = await submit(host, prompt, { demand, signal });
  if (supply.kind !== "sample") throw new Error("a sample was asked for");
  return {
    result: { kind: "rollout", text: completion.text, ...supply.ending, meanLogprob: null },
    usage: usageWith(supply.cachedTokens),
  };
}

async function scoreOn(host: Host, request: ScoreRequest, signal: AbortSignal): Promise<ScoreAnswer> {
  const tokens = [
    singleToken(host, "positive", request.positive),
    singleToken(host, "negative", request.negative),
  ];
  if (tokens[0] === tokens[1]) {
    const found = `both are ${JSON.stringify(request.positive)}`;
    const message = `embedded host ${host.file.path}: positive and negative must differ, ${found}`;
    throw new CoppiceError("invalid_argument", message);
  }
  const prompt = promptTokens(host, promptText(request.pieces), 0);
  const supply = await submit(host, prompt, { demand: { kind: "logits", tokens }, signal });
  if (supply.kind !== "logits") throw new Error("logits were asked for");
  const [positive = Number.NaN, negative = Number.NaN] = supply.logits;
  const score = 1 / (1 + Math.exp(negative - positive));
  if (Number.isNaN(score)) {
    throw new CoppiceError(
      "internal",
      `embedded host ${host.file.path}: the model gave no logits for ${tokens.join(", ")}`,
    );
  }
  return {
    score,
    usage: { promptTokens: prompt.length, cachedTokens: supply.cachedTokens, completionTokens: 0 },
  };
}

async function submit(
  host: Host,
  prompt: readonly number[],
  work: { readonly demand: Demand; readonly signal: AbortSignal },
): Promise<Supply> {
  try {
    return await host.batcher.submit(prompt, work.demand, work.signal);
  } catch (error) {
    if (work.signal.aborted || error instanceof CoppiceError) throw error;
    throw new CoppiceError("internal", `embedded host ${host.file.path}: ${messageOf(error)}`, {
      cause: asCoppiceError(error),
    });
  }
}

/** Throws invalid_argument unless the prompt leaves room for `room` tokens more. */
function promptTokens(host: Host, prompt: string, room: number): readonly number[] {
  const tokens = host.engine.tokenize(prompt);
  const { contextTokens } = host.engine;
  if (tokens.length === 0) {
    throw new CoppiceError("invalid_argument", `embedded host ${host.file.path}: the prompt is empty`);
  }
  if (tokens.length + room <= contextTokens) return tokens;
  const found = `the prompt has ${tokens.length} tokens, the context of a sequence holds ${contextTokens}`;
  const advice =
    "shorten the prompt, or raise context_tokens of the host (at most what the model was trained for)";
  throw new CoppiceError(
    "invalid_argument",
    `embedded host ${host.file.path}: context overflow: ${found}; ${advice}`,
  );
}

function singleToken(host: Host, role: string, text: string): number {
  const tokens = host.engine.tokenizeContinuation(text);
  const [token] = tokens;
  if (token !== undefined && tokens.length === 1) return token;
  const found = `${JSON.stringify(text)} is ${tokens.length} tokens`;
  throw new CoppiceError(
    "invalid_argument",
    `embedded host ${host.file.path}: ${role} must be one token of the model, ${found}`,
  );
}

function wholeNumber(option: string, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  const message = `embedded host: ${option} must be a whole number from 1 to ${max}, found ${value}`;
  throw new CoppiceError("invalid_argument", message);
}

function closedError(modelPath: string): CoppiceError {
  return new CoppiceError("cancelled", `embedded host ${modelPath}: closed`);
}

/**
 * `promise`, or a rejection with the signal's reason as soon as it aborts; the work itself goes on for the
 * others.
 */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
