/**
 * The driver behind every host that is spoken to over HTTP. One sequence per request, always streamed but for a beam search:
 * closing the socket is how a rollout is stopped on the host. What is one engine's own stands in its dialect, and what a
 * host can do is found by its probe.
 *
 * Token ids are believed only where the host's own detokenizer spells the text by them (one question more for each rollout
 * that wants them): a stop string may end inside of a token, and engines differ in whether they tell the one that ends a text.
 *
 * What a host does not report is unknown, never zero (I8).
 */
import type { AttemptUsage, PromptPiece, RolloutResult, Sampling } from "../../../../services/queue/job.ts";
import type { Clock } from "../../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import type { Log } from "../../../../services/runtime/log.ts";
import { deriveSeed, type Random } from "../../../../services/runtime/random.ts";
import type {
  Driver,
  EngineSignals,
  LikelihoodAnswer,
  LikelihoodRequest,
  ProbedFacts,
  RewardAnswer,
  RewardRequest,
  SampleAnswer,
  SampleRequest,
  ScoreAnswer,
  ScoreRequest,
} from "../../driver.ts";
import { createAgent, exchange, refusalOf, rubbish } from "../../../http-exchange.ts";
import { retryExchange } from "../../../http-retry.ts";
import { refuseInability, unable } from "../../ability.ts";
import { promptInTokens, promptText } from "../../prompt.ts";
import { type AbortFinding, checkAbort } from "./abort-check.ts";
import { CompletionReader, type CompletionListener } from "./completion-reader.ts";
import { CONCURRENCY_MAX, type Concurrency, concurrencyOf } from "./concurrency.ts";
import type { CompletionRequest, Dialect, Speech } from "./dialect.ts";
import { type KvEventCounts, type KvEventLimits, KvEventStream } from "../kv-events/kv-event-stream.ts";
import { createHostTokenizer, type HostTokenizer } from "./host-tokenizer.ts";
import { likelihoodByEcho, likelihoodByTokens } from "./likelihood.ts";
import { DEFAULT_HTTP_HOST_LIMITS, type HttpHostLimits } from "./limits.ts";
import { EXTRA_OPTIONS, probeHost, type ProbedHost, probeRequest, type SampleHost } from "./probe.ts";
import { type ProbeReport, probeReport } from "./probe-report.ts";
import { askReward } from "./reward.ts";
import { readTopLogprobs, scoreBody, scoreOf } from "./score.ts";
import { SignalReader } from "./signal-reader.ts";
import { measureStepFloor } from "./step-floor.ts";
import type { AskHost, Prompt } from "./wire.ts";

/** What is sampled to see how the host goes about it, not what it says. */
const SHORT_PROMPT = "one two three";

export interface HttpHostOptions {
  /** The server's root; a trailing "/v1" is allowed. */
  readonly url: string;
  /** Null: the one model that the host serves. */
  readonly model: string | null;
  /** The key itself; sent as a bearer token. */
  readonly apiKey: string | null;
  readonly concurrency: Concurrency;
  /** Where the engine publishes its KV events (tcp://gpu1:5557); absent or null: they are not followed. */
  readonly kvEvents?: string | null;
  readonly clock: Clock;
  /** For the jitter of back-offs, and names of requests. */
  readonly random: Random;
  readonly log?: Log;
  readonly limits?: Partial<HttpHostLimits>;
  readonly kvEventLimits?: Partial<KvEventLimits>;
}

/** A driver that can tell more of its host than the work needs. */
export interface HttpHostDriver extends Driver {
  /** Probes the host and says all that was found. Rejects as `probe` does. */
  report(signal: AbortSignal): Promise<ProbeReport>;
  /** What came of the KV events since the first probe; null where they are not followed. */
  kvEvents(): KvEventCounts | null;
}

export interface HttpEngine {
  /** As a sweep's `engine`. */
  readonly engine: string;
  /** What its hosts may speak; one for any owner comes last. */
  readonly dialects: readonly Dialect[];
}

interface Host extends ProbedHost {
  /** Null where it takes no token ids. */
  readonly hostTokenizer: HostTokenizer | null;
}

/** A rollout of the probe. */
interface Trial {
  readonly request: Omit<CompletionRequest, "id">;
  /** What the engine is told beside what every rollout tells it. */
  readonly option: Readonly<Record<string, unknown>>;
  readonly onFirstToken: () => void;
}

interface StepFinding {
  /** Null: not measured. */
  readonly floorMs: number | null;
}

export function createHttpHost(of: HttpEngine, options: HttpHostOptions): HttpHostDriver {
  const host = new HttpHost(of, options);
  return {
    engine: host.engine,
    probe: (signal) => host.probe(signal),
    report: (signal) => host.report(signal),
    signals: (signal) => host.signals(signal),
    sample: (request, signal) => host.sample(request, signal),
    score: (request, signal) => host.score(request, signal),
    likelihood: (request, signal) => host.likelihood(request, signal),
    reward: (request, signal) => host.reward(request, signal),
    kvEvents: () => host.kvEvents(),
    close: () => host.close(),
  };
}

class HttpHost implements HttpHostDriver {
  readonly engine: string;
  readonly #of: HttpEngine;
  readonly #options: HttpHostOptions;
  readonly #limits: HttpHostLimits;
  readonly #root: string;
  readonly #agent: ReturnType<typeof createAgent>;
  readonly #closing = new AbortController();
  readonly #signals = new SignalReader();
  readonly #asking: AskHost;
  readonly #name: number;
  #requests = 0;
  #probed: Host | null = null;
  #abort: AbortFinding | null = null;
  #step: StepFinding | null = null;
  #events: KvEventStream | null = null;

  constructor(of: HttpEngine, options: HttpHostOptions) {
    this.engine = of.engine;
    this.#of = of;
    this.#options = options;
    this.#limits = { ...DEFAULT_HTTP_HOST_LIMITS, ...options.limits };
    this.#root = rootOf(options.url);
    const { concurrency } = options;
    this.#agent = createAgent(this.#root, concurrency === "auto" ? CONCURRENCY_MAX : concurrency);
    this.#asking = this.#within(this.#limits.idleMs);
    this.#name = deriveSeed(Math.floor(options.random.next() * 2 ** 31), this.#root);
  }

  async probe(signal: AbortSignal): Promise<ProbedFacts> {
    const host = await this.#find(this.#either(signal));
    return this.#factsOf(host);
  }

  async report(signal: AbortSignal): Promise<ProbeReport> {
    const host = await this.#find(this.#either(signal));
    const facts = this.#factsOf(host);
    return probeReport(host, { url: this.#root, facts, abort: this.#abort ?? "unknown" });
  }

  async signals(signal: AbortSignal): Promise<EngineSignals | null> {
    const host = this.#probed;
    if (host === null) return null;
    const ask = this.#within(this.#limits.signalsMs);
    const both = this.#either(signal);
    return this.#signals.read(() => host.speech.read(ask, both), both);
  }

  kvEvents(): KvEventCounts | null {
    return this.#events?.counts() ?? null;
  }

  sample(request: SampleRequest, signal: AbortSignal): Promise<SampleAnswer> {
    let isTold = false;
    const onFirstToken = (): void => {
      if (isTold) return;
      isTold = true;
      request.onFirstToken?.();
    };
    return this.#onHost(signal, (host, both) => this.#sampleOnce({ ...request, onFirstToken }, host, both));
  }

  score(request: ScoreRequest, signal: AbortSignal): Promise<ScoreAnswer> {
    return this.#onHost(signal, (host, both) => {
      if (!host.can.includes("score")) throw unable("score", this.#root);
      return this.#scoreOnce(request, host, both);
    });
  }

  likelihood(request: LikelihoodRequest, signal: AbortSignal): Promise<LikelihoodAnswer> {
    return this.#onHost(signal, ({ model, can, speech, hostTokenizer }, both) => {
      if (!can.includes("likelihood")) throw unable("likelihood", this.#root);
      if (speech.likelihood !== "by-tokens" || hostTokenizer === null)
        return likelihoodByEcho(this.#asking, request, { model, signal: both });
      const tokenizer = hostTokenizer.of(both);
      return likelihoodByTokens(this.#asking, request, { model, tokenizer, signal: both });
    });
  }

  reward(request: RewardRequest, signal: AbortSignal): Promise<RewardAnswer> {
    return this.#onHost(signal, ({ model, can, server }, both) => {
      if (!can.includes("reward")) throw unable("reward", this.#root);
      return askReward(this.#asking, request, { server, model, signal: both });
    });
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new CoppiceError("cancelled", `the driver of ${this.#root} is closed`));
    this.#agent.destroy();
    await this.#events?.close();
  }

  /** Asks with this limit of silence. */
  #within(idleMs: number): AskHost {
    return async (path, body, signal) => {
      let text = "";
      await exchange(this.#connect(path, body, idleMs), (piece) => (text += piece), signal);
      return { url: this.#root + path, text };
    };
  }

  #connect(path: string, body: unknown, idleMs: number) {
    return {
      url: this.#root + path,
      body,
      idleMs,
      agent: this.#agent,
      clock: this.#options.clock,
      apiKey: this.#options.apiKey,
      totalMs: this.#limits.requestMs,
      bytesMax: this.#limits.answerBytesMax,
      pathHint: "`url` must be the server's root, and the model one that it serves",
    };
  }

  #either(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#closing.signal]);
  }

  async #find(signal: AbortSignal): Promise<Host> {
    const ask = this.#within(this.#limits.probeMs);
    const sample: SampleHost = (speech, request, each) =>
      this.#sampleInProbe(speech, { request, option: {}, onFirstToken: ignore }, each);
    const { model } = this.#options;
    const found = await probeHost(ask, { ...this.#of, root: this.#root, model, sample }, signal);
    const { can, speech } = found;
    const hasTokens = can.includes("tokens") && speech.tokenizer !== null;
    const hostTokenizer =
      hasTokens && speech.tokenizer !== null ? createHostTokenizer(this.#asking, speech.tokenizer) : null;
    this.#probed = { ...found, hostTokenizer };
    this.#followEvents();
    await this.#measureStep(this.#probed, signal);
    await this.#checkAbort(this.#probed, signal);
    return this.#probed;
  }

  #followEvents(): void {
    const { kvEvents = null, clock, random, log, kvEventLimits } = this.#options;
    if (kvEvents === null || this.#events !== null || this.#closing.signal.aborted) return;
    this.#events = new KvEventStream({
      endpoint: kvEvents,
      clock,
      random,
      onClear: () => this.#signals.cleared(),
      ...(log === undefined ? {} : { log }),
      ...(kvEventLimits === undefined ? {} : { limits: kvEventLimits }),
    });
  }

  async #sampleInProbe(speech: Speech, trial: Trial, signal: AbortSignal): Promise<AttemptUsage> {
    const { request, option, onFirstToken } = trial;
    const url = this.#root + speech.completionPath;
    const reader = new CompletionReader(speech, url, { onUsage: ignore, onFirstToken });
    const body = withOption(speech.body({ ...request, id: this.#nextId() }), option);
    await this.#stream(speech, reader, { body, idleMs: this.#limits.probeMs }, signal);
    return reader.answer(request.sampling).usage;
  }

  /** Once for a host: later, rollouts of this driver run on it. Before a long one is left, with which it may go on. */
  async #measureStep({ speech, can, reading }: Host, signal: AbortSignal): Promise<void> {
    if (this.#step !== null || can.includes("reward")) return;
    const { clock } = this.#options;
    const sample = (
      maxTokens: number,
      onFirstToken: () => void,
      each: AbortSignal,
    ): Promise<AttemptUsage> => {
      const request = probeRequest(SHORT_PROMPT, maxTokens);
      return this.#sampleInProbe(speech, { request, option: speech.ignoreEnd, onFirstToken }, each);
    };
    const check = { reading, sample, clock, limits: this.#limits };
    this.#step = { floorMs: await measureStepFloor(check, signal) };
  }

  /** Once for a host: it costs tokens, and a host that is busy cannot be told by it. */
  async #checkAbort({ speech, can }: Host, signal: AbortSignal): Promise<void> {
    if (this.#abort !== null || can.includes("reward")) return;
    const ask = this.#within(this.#limits.probeMs);
    const { clock } = this.#options;
    const { contextTokens } = speech;
    this.#abort = await checkAbort(
      {
        read: (each) => speech.read(ask, each),
        leave: (maxTokens, whileOpen) => this.#leave(speech, { maxTokens, whileOpen }, signal),
        contextTokens,
        clock,
        limits: this.#limits,
      },
      signal,
    );
    if (this.#abort === "goes-on")
      this.#options.log?.warn({ url: this.#root, waited_ms: this.#limits.abortMs }, "host_ignores_aborts");
  }

  /** Closes a stream at its first token. */
  async #leave(
    speech: Speech,
    { maxTokens, whileOpen }: { readonly maxTokens: number; readonly whileOpen: () => Promise<void> },
    signal: AbortSignal,
  ): Promise<void> {
    const leaving = new AbortController();
    const first = Promise.withResolvers<void>();
    const request = probeRequest(SHORT_PROMPT, maxTokens);
    const both = AbortSignal.any([signal, leaving.signal]);
    const trial = { request, option: speech.ignoreEnd, onFirstToken: first.resolve };
    const streamed = this.#sampleInProbe(speech, trial, both);
    const ended = streamed.then(
      () => first.resolve(),
      (error: unknown) => (leaving.signal.aborted ? undefined : first.reject(error)),
    );
    try {
      await first.promise;
      await whileOpen();
    } finally {
      leaving.abort(new CoppiceError("cancelled", "left at its first token"));
      await ended;
    }
  }

  /** Token ids where a piece has them and the host takes them, else the text. */
  async #promptFor(pieces: readonly PromptPiece[], host: Host, signal: AbortSignal): Promise<Prompt> {
    const { hostTokenizer } = host;
    const known = hostTokenizer === null ? null : await promptInTokens(pieces, hostTokenizer.of(signal));
    return known ?? promptText(pieces);
  }

  /** Does it with the host that was found, looked at now where it was not before; again where that may help. */
  #onHost<T>(signal: AbortSignal, work: (host: Host, signal: AbortSignal) => Promise<T>): Promise<T> {
    const both = this.#either(signal);
    if (both.aborted) return Promise.reject(both.reason);
    const { clock, random } = this.#options;
    const attempt = async (): Promise<T> => {
      const host = this.#probed ?? (await this.#find(both));
      try {
        return await work(host, both);
      } catch (error) {
        const status = refusalOf(error)?.status;
        if (status === 429 || status === 503) this.#signals.refused();
        throw error;
      }
    };
    return retryExchange(attempt, { clock, random, limits: this.#limits, signal: both });
  }

  async #sampleOnce(request: SampleRequest, host: Host, signal: AbortSignal): Promise<SampleAnswer> {
    const { speech, hostTokenizer } = host;
    const { seed, sampling, priority = 0, onUsage = ignore, onFirstToken = ignore } = request;
    refuseSampling(sampling, host, this.#root);
    const prompt = await this.#promptFor(request.pieces, host, signal);
    const body = speech.body({ prompt, seed, sampling, priority, id: this.#nextId() });
    const listener: CompletionListener = { onUsage, onFirstToken };
    const reader = new CompletionReader(speech, this.#root + speech.completionPath, listener);
    if (sampling.beamWidth !== undefined)
      reader.take((await this.#asking(speech.completionPath, body, signal)).text);
    else await this.#stream(speech, reader, { body, idleMs: this.#limits.idleMs }, signal);
    const { result, usage } = reader.answer(sampling);
    return { result: await withSpelling(result, hostTokenizer, signal), usage };
  }

  async #stream(
    speech: Speech,
    reader: CompletionReader,
    { body, idleMs }: { readonly body: Readonly<Record<string, unknown>>; readonly idleMs: number },
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await exchange(this.#connect(speech.completionPath, body, idleMs), (text) => reader.feed(text), signal);
    } catch (error) {
      if (signal.aborted && !this.#closing.signal.aborted) this.#stopOnHost(speech, body);
      throw error;
    }
  }

  /** Beside the closed socket. Nobody waits for it: what it stops is stopped already, unless a proxy is in between. */
  #stopOnHost(speech: Speech, body: Readonly<Record<string, unknown>>): void {
    const stop = speech.abortOf?.(body) ?? null;
    if (stop === null) return;
    const ask = this.#within(this.#limits.signalsMs);
    ask(stop.path, stop.body, this.#closing.signal).catch(ignore);
  }

  async #scoreOnce(request: ScoreRequest, host: Host, signal: AbortSignal): Promise<ScoreAnswer> {
    const prompt = await this.#promptFor(request.pieces, host, signal);
    const body = scoreBody(host.model, prompt, host.topLogprobs);
    const { url, text } = await this.#asking("/v1/completions", body, signal);
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

  #factsOf({ model, can, reportsCachedTokens, speech }: Host): ProbedFacts {
    const { kvTokens, contextTokens, blockTokens, sharesColdPrefixes } = speech;
    const floorMs = this.#step?.floorMs ?? null;
    return {
      model,
      ...concurrencyOf(this.#options.concurrency, speech),
      kvCapacityTokens: kvTokens,
      contextTokens,
      reportsCachedTokens,
      blockTokens,
      sharesColdPrefixes,
      ...(floorMs === null ? {} : { stepFloorMs: floorMs }),
      can,
    };
  }

  /**
   * Unique among the requests of all drivers, as far as chance goes, and never the beginning of another: SGLang aborts every
   * request whose name begins with the one that it is told.
   */
  #nextId(): string {
    this.#requests += 1;
    return `coppice-${this.#name.toString(16)}-${this.#requests}.`;
  }
}

function ignore(): void {}

/** Adds an option where the body has the engine's options of sampling: SGLang has them among themselves, others beside the rest. */
function withOption(
  body: Record<string, unknown>,
  option: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const inner = body["sampling_params"];
  if (typeof inner !== "object" || inner === null) return { ...body, ...option };
  return { ...body, sampling_params: { ...inner, ...option } };
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
