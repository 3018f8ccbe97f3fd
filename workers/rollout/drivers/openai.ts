/**
 * The driver for every host that speaks the OpenAI completions API: vLLM, SGLang, llama-server. One sequence per request,
 * always streamed but for a beam search: closing the socket is how a rollout is stopped on the host. What of it is one
 * server's own stands in openai/, and what a host can do is found by its probe.
 *
 * Token ids are believed only where the host's own detokenizer spells the text by them (one question more for each rollout
 * that wants them): a stop string may end inside of a token, and engines differ in whether they tell the one that ends a text.
 *
 * What a host does not report is unknown, never zero (I8): tokens where no usage comes, cached tokens where the server was
 * started without the flag for them (vLLM: --enable-prompt-tokens-details, SGLang: --enable-cache-report).
 */
import type { PromptPiece, RolloutResult, Sampling } from "../../../services/queue/job.ts";
import type { Clock } from "../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { Random } from "../../../services/runtime/random.ts";
import type { Driver, SampleAnswer, SampleRequest, ScoreAnswer, ScoreRequest } from "../driver.ts";
import { createAgent, exchange, rubbish } from "../../http-exchange.ts";
import { retryExchange, type RetryLimits } from "../../http-retry.ts";
import { refuseInability, unable } from "../ability.ts";
import { promptInTokens, promptText } from "../prompt.ts";
import { completionBody, completionPath } from "./openai/completion.ts";
import { CompletionReader } from "./openai/completion-reader.ts";
import { createHostTokenizer, type HostTokenizer } from "./openai/host-tokenizer.ts";
import { likelihoodByEcho, likelihoodByTokens } from "./openai/likelihood.ts";
import { EXTRA_OPTIONS, probeHost, type ProbedHost } from "./openai/probe.ts";
import { askReward } from "./openai/reward.ts";
import { readTopLogprobs, scoreBody, scoreOf } from "./openai/score.ts";
import type { AskHost, Prompt } from "./openai/wire.ts";

export interface OpenaiLimits extends RetryLimits {
  /** Longest silence of the host within one request, its queue included. */
  readonly idleMs: number;
  /** Longest time of one request. */
  readonly requestMs: number;
  /** Longest time of one question of the probe. */
  readonly probeMs: number;
  /** Bytes of one answer. */
  readonly answerBytesMax: number;
}

export const DEFAULT_OPENAI_LIMITS: OpenaiLimits = {
  idleMs: 300_000,
  requestMs: 3_600_000,
  probeMs: 15_000,
  retriesMax: 3,
  backoffMs: 250,
  backoffMaxMs: 8_000,
  retryAfterMaxMs: 30_000,
  answerBytesMax: 64 * 1024 * 1024,
};

export interface OpenaiOptions {
  /** The server's root; a trailing "/v1" is allowed. */
  readonly url: string;
  /** Null: the one model that the host serves. */
  readonly model: string | null;
  /** The key itself; sent as a bearer token. */
  readonly apiKey: string | null;
  readonly concurrency: number;
  readonly clock: Clock;
  /** For the jitter of back-offs. */
  readonly random: Random;
  readonly limits?: Partial<OpenaiLimits>;
}

interface Host extends ProbedHost {
  /** Null where it takes no token ids. */
  readonly tokenizer: HostTokenizer | null;
}

export function createOpenaiDriver(options: OpenaiOptions): Driver {
  const limits: OpenaiLimits = { ...DEFAULT_OPENAI_LIMITS, ...options.limits };
  const root = rootOf(options.url);
  const agent = createAgent(root, options.concurrency);
  const closing = new AbortController();
  let probed: Host | null = null;

  const connect = (path: string, body: unknown, idleMs: number) => ({
    url: root + path,
    body,
    idleMs,
    agent,
    clock: options.clock,
    apiKey: options.apiKey,
    totalMs: limits.requestMs,
    bytesMax: limits.answerBytesMax,
    pathHint: "`url` must be the server's root, and the model one that it serves",
  });

  async function ask(path: string, body: unknown, idleMs: number, signal: AbortSignal) {
    let text = "";
    await exchange(connect(path, body, idleMs), (piece) => (text += piece), signal);
    return { url: root + path, text };
  }

  const asking: AskHost = (path, body, signal) => ask(path, body, limits.idleMs, signal);

  async function probe(signal: AbortSignal): Promise<Host> {
    const question: AskHost = (path, body, each) => ask(path, body, limits.probeMs, each);
    const found = await probeHost(
      question,
      { root, model: options.model, concurrency: options.concurrency },
      either(signal),
    );
    const { server, model } = found;
    const hasTokens = found.can.includes("tokens") && (server === "vllm" || server === "llama-server");
    probed = { ...found, tokenizer: hasTokens ? createHostTokenizer(asking, { server, model }) : null };
    return probed;
  }

  /** Token ids where a piece has them and the host takes them, else the text. */
  async function promptFor(pieces: readonly PromptPiece[], host: Host, signal: AbortSignal): Promise<Prompt> {
    const known = host.tokenizer === null ? null : await promptInTokens(pieces, host.tokenizer.of(signal));
    return known ?? promptText(pieces);
  }

  const either = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, closing.signal]);

  const withRetries = <T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> =>
    retryExchange(attempt, { clock: options.clock, random: options.random, limits, signal });

  async function sampleOnce(request: SampleRequest, host: Host, signal: AbortSignal): Promise<SampleAnswer> {
    const path = completionPath(host.server);
    const { seed, sampling } = request;
    refuseSampling(sampling, host, root);
    const prompt = await promptFor(request.pieces, host, signal);
    const body = completionBody(host, { prompt, seed, sampling, model: host.model });
    const reader = new CompletionReader(host.server, root + path, request.onUsage ?? (() => undefined));
    if (sampling.beamWidth !== undefined) reader.take((await asking(path, body, signal)).text);
    else await exchange(connect(path, body, limits.idleMs), (text) => reader.feed(text), signal);
    const { result, usage } = reader.answer(sampling);
    return { result: await withSpelling(result, host.tokenizer, signal), usage };
  }

  /** Does it with the host that was found, looked at now where it was not before; again where that may help. */
  async function onHost<T>(
    signal: AbortSignal,
    work: (host: Host, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const both = either(signal);
    both.throwIfAborted();
    return withRetries(async () => work(probed ?? (await probe(both)), both), both);
  }

  async function scoreOnce(request: ScoreRequest, host: Host, signal: AbortSignal): Promise<ScoreAnswer> {
    const prompt = await promptFor(request.pieces, host, signal);
    const body = scoreBody(host.model, prompt, host.topLogprobs);
    const { url, text } = await asking("/v1/completions", body, signal);
    const { top, usage } = readTopLogprobs(text, url);
    if (top === null) throw rubbish(url, 'a completion with "logprobs"', "none");
    const score = scoreOf(top, request.positive, request.negative);
    if (score !== null) return { score, usage };
    const found = [...top.keys()].map((token) => JSON.stringify(token)).join(" ");
    const wanted = `${JSON.stringify(request.positive)} or ${JSON.stringify(request.negative)}`;
    throw new CoppiceError(
      "invalid_argument",
      `expected ${wanted} among the likeliest next tokens, found ${found}, from ${url}`,
    );
  }

  return {
    engine: "openai",
    async probe(signal) {
      const found = await probe(signal);
      const { model, concurrency, concurrencyMax, kvCapacityTokens, contextTokens } = found;
      const { reportsCachedTokens, blockTokens, sharesColdPrefixes, can } = found;
      const size = { concurrency, concurrencyMax, kvCapacityTokens, contextTokens, blockTokens };
      return { model, ...size, reportsCachedTokens, sharesColdPrefixes, can };
    },
    signals: async () => null,
    sample: (request, signal) => onHost(signal, (host, both) => sampleOnce(request, host, both)),
    score: (request, signal) =>
      onHost(signal, (host, both) => {
        if (!host.can.includes("score")) throw unable("score", root);
        return scoreOnce(request, host, both);
      }),
    likelihood: (request, signal) =>
      onHost(signal, ({ model, can, server, tokenizer }, both) => {
        if (!can.includes("likelihood")) throw unable("likelihood", root);
        if (server !== "vllm" || tokenizer === null)
          return likelihoodByEcho(asking, request, { model, signal: both });
        return likelihoodByTokens(asking, request, { model, tokenizer: tokenizer.of(both), signal: both });
      }),
    reward: (request, signal) =>
      onHost(signal, ({ model, can, server }, both) => {
        if (!can.includes("reward")) throw unable("reward", root);
        return askReward(asking, request, { server, model, signal: both });
      }),
    async close() {
      if (closing.signal.aborted) return;
      closing.abort(new CoppiceError("cancelled", `the driver of ${root} is closed`));
      agent.destroy();
    },
  };
}

/** Throws "invalid_argument" for what the host cannot do, and for what it would pass over. */
function refuseSampling(sampling: Sampling, host: Host, root: string): void {
  refuseInability(sampling, host.can, root);
  const wanted = { top_k: sampling.topK > 0, min_p: sampling.minP > 0 };
  const ignored = EXTRA_OPTIONS.filter((option) => wanted[option] && host.ignores.includes(option));
  if (ignored.length > 0) {
    const message = `sampling asks for ${ignored.join(", ")}; expected a host that takes it, found that ${root} ignores it`;
    throw new CoppiceError("invalid_argument", message);
  }
  if (sampling.beamWidth === undefined) return;
  const isOn = {
    stop: sampling.stop.length > 0,
    top_p: sampling.topP < 1,
    ...wanted,
    [sampling.structure?.kind ?? "structure"]: sampling.structure !== undefined,
  };
  const idle = Object.entries(isOn).flatMap(([option, isSet]) => (isSet ? [option] : []));
  if (idle.length === 0) return;
  const message = `sampling asks for beam-search with ${idle.join(", ")}; expected it alone, since the beam search of ${root} has none of these`;
  throw new CoppiceError("invalid_argument", message);
}

/** Keeps the token ids where the host says that they spell the text. */
async function withSpelling(
  { tokens, ...result }: RolloutResult,
  tokenizer: HostTokenizer | null,
  signal: AbortSignal,
): Promise<RolloutResult> {
  if (tokens === undefined || tokenizer === null) return result;
  return (await tokenizer.spells(tokens, result.text, signal)) ? { ...result, tokens } : result;
}

function rootOf(url: string): string {
  if (!/^https?:\/\/[^/]/.test(url) || !URL.canParse(url)) {
    throw new CoppiceError(
      "invalid_argument",
      `expected the url of a host such as http://gpu1:8000, found ${JSON.stringify(url)}`,
    );
  }
  return url.replace(/\/+$/, "").replace(/\/v1$/, "");
}
