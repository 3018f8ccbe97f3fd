/**
 * llama.cpp as the embedded host needs it: one model, one context, batches of tokens in, sampled tokens out.
 * With grammar.ts the only file that imports node-llama-cpp's engine.
 *
 * It drives the binding below node-llama-cpp's own scheduler (`LlamaContext._ctx`), because the public API
 * gives no say in which tokens share a batch and in what order, nor a copy of one sequence's KV to another.
 * Measured on the 1 M-parameter model, 32 sequences: 1.4 to 1.8 times the tokens per second of the public
 * `evaluate`, and exact repeatability (batch-plan.ts) becomes possible. The price: the version of
 * node-llama-cpp is pinned, and what is used of the binding is checked when the model is loaded.
 *
 * Rules of the binding: one call at a time, `decode` and `copy` awaited before anything else touches the
 * context.
 */
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import type { Llama, LlamaModel, Token } from "node-llama-cpp";
import { CoppiceError, messageOf } from "../../../../services/runtime/errors.ts";
import type { Sampling, Structure } from "../../../../services/queue/job.ts";
import { createGrammars, type Form } from "./grammar.ts";
import type { ModelFile } from "./model-file.ts";

/**
 * Tokens of one sequence in one batch: `tokens` go to positions from `position`; what follows each of the last `wants` of
 * them is asked for. `rows` are the indexes of the tokens that get an output, in rising order; those are among them.
 */
export interface BatchItem {
  readonly sequence: number;
  readonly position: number;
  readonly tokens: readonly number[];
  readonly rows: readonly number[];
  readonly wants: number;
}

/**
 * Chance of one rollout: llama.cpp's sampler chain under the rollout's seed. Dispose it when the rollout
 * ends.
 */
export interface Sampler {
  readonly native: AddonSampler;
  dispose(): void;
}

export interface Engine {
  readonly contextTokens: number;
  readonly batchTokensMax: number;
  /**
   * Ids of `text`, with the begin-of-sequence token if the model wants one. Special tokens in the text are
   * recognised.
   */
  tokenize(text: string): readonly number[];
  /** The ids that `text` adds when it follows other text. */
  tokenizeContinuation(text: string): readonly number[];
  /** The text that `tokens` add to a text; a cut character at the end shows as U+FFFD. */
  detokenize(tokens: readonly number[]): string;
  /** Whether the model ends its text with this token. */
  isEnd(token: number): boolean;
  /** What holds one text to a structure. Rejects with "invalid_argument" for one that llama.cpp cannot hold a text to. */
  formOf(structure: Structure): Promise<Form>;
  /** `form`: that of the sampling's structure, for this text alone. */
  createSampler(sampling: Sampling, seed: number, form?: Form): Sampler;
  /** Evaluates a batch; per item, where the logits that it wants lie until the next `decode`. */
  decode(items: readonly BatchItem[]): Promise<readonly Uint32Array[]>;
  /** -1 where the sampling allows no token of the model. */
  sampleNext(logits: number, sampler: Sampler): Promise<number>;
  /** Raw logits of the chosen tokens, in their order. */
  logitsOf(logits: number, tokens: readonly number[]): Promise<readonly number[]>;
  /** The natural log-probability of a token: the model's own, before temperature and all other options of the sampling. */
  logprobOf(logits: number, token: number): Promise<number>;
  /** Forgets a sequence's tokens from position `from` on. */
  truncate(sequence: number, from: number): void;
  /** Makes `target` hold what `source` holds. */
  copy(target: number, source: number): Promise<void>;
  /** Call once, when nothing runs. */
  dispose(): Promise<void>;
}

export interface EngineOptions {
  readonly sequences: number;
  /** Per sequence; null takes what the model was trained for, at most `CONTEXT_TOKENS_DEFAULT_MAX`. */
  readonly contextTokens: number | null;
  readonly threads: number;
}

/** A context of 32 sequences of a large model's full length would not fit in memory. */
export const CONTEXT_TOKENS_DEFAULT_MAX = 4096;
/** Tokens evaluated in one call at most: bounds how long a prefill keeps the other sequences waiting. */
const BATCH_TOKENS = 512;
/**
 * Smaller files are read into memory instead of mapped: a mapped file that someone rewrites kills the process
 * (SIGBUS), and sharing its pages saves little.
 */
const MAP_FILE_FROM_BYTES = 512 * 1024 * 1024;
const SEEDS = 0x1_0000_0000;

/** The part of node-llama-cpp's binding that is used. */
interface AddonContext {
  initBatch(tokens: number): void;
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logitsOf: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  sampleToken(logits: number, sampler: AddonSampler): Promise<number>;
  /** `filter`: the logits of these tokens, and with true of the one that was taken. `total`: the sum of exp(logit - highest). */
  sampleToken(
    logits: number,
    sampler: AddonSampler,
    probabilities: false,
    confidence: false,
    filter: readonly [readonly number[], false, false, boolean, 0],
    total: boolean,
  ): Promise<readonly [number, undefined, undefined, readonly number[], number | undefined]>;
  removeTokenCellsFromSequence(sequence: number, start: number, end: number): boolean;
  copySequenceStateFromOtherSequence(target: number, source: number): Promise<number>;
}
interface AddonSampler {
  applyConfig(config: Readonly<Record<string, unknown>>): void;
  dispose(): void;
}

/**
 * One per process and never disposed: the binding's state is the process's own, and disposing it under one
 * host would take it from the others. It holds no handle that keeps the process alive.
 */
let llamaOfProcess: Promise<Llama> | undefined;

/**
 * Loads the model and makes its context. Throws invalid_argument when the file or the options do not allow
 * it.
 */
export async function loadEngine(file: ModelFile, options: EngineOptions): Promise<Engine> {
  llamaOfProcess ??= openLlama();
  const llama = await llamaOfProcess;
  const model = await llama
    .loadModel({ modelPath: file.path, useMmap: file.bytes >= MAP_FILE_FROM_BYTES })
    .catch((error: unknown) => {
      const guess = "cut short, or of a kind that this llama.cpp does not know?";
      const found = `${messageOf(error)} (${file.bytes} bytes; ${guess})`;
      const message = `model file ${file.path}: llama.cpp cannot load it: ${found}`;
      throw new CoppiceError("invalid_argument", message, { cause: error });
    });
  try {
    return await openContext(llama, model, { file, ...options });
  } catch (error) {
    await model.dispose();
    throw error;
  }
}

async function openLlama(): Promise<Llama> {
  const quiet = { logLevel: LlamaLogLevel.disabled, logger: () => {}, progressLogs: false };
  try {
    return await getLlama({ gpu: false, build: "never", ...quiet });
  } catch (error) {
    llamaOfProcess = undefined;
    const machine = `${process.platform} ${process.arch}`;
    const found = `no llama.cpp for ${machine} could be loaded: ${messageOf(error)}`;
    const message = `node-llama-cpp: ${found}; install its packages again`;
    throw new CoppiceError("failed_precondition", message, { cause: error });
  }
}

async function openContext(
  llama: Llama,
  model: LlamaModel,
  options: EngineOptions & { readonly file: ModelFile },
): Promise<Engine> {
  const trained = model.trainContextSize;
  const contextTokens = options.contextTokens ?? Math.min(trained, CONTEXT_TOKENS_DEFAULT_MAX);
  if (contextTokens > trained) {
    const found = `context_tokens is ${contextTokens}, the model was trained for ${trained}`;
    throw new CoppiceError(
      "invalid_argument",
      `model file ${options.file.path}: ${found}; lower context_tokens`,
    );
  }
  const context = await model
    .createContext({
      // One cell more per sequence, and one sequence more: room for the companions of batch-plan.ts.
      contextSize: contextTokens + 1,
      sequences: options.sequences + 1,
      batchSize: Math.max(BATCH_TOKENS, 2 * (options.sequences + 1)),
      threads: options.threads,
      flashAttention: true,
      failedCreationRemedy: false,
    })
    .catch((error: unknown) => {
      const asked = `a context of ${options.sequences} sequences of ${contextTokens} tokens`;
      const message = `model file ${options.file.path}: ${asked} cannot be made: ${messageOf(error)}`;
      throw new CoppiceError("invalid_argument", `${message}; lower sequences or context_tokens`, {
        cause: error,
      });
    });
  // The binding is internal to node-llama-cpp and untyped from here; `checkBinding` has checked what is
  // called.
  const addon = Reflect.get(context, "_ctx") as AddonContext;
  const nativeModel: unknown = Reflect.get(model, "_model");
  const bindings: unknown = Reflect.get(llama, "_bindings");
  const SamplerClass = Reflect.get(Object(bindings), "AddonSampler") as new (model: unknown) => AddonSampler;
  checkBinding(addon, SamplerClass);
  // Sampling runs on threads of the pool, and a sampler keeps its candidates inside: each call needs one of its own.
  const idleReaders: AddonSampler[] = [];
  const createReader = (): AddonSampler => {
    const reader = new SamplerClass(nativeModel);
    reader.applyConfig({ temperature: 0 });
    return reader;
  };

  /** The raw logits of some tokens and of the likeliest, and the sum of exp(logit - highest) over all. */
  async function read(logits: number, tokens: readonly number[]) {
    const reader = idleReaders.pop() ?? createReader();
    try {
      const filter = [tokens, false, false, true, 0] as const;
      const [highest, , , pairs, weight] = await addon.sampleToken(
        logits,
        reader,
        false,
        false,
        filter,
        true,
      );
      const of = new Map<number, number>();
      for (let i = 0; i + 1 < pairs.length; i += 2) of.set(pairs[i] ?? -1, pairs[i + 1] ?? Number.NaN);
      return { of, highest, weight: weight ?? Number.NaN };
    } finally {
      idleReaders.push(reader);
    }
  }

  const grammars = createGrammars(llama, model, options.file);
  /**
   * Precedes text when its tokens are asked for, so that the tokenizer does not take them for a beginning.
   */
  const anchor = tokensOf(model, "\n");
  const begin = model.tokens.shouldPrependBosToken && model.tokens.bos !== null ? [model.tokens.bos] : [];

  return {
    contextTokens,
    batchTokensMax: context.batchSize,
    tokenize: (text) => [...begin, ...tokensOf(model, text)],
    tokenizeContinuation(text) {
      const tokens = tokensOf(model, `\n${text}`);
      return anchor.every((token, index) => tokens[index] === token)
        ? tokens.slice(anchor.length)
        : tokensOf(model, text);
    },
    detokenize: (tokens) => model.detokenize(asTokens(tokens), false, asTokens(anchor)),
    isEnd: (token) => model.isEogToken(token as Token), // Token is number with a brand
    formOf: (structure) => grammars.formOf(structure),
    createSampler(sampling, seed, form) {
      const native = new SamplerClass(nativeModel);
      native.applyConfig({ ...samplerConfig(sampling, seed), ...form });
      return { native, dispose: () => native.dispose() };
    },
    async decode(items) {
      let size = 0;
      for (const item of items) size += item.tokens.length;
      addon.initBatch(size);
      const logits: Uint32Array[] = [];
      for (const { sequence, position, tokens, rows, wants } of items) {
        const outputs = addon.addToBatch(
          sequence,
          position,
          Uint32Array.from(tokens),
          Uint32Array.from(rows),
        );
        logits.push(outputs.subarray(outputs.length - wants));
      }
      await addon.decodeBatch();
      return logits;
    },
    sampleNext: (logits, sampler) => addon.sampleToken(logits, sampler.native),
    async logitsOf(logits, tokens) {
      const { of } = await read(logits, tokens);
      return tokens.map((token) => of.get(token) ?? Number.NaN);
    },
    async logprobOf(logits, token) {
      const { of, highest, weight } = await read(logits, [token]);
      return (of.get(token) ?? Number.NaN) - (of.get(highest) ?? Number.NaN) - Math.log(weight);
    },
    truncate(sequence, from) {
      addon.removeTokenCellsFromSequence(sequence, from, -1);
    },
    async copy(target, source) {
      await addon.copySequenceStateFromOtherSequence(target, source);
    },
    async dispose() {
      for (const reader of idleReaders) reader.dispose();
      await context.dispose();
      await model.dispose();
    },
  };
}

/**
 * What is off is left out: the chain then lacks that sampler, which matters (a top-k of everything sorts
 * everything).
 */
function samplerConfig(sampling: Sampling, seed: number): Readonly<Record<string, number>> {
  return {
    temperature: sampling.temperature,
    seed: ((Math.trunc(seed) % SEEDS) + SEEDS) % SEEDS,
    ...(sampling.topK > 0 && { topK: sampling.topK }),
    ...(sampling.topP < 1 && { topP: sampling.topP }),
    ...(sampling.minP > 0 && { minP: sampling.minP }),
  };
}

function tokensOf(model: LlamaModel, text: string): readonly number[] {
  return model.tokenize(text, true);
}

function asTokens(tokens: readonly number[]): Token[] {
  return tokens as Token[]; // Token is number with a brand; node-llama-cpp does not change the array
}

const BINDING_METHODS = [
  "initBatch",
  "addToBatch",
  "decodeBatch",
  "sampleToken",
  "removeTokenCellsFromSequence",
  "copySequenceStateFromOtherSequence",
];

function checkBinding(addon: unknown, samplerClass: unknown): void {
  const missing = BINDING_METHODS.filter((name) => typeof Reflect.get(Object(addon), name) !== "function");
  if (typeof samplerClass !== "function") missing.push("AddonSampler");
  if (missing.length === 0) return;
  const message = `node-llama-cpp: expected the binding of version 3.22.1, it lacks ${missing.join(", ")}`;
  throw new CoppiceError("failed_precondition", message);
}
