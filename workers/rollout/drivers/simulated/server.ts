/**
 * The simulated engine behind HTTP, in vLLM's dialect: what a client of vLLM can be tried against with no GPU. Text, time and cache
 * are those of the driver in simulated.ts. Closing the connection aborts the request.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Clock } from "../../../../services/runtime/clock.ts";
import { asCoppiceError, CoppiceError, messageOf } from "../../../../services/runtime/errors.ts";
import { CompletionAnswer, type Part, usageBody } from "./completion-answer.ts";
import {
  type CompletionAsk,
  readCompletionAsk,
  readDetokenizeAsk,
  readTokenizeAsk,
} from "./completion-ask.ts";
import type { EngineProfile } from "./engine-profile.ts";
import { DEFAULT_TEXT_SHAPE, type TextShape, writeChoice, writeText } from "./seeded-text.ts";
import { metricsText } from "./server-metrics.ts";
import { SimulatedHost, type SimulatedRequest, type SimulatedUsage } from "./simulated-host.ts";

/** Bytes of one request; a prompt of the longest context as token ids is about a megabyte. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;
/** The release of vLLM whose dialect this is. */
const VERSION = "0.12.0";

export interface SimulatedServerOptions {
  readonly profile: EngineProfile;
  /** The name of the model that it serves. */
  readonly model: string;
  /** Milliseconds of the model in one of the clock. */
  readonly speed: number;
  readonly clock: Clock;
  readonly sharesColdPrefixes: boolean;
  readonly schedulesByPriority: boolean;
  readonly shape?: Partial<TextShape>;
  /** The interface and port to listen on; port 0 takes a free one. */
  readonly host: string;
  readonly port: number;
}

export interface SimulatedServer {
  readonly url: string;
  /** Ends every request and connection. */
  close(): Promise<void>;
}

/** @throws CoppiceError "invalid_argument" for options that are wrong, "unavailable" where it cannot listen. */
export async function startSimulatedServer(options: SimulatedServerOptions): Promise<SimulatedServer> {
  const routes = new Routes(options);
  const server = createServer((request, response) => {
    void routes.answer(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else refuse(response, error);
    });
  });
  await listen(server, options);
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : options.port;
  return {
    url: `http://${options.host.includes(":") ? `[${options.host}]` : options.host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        routes.close();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

class Routes {
  readonly #options: SimulatedServerOptions;
  readonly #shape: TextShape;
  readonly #host: SimulatedHost;
  readonly #startedS: number;
  #answered = 0;

  constructor(options: SimulatedServerOptions) {
    this.#options = options;
    this.#shape = { ...DEFAULT_TEXT_SHAPE, ...options.shape };
    this.#host = new SimulatedHost(options);
    this.#startedS = options.clock.nowMs() / 1_000;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? "/").split("?")[0] ?? "/";
    if (request.method === "GET") return this.#get(path, response);
    if (request.method !== "POST") return json(response, 405, { detail: "Method Not Allowed" });
    const body = await bodyOf(request);
    switch (path) {
      case "/v1/completions":
        return this.#complete(body, response);
      case "/tokenize": {
        const tokens = readTokenizeAsk(body);
        const max_model_len = this.#host.contextTokens;
        return json(response, 200, { count: tokens.length, max_model_len, tokens });
      }
      case "/detokenize":
        return json(response, 200, { prompt: readDetokenizeAsk(body) });
      case "/reset_prefix_cache":
        this.#host.clear();
        return void response.writeHead(200).end();
      default:
        return json(response, 404, { detail: "Not Found" });
    }
  }

  close(): void {
    this.#host.close(new CoppiceError("unavailable", "the host goes down"));
  }

  #get(path: string, response: ServerResponse): void {
    const { model, profile } = this.#options;
    switch (path) {
      case "/health":
      case "/ping":
        return void response.writeHead(200).end();
      case "/version":
        return json(response, 200, { version: VERSION });
      case "/v1/models": {
        const about = { id: model, object: "model", created: this.#nowS(), owned_by: "vllm", root: model };
        const data = [{ ...about, max_model_len: this.#host.contextTokens }];
        return json(response, 200, { object: "list", data });
      }
      case "/metrics": {
        const text = metricsText(this.#host.signals(), { model, profile, startedS: this.#startedS });
        response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
        return void response.end(text);
      }
      default:
        return json(response, 404, { detail: "Not Found" });
    }
  }

  async #complete(body: unknown, response: ServerResponse): Promise<void> {
    const ask = readCompletionAsk(body, this.#options);
    const max = this.#host.contextTokens;
    if (ask.prompt.length + ask.maxTokens > max) {
      throw new CoppiceError(
        "invalid_argument",
        `This model's maximum context length is ${max} tokens. However, you requested ` +
          `${ask.prompt.length + ask.maxTokens} tokens (${ask.prompt.length} in the messages, ${ask.maxTokens} in the completion).`,
      );
    }
    const gone = new AbortController();
    response.once("close", () => gone.abort(new CoppiceError("cancelled", "the client has gone")));
    const envelope = {
      id: `cmpl-${(this.#answered += 1)}`,
      object: "text_completion",
      created: this.#nowS(),
      model: this.#options.model,
    };
    if (ask.beams !== null) return this.#beams(ask, ask.beams, { envelope, response, signal: gone.signal });
    const answer = new CompletionAnswer(ask, this.#write(ask, ask.seed ?? this.#answered));
    if (ask.streams) return this.#stream(answer, { envelope, response, signal: gone.signal });
    const usage = await this.#run(answer, {}, gone.signal);
    json(response, 200, { ...envelope, choices: [answer.choice(answer.whole)], usage: usageBody(usage) });
  }

  #write(ask: CompletionAsk, seed: number) {
    const { text: prompt, maxTokens, temperature, stop, choices } = ask;
    const request = { prompt, seed, maxTokens, temperature, stop };
    if (choices !== null) return writeChoice(request, choices);
    return writeText(request, ask.ignoresEnd ? { ...this.#shape, meanTokens: Infinity } : this.#shape);
  }

  #run(
    answer: CompletionAnswer,
    listeners: Pick<SimulatedRequest, "onFirstToken" | "onProgress">,
    signal: AbortSignal,
  ): Promise<SimulatedUsage> {
    const { prompt, priority } = answer.ask;
    return this.#host.run({ prompt, priority, completion: answer.generated, ...listeners }, signal);
  }

  /** The first token as soon as it is there, then what is new now and then. */
  async #stream(answer: CompletionAnswer, { envelope, response, signal }: Answering): Promise<void> {
    const { includesUsage, usageInEveryChunk, prompt } = answer.ask;
    let sent = 0;
    let cachedTokens = 0;
    const usageAt = (completionTokens: number): Readonly<Record<string, unknown>> =>
      usageBody({ promptTokens: prompt.length, cachedTokens, completionTokens });
    const send = (part: Part): void => {
      const chunk = { ...envelope, choices: [answer.choice(part)] };
      event(response, usageInEveryChunk ? { ...chunk, usage: usageAt(part.to) } : chunk);
      sent = part.to;
    };
    const begin = (cached: number): void => {
      cachedTokens = cached;
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
      if (answer.generated.length > 1) send({ from: 0, to: 1, isLast: false });
    };
    const onProgress = (generated: number): void => {
      if (generated > sent && generated < answer.generated.length)
        send({ from: sent, to: generated, isLast: false });
    };
    const usage = await this.#run(answer, { onFirstToken: begin, onProgress }, signal);
    send({ from: sent, to: answer.generated.length, isLast: true });
    if (includesUsage) event(response, { ...envelope, choices: [], usage: usageBody(usage) });
    response.end("data: [DONE]\n\n");
  }

  /** As many sequences as the beam is wide, the likeliest first. They cost what they would, and are no more than samples. */
  async #beams(ask: CompletionAsk, width: number, { envelope, response, signal }: Answering): Promise<void> {
    const answers = Array.from(
      { length: width },
      (_, seed) => new CompletionAnswer(ask, this.#write({ ...ask, temperature: 1 }, seed)),
    ).toSorted((a, b) => logprobOf(b) - logprobOf(a));
    const usages = await Promise.all(answers.map((answer) => this.#run(answer, {}, signal)));
    const choices = answers.map((answer, index) => answer.choice(answer.whole, index));
    const completionTokens = usages.reduce((sum, usage) => sum + usage.completionTokens, 0);
    const [first] = usages;
    const usage = {
      promptTokens: ask.prompt.length,
      cachedTokens: first?.cachedTokens ?? 0,
      completionTokens,
    };
    json(response, 200, { ...envelope, choices, usage: usageBody(usage) });
  }

  #nowS(): number {
    return Math.floor(this.#options.clock.nowMs() / 1_000);
  }
}

interface Answering {
  readonly envelope: Readonly<Record<string, unknown>>;
  readonly response: ServerResponse;
  readonly signal: AbortSignal;
}

function logprobOf({ written }: CompletionAnswer): number {
  return written.logprobs.reduce((sum, logprob) => sum + logprob, 0);
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request) {
    const buffer: Buffer = Buffer.from(piece);
    bytes += buffer.length;
    if (bytes > BODY_BYTES_MAX) {
      throw new CoppiceError(
        "invalid_argument",
        `body: expected at most ${BODY_BYTES_MAX} bytes, found more`,
      );
    }
    pieces.push(buffer);
  }
  const text = Buffer.concat(pieces).toString("utf8");
  if (text === "") return {};
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CoppiceError("invalid_argument", `body: expected JSON, found ${messageOf(error)}`, {
      cause: error,
    });
  }
}

const STATUS_OF: Readonly<Record<string, number>> = {
  invalid_argument: 400,
  not_found: 404,
  unavailable: 503,
  resource_exhausted: 429,
};

/** As vLLM says it. */
function refuse(response: ServerResponse, error: unknown): void {
  const { code, message } = asCoppiceError(error);
  const status = STATUS_OF[code] ?? 500;
  const type = status === 400 ? "BadRequestError" : status === 404 ? "NotFoundError" : "InternalServerError";
  json(response, status, { error: { message, type, param: null, code: status } });
}

function event(response: ServerResponse, data: unknown): void {
  response.write(`data: ${JSON.stringify(data)}\n\n`);
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const message = `cannot listen on ${host}:${port}: ${messageOf(error)}`;
      reject(new CoppiceError("unavailable", message, { cause: error, isRetryable: false }));
    });
    server.listen(port, host, resolve);
  });
}
