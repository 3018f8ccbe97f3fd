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
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { Driver } from "../driver.ts";
import { unable } from "../ability.ts";
import { Batcher } from "./embedded/batcher.ts";
import type { Arithmetic } from "./embedded/batcher.ts";
import { STEADY_PREFILL_TOKENS_MAX } from "./embedded/batch-plan.ts";
import { rememberPieces } from "./embedded/completion.ts";
import { loadEngine } from "./embedded/engine.ts";
import type { Engine } from "./embedded/engine.ts";
import { isSteadyExact } from "./embedded/invariance.ts";
import { EMBEDDED_CAN, likelihoodOn, sampleOn, scoreOn, type LoadedHost } from "./embedded/loaded-host.ts";
import { readModelFile } from "./embedded/model-file.ts";

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
  /**
   * Longest draft of what a rollout may say next, looked up in its prompt and its text so far, and evaluated in one batch
   * with its last token; 0 is off. Texts are the same either way (with `reproducible: false`: but for the arithmetic of
   * batches). Pays where texts repeat their prompt. Default 0.
   */
  readonly speculativeTokens?: number;
}

export interface EmbeddedDriver extends Driver {
  /**
   * Whether equal requests give equal texts whatever runs beside them, on this processor and with this model.
   */
  isReproducible(signal: AbortSignal): Promise<boolean>;
}

export const SEQUENCES_DEFAULT = 32;
export const SEQUENCES_MAX = 255;
export const THREADS_DEFAULT = 1;
/** A draft and the token before it are one chunk of a prompt to the arithmetic. */
export const SPECULATIVE_TOKENS_MAX = STEADY_PREFILL_TOKENS_MAX - 1;

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
  const draftTokensMax = wholeNumber(
    "speculative_tokens",
    options.speculativeTokens ?? 0,
    SPECULATIVE_TOKENS_MAX,
    { min: 0 },
  );
  let loading: Promise<LoadedHost> | null = null;
  let closing: Promise<void> | null = null;

  async function load(): Promise<LoadedHost> {
    const file = await readModelFile(modelPath);
    const engine = await loadEngine(file, { sequences, contextTokens, threads });
    const arithmetic = await chooseArithmetic(engine, sequences, options.reproducible);
    const batcher = new Batcher(engine, { sequences, arithmetic, draftTokensMax });
    return { file, engine, pieces: rememberPieces(engine), batcher, arithmetic };
  }

  async function host(signal: AbortSignal): Promise<LoadedHost> {
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

    async probe(signal) {
      const { file, engine } = await host(signal);
      return {
        model: file.name,
        concurrency: sequences,
        kvCapacityTokens: sequences * engine.contextTokens,
        contextTokens: engine.contextTokens,
        concurrencyMax: sequences,
        reportsCachedTokens: true,
        blockTokens: 1,
        sharesColdPrefixes: true,
        can: EMBEDDED_CAN,
      };
    },

    signals: async () => null,

    async sample(request, signal) {
      return sampleOn(await host(signal), request, signal);
    },

    async score(request, signal) {
      return scoreOn(await host(signal), request, signal);
    },

    async likelihood(request, signal) {
      return likelihoodOn(await host(signal), request, signal);
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

async function closeHost(loading: Promise<LoadedHost> | null, reason: CoppiceError): Promise<void> {
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

function wholeNumber(option: string, value: number, max: number, { min } = { min: 1 }): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  const message = `embedded host: ${option} must be a whole number from ${min} to ${max}, found ${value}`;
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
