/**
 * The driver for every host that speaks the OpenAI completions API: vLLM, SGLang, llama-server. One sequence per request,
 * always streamed: closing the socket is how a rollout is stopped on the host.
 *
 * What a host does not report is unknown, never zero (I8): tokens where no usage comes, cached tokens where the server was
 * started without the flag for them (vLLM: --enable-prompt-tokens-details, SGLang: --enable-cache-report).
 */
import { createParser } from "eventsource-parser";
import { type AttemptUsage, UNKNOWN_TOKENS } from "../../../services/queue/job.ts";
import type { Clock } from "../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { Random } from "../../../services/runtime/random.ts";
import type { Driver, SampleAnswer, SampleRequest, ScoreAnswer, ScoreRequest } from "../driver.ts";
import { createAgent, exchange, rubbish } from "../../http-exchange.ts";
import { retryExchange, type RetryLimits } from "../../http-retry.ts";
import { refuseInability, unable } from "../ability.ts";
import { promptText } from "../prompt.ts";
import { probeHost, type AskHost, type ProbedHost } from "./openai-probe.ts";
import {
  completionBody,
  completionPath,
  readChunk,
  readTopLogprobs,
  scoreBody,
  scoreOf,
  withStopString,
  type Finish,
} from "./openai-wire.ts";

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

export function createOpenaiDriver(options: OpenaiOptions): Driver {
  const limits: OpenaiLimits = { ...DEFAULT_OPENAI_LIMITS, ...options.limits };
  const root = rootOf(options.url);
  const agent = createAgent(root, options.concurrency);
  const closing = new AbortController();
  let probed: ProbedHost | null = null;

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

  async function probe(signal: AbortSignal): Promise<ProbedHost> {
    const question: AskHost = (path, body, each) => ask(path, body, limits.probeMs, each);
    probed = await probeHost(
      question,
      { root, model: options.model, concurrency: options.concurrency },
      either(signal),
    );
    return probed;
  }

  const either = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, closing.signal]);

  const withRetries = <T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> =>
    retryExchange(attempt, { clock: options.clock, random: options.random, limits, signal });

  async function sampleOnce(
    request: SampleRequest,
    host: ProbedHost,
    signal: AbortSignal,
  ): Promise<SampleAnswer> {
    const path = completionPath(host.server);
    const { seed, sampling } = request;
    refuseInability(sampling, host.can, root);
    const prompt = promptText(request.pieces);
    const body = completionBody(host.server, { prompt, seed, sampling, model: host.model });
    const reader = new StreamReader(host, root + path, request.onUsage ?? (() => undefined));
    await exchange(connect(path, body, limits.idleMs), (text) => reader.feed(text), signal);
    return reader.answer(request.sampling.stop);
  }

  async function scoreOnce(
    request: ScoreRequest,
    host: ProbedHost,
    signal: AbortSignal,
  ): Promise<ScoreAnswer> {
    const { url, text } = await ask(
      "/v1/completions",
      scoreBody(host.model, promptText(request.pieces), host.topLogprobs),
      limits.idleMs,
      signal,
    );
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
      const { model, concurrency, kvCapacityTokens, contextTokens, reportsCachedTokens, can } =
        await probe(signal);
      return { model, concurrency, kvCapacityTokens, contextTokens, reportsCachedTokens, can };
    },
    async sample(request, signal) {
      const both = either(signal);
      both.throwIfAborted();
      return withRetries(async () => sampleOnce(request, probed ?? (await probe(both)), both), both);
    },
    async score(request, signal) {
      const both = either(signal);
      both.throwIfAborted();
      return withRetries(async () => {
        const host = probed ?? (await probe(both));
        if (!host.can.includes("score")) throw unable("score", root);
        return scoreOnce(request, host, both);
      }, both);
    },
    async likelihood() {
      throw unable("likelihood", root);
    },
    async reward() {
      throw unable("reward", root);
    },
    async close() {
      if (closing.signal.aborted) return;
      closing.abort(new CoppiceError("cancelled", `the driver of ${root} is closed`));
      agent.destroy();
    },
  };
}

/** Puts the chunks of one stream together. */
class StreamReader {
  readonly #host: ProbedHost;
  readonly #url: string;
  readonly #onUsage: (usage: AttemptUsage) => void;
  readonly #parser = createParser({ onEvent: (event) => this.#take(event.data) });
  readonly #pieces: string[] = [];
  /** The answer's beginning: what to show where it turns out to be no stream at all. */
  #head = "";
  #events = 0;
  #finish: Finish | null = null;
  #usage: AttemptUsage = UNKNOWN_TOKENS;

  constructor(host: ProbedHost, url: string, onUsage: (usage: AttemptUsage) => void) {
    this.#host = host;
    this.#url = url;
    this.#onUsage = onUsage;
  }

  feed(text: string): void {
    if (this.#events === 0 && this.#head.length < 256) this.#head += text.slice(0, 256);
    this.#parser.feed(text);
  }

  answer(stop: readonly string[]): SampleAnswer {
    this.#parser.reset({ consume: true });
    if (this.#events === 0)
      throw rubbish(this.#url, "a stream of events", this.#head === "" ? "nothing" : this.#head);
    if (this.#finish === null) {
      throw rubbish(
        this.#url,
        "a finish_reason at the end of the stream",
        `none after ${this.#events} events`,
      );
    }
    const { text, stopString } = withStopString(this.#pieces.join(""), this.#finish, stop);
    return {
      result: { kind: "rollout", text, finishReason: this.#finish.reason, stopString, meanLogprob: null },
      usage: this.#usage,
    };
  }

  #take(data: string): void {
    this.#events += 1;
    if (data === "[DONE]") return;
    const chunk = readChunk(this.#host.server, data, this.#url);
    if (chunk.text !== "") this.#pieces.push(chunk.text);
    this.#finish = chunk.finish ?? this.#finish;
    if (chunk.usage === null) return;
    this.#usage = chunk.usage;
    this.#onUsage(chunk.usage);
  }
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
