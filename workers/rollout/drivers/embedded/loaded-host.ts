/** What a loaded model answers: rollouts, scores and likelihoods. */
import { CoppiceError, asCoppiceError, messageOf } from "../../../../services/runtime/errors.ts";
import type { Ability, AttemptUsage, PromptPiece } from "../../../../services/queue/job.ts";
import type {
  LikelihoodAnswer,
  LikelihoodRequest,
  SampleAnswer,
  SampleRequest,
  ScoreAnswer,
  ScoreRequest,
} from "../../driver.ts";
import { refuseInability } from "../../ability.ts";
import { promptInTokens, promptText } from "../../prompt.ts";
import type { Arithmetic, Batcher, Demand, Supply } from "./batcher.ts";
import { Completion, type Pieces } from "./completion.ts";
import type { Engine } from "./engine.ts";
import type { ModelFile } from "./model-file.ts";

/** No regular expressions: llama.cpp has no sampler for them, and its dependency no converter that is kept. No beam search. */
export const EMBEDDED_CAN: readonly Ability[] = [
  "score",
  "likelihood",
  "logprobs",
  "tokens",
  "json-schema",
  "grammar",
];

/** A model that is loaded, and what runs on it. */
export interface LoadedHost {
  readonly file: ModelFile;
  readonly engine: Engine;
  readonly pieces: Pieces;
  readonly batcher: Batcher;
  readonly arithmetic: Arithmetic;
}

export async function sampleOn(
  host: LoadedHost,
  request: SampleRequest,
  signal: AbortSignal,
): Promise<SampleAnswer> {
  const { sampling } = request;
  refuseInability(sampling, EMBEDDED_CAN, `embedded host ${host.file.path}`);
  const form = sampling.structure === undefined ? undefined : await host.engine.formOf(sampling.structure);
  const prompt = checkRoom(host, await tokensOf(host, request.pieces), 1);
  if (sampling.maxTokens < 1) {
    const found = `max_tokens must be at least 1, found ${sampling.maxTokens}`;
    throw new CoppiceError("invalid_argument", `embedded host ${host.file.path}: ${found}`);
  }
  const tokensMax = Math.min(sampling.maxTokens, host.engine.contextTokens - prompt.length);
  const completion = new Completion(sampling, host.pieces, tokensMax);
  const usageWith = (cachedTokens: number): AttemptUsage => {
    return { promptTokens: prompt.length, cachedTokens, completionTokens: completion.tokens };
  };
  let hasFirst = false;
  const tellFirst = (): void => {
    if (!hasFirst) request.onFirstToken?.();
    hasFirst = true;
  };
  const demand: Demand = {
    kind: "sample",
    completion,
    sampler: host.engine.createSampler(sampling, request.seed, form),
    logprobs: sampling.logprobs === true,
    onToken: (cachedTokens) => {
      tellFirst();
      request.onUsage?.(usageWith(cachedTokens));
    },
  };
  request.onUsage?.(usageWith(0));
  const supply = await submit(host, prompt, { demand, signal });
  if (supply.kind !== "sample") throw new Error("a sample was asked for");
  // A token that ends the text is told by its end.
  tellFirst();
  const { text, spelling } = completion;
  // Of every sampled token, the one that ended the text included.
  const meanLogprob = sampling.logprobs === true ? Math.min(0, supply.logprobs / completion.tokens) : null;
  const tokens = sampling.tokens === true && spelling !== undefined ? { tokens: spelling } : {};
  return {
    result: { kind: "rollout", text, ...supply.ending, meanLogprob, ...tokens },
    usage: usageWith(supply.cachedTokens),
  };
}

export async function scoreOn(
  host: LoadedHost,
  request: ScoreRequest,
  signal: AbortSignal,
): Promise<ScoreAnswer> {
  const tokens = [
    singleToken(host, "positive", request.positive),
    singleToken(host, "negative", request.negative),
  ];
  if (tokens[0] === tokens[1]) {
    const found = `both are ${JSON.stringify(request.positive)}`;
    const message = `embedded host ${host.file.path}: positive and negative must differ, ${found}`;
    throw new CoppiceError("invalid_argument", message);
  }
  const prompt = checkRoom(host, await tokensOf(host, request.pieces), 0);
  const usageWith = (cachedTokens: number): AttemptUsage => ({
    promptTokens: prompt.length,
    cachedTokens,
    completionTokens: 0,
  });
  request.onUsage?.(usageWith(0));
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
  return { score, usage: usageWith(supply.cachedTokens) };
}

export async function likelihoodOn(
  host: LoadedHost,
  { pieces, continuation }: LikelihoodRequest,
  signal: AbortSignal,
): Promise<LikelihoodAnswer> {
  const before = await tokensOf(host, pieces);
  const judged = continuation.tokens ?? host.engine.tokenizeContinuation(continuation.text);
  if (before.length === 0 || judged.length === 0) {
    const found = `${before.length} tokens and ${judged.length}`;
    const message = `embedded host ${host.file.path}: expected a prompt and a text behind it, found ${found}`;
    throw new CoppiceError("invalid_argument", message);
  }
  const prompt = checkRoom(host, [...before, ...judged], 0);
  const supply = await submit(host, prompt, { demand: { kind: "likelihood", from: before.length }, signal });
  if (supply.kind !== "likelihood") throw new Error("a likelihood was asked for");
  return {
    meanLogprob: Math.min(0, supply.logprobs / judged.length),
    usage: { promptTokens: prompt.length, cachedTokens: supply.cachedTokens, completionTokens: 0 },
  };
}

async function submit(
  host: LoadedHost,
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

async function tokensOf(host: LoadedHost, pieces: readonly PromptPiece[]): Promise<readonly number[]> {
  // It may close at every `await`; an engine that is disposed must not be touched.
  const engine = (): Engine => {
    host.batcher.throwIfClosed();
    return host.engine;
  };
  const known = await promptInTokens(pieces, {
    beginning: async (text) => engine().tokenize(text),
    continuation: async (text) => engine().tokenizeContinuation(text),
  });
  return known ?? engine().tokenize(promptText(pieces));
}

/** Throws invalid_argument unless the prompt leaves room for `room` tokens more. */
function checkRoom(host: LoadedHost, tokens: readonly number[], room: number): readonly number[] {
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

function singleToken(host: LoadedHost, role: string, text: string): number {
  const tokens = host.engine.tokenizeContinuation(text);
  const [token] = tokens;
  if (token !== undefined && tokens.length === 1) return token;
  const found = `${JSON.stringify(text)} is ${tokens.length} tokens`;
  throw new CoppiceError(
    "invalid_argument",
    `embedded host ${host.file.path}: ${role} must be one token of the model, ${found}`,
  );
}
