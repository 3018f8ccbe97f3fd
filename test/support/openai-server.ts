/**
 * A real HTTP server on loopback that speaks the completions wire of vLLM, SGLang, llama-server or a plain server, for tests.
 * Its model is a seeded walk over a few words. It can be told to misbehave.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createRandom, deriveSeed } from "../../services/runtime/random.ts";

export type ServerKind = "vllm" | "sglang" | "llama-server" | "other";

/** What is done with the next completion requests instead of an answer. */
export type Misbehaviour =
  | {
      readonly kind: "status";
      readonly status: number;
      readonly retryAfterS?: number;
      readonly body?: string;
    }
  /** Sends some chunks, then cuts the connection. */
  | { readonly kind: "disconnect" }
  /** Sends some chunks, then ends the answer without a finish_reason. */
  | { readonly kind: "truncate" }
  | { readonly kind: "malformed-chunk" }
  | { readonly kind: "error-chunk" }
  | { readonly kind: "body"; readonly type: string; readonly body: string }
  /** Accepts and never says a word. */
  | { readonly kind: "silent" };

export interface OpenaiServerOptions {
  readonly kind: ServerKind;
  readonly model?: string;
  /** As with vLLM's --enable-prompt-tokens-details. */
  readonly reportsCachedTokens?: boolean;
  readonly reportsUsage?: boolean;
  readonly apiKey?: string;
  /** A longer prompt is refused with 400; no limit by default. */
  readonly promptCharsMax?: number;
  /** Log-probabilities of the token after any prompt; null: logprobs are refused with 400. */
  readonly topLogprobs?: Readonly<Record<string, number>> | null;
}

export interface OpenaiServer {
  readonly url: string;
  /** Bodies of completion requests, in order of arrival; probes included. */
  readonly requests: readonly Readonly<Record<string, unknown>>[];
  /** Requests that the client closed before their answer was complete. */
  aborted(): number;
  /** Completion requests being answered now, and the most there ever were. */
  open(): number;
  openMax(): number;
  misbehave(how: Misbehaviour, times: number): void;
  /** Answers 503 to everything while it is down. */
  setUp(isUp: boolean): void;
  close(): Promise<void>;
}

/** A prompt with this mark is answered by one chunk and then silence, until the client goes away. */
export const HOLD = "[hold]";

const WORDS = ["10", " - 4", " = 6", " left", " 5", " 6", " 6", "\n", " so"] as const;
/** Chance that the model ends the text itself, at each token. */
const END_CHANCE = 0.02;
const CHARS_PER_TOKEN = 4;
const BLOCK_TOKENS = 16;

interface Body extends Readonly<Record<string, unknown>> {
  readonly prompt: string;
  readonly seed?: number;
  readonly max_tokens?: number;
  readonly n_predict?: number;
  readonly stop?: readonly string[];
  readonly stream?: boolean;
  readonly stream_options?: { readonly include_usage?: boolean; readonly continuous_usage_stats?: boolean };
  readonly logprobs?: number;
}

interface Generated {
  readonly tokens: readonly string[];
  /** Text without the stop string. */
  readonly text: string;
  readonly reason: "stop" | "length";
  readonly stopString: string | null;
}

export async function startOpenaiServer(options: OpenaiServerOptions): Promise<OpenaiServer> {
  const model = options.model ?? "tiny";
  const requests: Body[] = [];
  const seen: string[] = [];
  let plan: { readonly how: Misbehaviour; left: number } | null = null;
  const count = { aborted: 0, open: 0, openMax: 0 };
  let isUp = true;

  const server = createServer((request, response) => {
    void answer(request, response).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    );
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isUp)
      return json(response, 503, {
        error: { code: 503, message: "Loading model", type: "unavailable_error" },
      });
    if (options.apiKey !== undefined && request.headers.authorization !== `Bearer ${options.apiKey}`) {
      return json(response, 401, { error: "Unauthorized" });
    }
    const isCompletion =
      request.url === "/v1/completions" || (request.url === "/completion" && options.kind === "llama-server");
    if (request.method === "GET") return get(request.url ?? "", response);
    if (!isCompletion) return json(response, 404, { detail: "Not Found" });
    // The driver under test sends JSON with these fields.
    const body = JSON.parse(await textOf(request)) as Body;
    if (body.prompt.length > (options.promptCharsMax ?? Infinity)) {
      return json(response, 400, { error: { message: "This model's maximum context length is exceeded" } });
    }
    requests.push(body);
    count.open += 1;
    count.openMax = Math.max(count.openMax, count.open);
    response.on("close", () => {
      count.open -= 1;
      if (!response.writableFinished) count.aborted += 1;
    });
    if (plan !== null && plan.left > 0) {
      plan.left -= 1;
      return misbehave(plan.how, body, response);
    }
    if (body.stream === true) await stream(body, response);
    else whole(body, response);
  }

  function get(path: string, response: ServerResponse): void {
    const owner = { vllm: "vllm", sglang: "sglang", "llama-server": "llamacpp", other: "someone" }[
      options.kind
    ];
    if (path === "/health")
      return options.kind === "other" ? json(response, 404, {}) : json(response, 200, {});
    if (path === "/v1/models") {
      const length = options.kind === "vllm" || options.kind === "sglang" ? { max_model_len: 4096 } : {};
      return json(response, 200, {
        object: "list",
        data: [{ id: model, object: "model", owned_by: owner, ...length }],
      });
    }
    if (path === "/props" && options.kind === "llama-server") {
      return json(response, 200, { total_slots: 4, default_generation_settings: { n_ctx: 2048 } });
    }
    if (path === "/metrics" && options.kind === "vllm") {
      response.writeHead(200, { "content-type": "text/plain" });
      return void response.end(
        'vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="1000"} 1.0\n',
      );
    }
    return json(response, 404, { detail: "Not Found" });
  }

  function usageFor(body: Body, completionTokens: number): Record<string, unknown> {
    const promptTokens = Math.ceil(body.prompt.length / CHARS_PER_TOKEN);
    return {
      prompt_tokens: promptTokens,
      total_tokens: promptTokens + completionTokens,
      completion_tokens: completionTokens,
      prompt_tokens_details:
        options.reportsCachedTokens === true ? { cached_tokens: cachedOf(body.prompt) } : null,
    };
  }

  function cachedOf(prompt: string): number {
    const longest = seen.reduce((most, each) => Math.max(most, commonLength(each, prompt)), 0);
    const tokens = Math.min(longest, prompt.length - 1) / CHARS_PER_TOKEN;
    return Math.floor(tokens / BLOCK_TOKENS) * BLOCK_TOKENS;
  }

  async function stream(body: Body, response: ServerResponse): Promise<void> {
    const usage = usageFor(body, 0);
    seen.push(body.prompt);
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    const generated = generate(body);
    for (const [index, piece] of shownPieces(generated).entries()) {
      event(response, chunkOf(body, piece, null, { ...usage, completion_tokens: index + 1 }));
      await new Promise((resolve) => setImmediate(resolve));
      if (body.prompt.includes(HOLD)) return;
    }
    event(response, chunkOf(body, "", generated, { ...usage, completion_tokens: generated.tokens.length }));
    if (options.kind === "llama-server") return void response.end();
    if (body.stream_options?.include_usage === true && options.reportsUsage !== false) {
      event(response, {
        ...envelope(),
        choices: [],
        usage: { ...usage, completion_tokens: generated.tokens.length },
      });
    }
    response.end("data: [DONE]\n\n");
  }

  function chunkOf(
    body: Body,
    text: string,
    end: Generated | null,
    usage: Record<string, unknown>,
  ): Record<string, unknown> {
    if (options.kind === "llama-server") {
      const counts = {
        tokens_evaluated: usage["prompt_tokens"],
        tokens_predicted: usage["completion_tokens"],
      };
      if (end === null) return { index: 0, content: text, tokens: [], stop: false, id_slot: 0, ...counts };
      const stopType = end.reason === "length" ? "limit" : end.stopString === null ? "eos" : "word";
      const timings = { cache_n: cachedOf(body.prompt), prompt_n: 1, predicted_n: end.tokens.length };
      return {
        index: 0,
        content: "",
        stop: true,
        stop_type: stopType,
        stopping_word: end.stopString ?? "",
        timings,
        ...counts,
      };
    }
    const choice = { index: 0, text, logprobs: null, finish_reason: end?.reason ?? null };
    const stopped = end?.stopString ?? null;
    const saying = {
      vllm: { stop_reason: stopped },
      sglang: { matched_stop: stopped ?? (end?.reason === "stop" ? 2 : null) },
      other: {},
    };
    const live = body.stream_options?.continuous_usage_stats === true && options.reportsUsage !== false;
    return { ...envelope(), choices: [{ ...choice, ...saying[options.kind] }], ...(live ? { usage } : {}) };
  }

  function envelope(): Record<string, unknown> {
    return { id: "cmpl-1", object: "text_completion", created: 1, model };
  }

  function whole(body: Body, response: ServerResponse): void {
    if (body.logprobs !== undefined && options.topLogprobs === null) {
      return json(response, 400, {
        error: { message: "logprobs are not supported", type: "BadRequestError", code: 400 },
      });
    }
    const usage = usageFor(body, 1);
    seen.push(body.prompt);
    const top = options.topLogprobs ?? { " good": -0.25, " bad": -1.75, " so": -4 };
    const listed = Object.entries(top).map(([token, logprob]) => ({ token, logprob }));
    const asked =
      body.logprobs === undefined
        ? null
        : options.kind === "llama-server"
          ? { content: [{ ...listed[0], top_logprobs: listed }] }
          : { tokens: [" good"], token_logprobs: [-0.25], top_logprobs: [top], text_offset: [0] };
    const choices = [{ index: 0, text: " good", logprobs: asked, finish_reason: "length" }];
    json(response, 200, { ...envelope(), choices, ...(options.reportsUsage === false ? {} : { usage }) });
  }

  function misbehave(how: Misbehaviour, body: Body, response: ServerResponse): void {
    switch (how.kind) {
      case "silent":
        return;
      case "status":
        response.writeHead(
          how.status,
          how.retryAfterS === undefined ? {} : { "retry-after": String(how.retryAfterS) },
        );
        return void response.end(
          how.body ?? JSON.stringify({ error: { message: `status ${how.status}`, code: how.status } }),
        );
      case "body":
        response.writeHead(200, { "content-type": how.type });
        return void response.end(how.body);
      default:
        response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
        event(response, chunkOf(body, "10", null, usageFor(body, 1)));
        if (how.kind === "malformed-chunk") response.end('data: {"choices": [{"te\n\n');
        else if (how.kind === "error-chunk") {
          event(response, {
            error: { object: "error", message: "EngineCore died", type: "InternalServerError", code: 500 },
          });
          response.end("data: [DONE]\n\n");
        } else if (how.kind === "truncate") response.end();
        else response.write("data: {", () => response.destroy());
    }
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // It listens on a port, so its address is not a pipe's name.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    aborted: () => count.aborted,
    open: () => count.open,
    openMax: () => count.openMax,
    misbehave: (how, times) => {
      plan = { how, left: times };
    },
    setUp: (up) => {
      isUp = up;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A walk over the words, equal for equal prompt and seed, that ends as an engine's would. */
function generate(body: Body): Generated {
  const random = createRandom(deriveSeed(body.seed ?? 0, body.prompt));
  const max = body.max_tokens ?? body.n_predict ?? 16;
  const tokens: string[] = [];
  let text = "";
  while (tokens.length < max) {
    if (random.next() < END_CHANCE) return { tokens, text, reason: "stop", stopString: null };
    const token = WORDS[Math.floor(random.next() * WORDS.length)] ?? "";
    tokens.push(token);
    text += token;
    const stopString = body.stop?.find((stop) => text.includes(stop)) ?? null;
    if (stopString !== null)
      return { tokens, text: text.slice(0, text.indexOf(stopString)), reason: "stop", stopString };
  }
  return { tokens, text, reason: "length", stopString: null };
}

/** What a client sees: the tokens, cut where the stop string began. */
function shownPieces({ tokens, text }: Generated): readonly string[] {
  let left = text.length;
  return tokens.flatMap((token) => {
    const piece = token.slice(0, left);
    left -= piece.length;
    return piece === "" ? [] : [piece];
  });
}

function event(response: ServerResponse, data: unknown): void {
  response.write(`data: ${JSON.stringify(data)}\n\n`);
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const piece of request) text += String(piece);
  return text;
}

function commonLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length += 1;
  return length;
}
