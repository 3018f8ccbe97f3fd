/**
 * A real HTTP server on loopback that speaks the wire of vLLM, SGLang, llama-server or a plain server, for tests. Its model
 * is a seeded walk over a few words. It can be told to misbehave. What is an engine's own stands in engine-server/.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { aboutAt, type EngineState } from "./engine-server/about.ts";
import { type Asked, type Body, HOLD, readAsked, type ServerKind } from "./engine-server/asked.ts";
import { chunkWriter, envelope, type UsageSaid } from "./engine-server/chunks.ts";
import { endToken, generate, shownPieces } from "./engine-server/walk.ts";
import { BEGIN, decode, encode, idOf, logprobOf } from "./toy-tokenizer.ts";

export { HOLD, type ServerKind };

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
  /** More tokens of a completion are refused with 400; no limit by default. */
  readonly completionTokensMax?: number;
  /** Log-probabilities of the token after any prompt; null: logprobs are refused with 400. */
  readonly topLogprobs?: Readonly<Record<string, number>> | null;
  /** What it says of its version; 0.12.0 by default. */
  readonly version?: string;
  /** Takes options that it does not know without a word. */
  readonly ignoresExtras?: boolean;
  /** Closes each connection behind its first answer, as llama-server does: what comes on it after that is lost. */
  readonly closesConnections?: boolean;
  /** A reward model: completes nothing, and says this of a text, a row for each step. */
  readonly reward?: (input: string) => readonly (readonly number[])[];
  /** As with --enable-metrics or --metrics; yes by default. */
  readonly hasMetrics?: boolean;
  /** As with --scheduling-policy priority or --enable-priority-scheduling; no by default. */
  readonly isPrioritized?: boolean;
  /** As with SGLang's --schedule-low-priority-values-first. */
  readonly lowPriorityFirst?: boolean;
  /** As with SGLang's --incremental-streaming-output. */
  readonly isIncremental?: boolean;
  /** Goes on with what its client has left. */
  readonly ignoresAborts?: boolean;
  /** Who is said to own the model, in place of the engine. */
  readonly owner?: string;
}

export interface OpenaiServer {
  readonly url: string;
  /** Bodies of completion requests, in order of arrival; probes included. */
  readonly requests: readonly Body[];
  /** Bodies of requests to abort one by name. */
  readonly abortRequests: readonly Body[];
  /** Requests that the client closed before their answer was complete, but for those of a probe that closes one on purpose. */
  aborted(): number;
  /** Completion requests being answered now, and the most there ever were. */
  open(): number;
  openMax(): number;
  misbehave(how: Misbehaviour, times: number): void;
  /** Answers 503 to everything while it is down. */
  setUp(isUp: boolean): void;
  /** Comes back with an empty cache and counters at zero. */
  restart(): void;
  close(): Promise<void>;
}

const OWNERS = { vllm: "vllm", sglang: "sglang", "llama-server": "llamacpp", other: "someone" } as const;
const CHARS_PER_TOKEN = 4;
const BLOCK_TOKENS = 16;
const NO_COUNTS = { computed: 0, cached: 0, generated: 0 };

export async function startOpenaiServer(options: OpenaiServerOptions): Promise<OpenaiServer> {
  const { kind, model = "tiny", isIncremental = false, isPrioritized = false } = options;
  const about = {
    kind,
    version: options.version ?? "0.12.0",
    hasMetrics: options.hasMetrics ?? true,
    isPrioritized,
    lowPriorityFirst: options.lowPriorityFirst ?? false,
    isIncremental,
  };
  const writing = { kind, model, reportsUsage: options.reportsUsage !== false, isIncremental };
  const requests: Body[] = [];
  const abortRequests: Body[] = [];
  let seen: string[] = [];
  let plan: { readonly how: Misbehaviour; left: number } | null = null;
  const count = { aborted: 0, open: 0, openMax: 0, left: 0 };
  let counted = NO_COUNTS;
  let starts = 1;
  let isUp = true;
  const closed = new WeakSet<object>();

  const server = createServer((request, response) => {
    void answer(request, response).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    );
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (closed.has(request.socket)) return void request.socket.resetAndDestroy();
    if (options.closesConnections === true) closed.add(request.socket);
    const path = request.url ?? "";
    if (!isUp)
      return json(response, 503, {
        error: { code: 503, message: "Loading model", type: "unavailable_error" },
      });
    if (options.apiKey !== undefined && request.headers.authorization !== `Bearer ${options.apiKey}`)
      return json(response, 401, { error: "Unauthorized" });
    if (request.method === "GET") return get(path, response);
    // The driver under test sends JSON objects.
    const sent = JSON.parse(await textOf(request)) as Body;
    if (!isCompletion(path) || options.reward !== undefined) return post(path, sent, response);
    const refusal = refusalOf(sent, readAsked(kind, path, sent));
    if (refusal !== null) return json(response, refusal.status, refusal.body);
    return complete(readAsked(kind, path, sent), response);
  }

  function isCompletion(path: string): boolean {
    const own = { vllm: "", sglang: "/generate", "llama-server": "/completion", other: "" }[kind];
    return path === "/v1/completions" || path === own;
  }

  function refusalOf(body: Body, asked: Asked): { readonly status: number; readonly body: unknown } | null {
    const refused = (message: string) => ({ status: 400, body: { error: { message, code: 400 } } });
    const isLong = asked.maxTokens > (options.completionTokensMax ?? Infinity);
    if (isLong || asked.prompt.length > (options.promptCharsMax ?? Infinity))
      return refused("This model's maximum context length is exceeded");
    if (kind === "vllm" && (body["priority"] ?? 0) !== 0 && !isPrioritized)
      return refused("Got priority 1 but Priority scheduling is not enabled.");
    if (options.ignoresExtras === true) return null;
    const invalid = (key: string) => ({
      status: 422,
      body: { detail: [{ loc: ["body", key], msg: "invalid" }] },
    });
    if (body["top_k"] !== undefined && !Number.isInteger(body["top_k"])) return invalid("top_k");
    return typeof body["min_p"] === "string" ? invalid("min_p") : null;
  }

  async function complete(asked: Asked, response: ServerResponse): Promise<void> {
    requests.push(asked.body);
    count.open += 1;
    count.openMax = Math.max(count.openMax, count.open);
    response.on("close", () => {
      count.open -= 1;
      if (response.writableFinished) return;
      if (!asked.ignoresEnd) count.aborted += 1;
      if (options.ignoresAborts === true) count.left += 1;
    });
    if (plan !== null && plan.left > 0) {
      plan.left -= 1;
      return misbehave(plan.how, asked, response);
    }
    if (asked.isStream) await stream(asked, response);
    else whole(asked, response);
  }

  function get(path: string, response: ServerResponse): void {
    if (path === "/health") return json(response, kind === "other" ? 404 : 200, {});
    if (path === "/v1/models") {
      const length = kind === "vllm" || kind === "sglang" ? { max_model_len: 4096 } : {};
      const entry = { id: model, object: "model", owned_by: options.owner ?? OWNERS[kind], ...length };
      return json(response, 200, { object: "list", data: [entry] });
    }
    const running = count.open + count.left;
    const state: EngineState = { ...counted, running, startedS: starts };
    const found = aboutAt(path, about, state);
    if (found === null) return json(response, 404, { detail: "Not Found" });
    if (typeof found !== "string") return json(response, 200, found);
    response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
    response.end(found);
  }

  /** The routes beside completions. */
  function post(path: string, body: Body, response: ServerResponse): void {
    const isVllm = kind === "vllm";
    const answers: Readonly<Record<string, () => unknown>> = {
      "/tokenize": () => {
        const begins = (kind === "llama-server" ? body["add_special"] : body["add_special_tokens"]) === true;
        const tokens = encode(String(body["content"] ?? body["prompt"]), { begins });
        return kind === "llama-server" ? { tokens } : { count: tokens.length, max_model_len: 4096, tokens };
      },
      "/detokenize": () => {
        const text = decode(body["tokens"] as readonly number[]);
        return isVllm ? { prompt: text } : kind === "sglang" ? { text } : { content: text };
      },
    };
    const routed = kind === "other" ? undefined : answers[path];
    if (routed !== undefined) return json(response, 200, routed());
    if (path === "/abort_request" && kind === "sglang") {
      abortRequests.push(body);
      return json(response, 200, {});
    }
    return reward(path, body, response);
  }

  function reward(path: string, body: Body, response: ServerResponse): void {
    if (options.reward === undefined) return json(response, 404, { detail: "Not Found" });
    const usage = { prompt_tokens: 7, total_tokens: 7, completion_tokens: 0, prompt_tokens_details: null };

    if (path === "/classify" && kind === "vllm") {
      const probs = options.reward(String(body["input"])).at(-1) ?? [];
      const data = [{ index: 0, label: "LABEL_0", probs, num_classes: probs.length }];
      return json(response, 200, { id: "classify-1", object: "list", created: 1, model, data, usage });
    }
    if (path === "/pooling" && kind === "vllm" && body["task"] === "token_classify") {
      const data = [{ index: 0, object: "pooling", data: options.reward(String(body["input"])) }];
      return json(response, 200, { id: "pool-1", object: "list", created: 1, model, data, usage });
    }
    if (path === "/classify" && kind === "sglang") {
      const embedding = options.reward(String(body["text"])).at(-1);
      return json(response, 200, {
        embedding,
        meta_info: { id: "1", finish_reason: null, prompt_tokens: 7 },
      });
    }
    return json(response, 404, { detail: "Not Found" });
  }

  function usageFor(prompt: string, completionTokens: number): UsageSaid {
    const promptTokens = Math.ceil(prompt.length / CHARS_PER_TOKEN);
    return {
      prompt_tokens: promptTokens,
      total_tokens: promptTokens + completionTokens,
      completion_tokens: completionTokens,
      prompt_tokens_details:
        options.reportsCachedTokens === true ? { cached_tokens: cachedOf(prompt) } : null,
    };
  }

  function cachedOf(prompt: string): number {
    const longest = seen.reduce((most, each) => Math.max(most, commonLength(each, prompt)), 0);
    const tokens = Math.min(longest, prompt.length - 1) / CHARS_PER_TOKEN;
    return Math.floor(tokens / BLOCK_TOKENS) * BLOCK_TOKENS;
  }

  /** Now it is in the cache. Resolves what of it was there before. */
  function prefill(prompt: string): number {
    const cached = cachedOf(prompt);
    const computed = Math.ceil(prompt.length / CHARS_PER_TOKEN) - cached;
    counted = { ...counted, cached: counted.cached + cached, computed: counted.computed + computed };
    seen.push(prompt);
    return cached;
  }

  function generatedOne(): void {
    counted = { ...counted, generated: counted.generated + 1 };
  }

  async function stream(asked: Asked, response: ServerResponse): Promise<void> {
    const usage = usageFor(asked.prompt, 0);
    const cached = prefill(asked.prompt);
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    const generated = generate(asked);
    const write = chunkWriter(asked, writing);
    const isNative = asked.body["sampling_params"] !== undefined;
    for (const [index, { piece, token }] of shownPieces(generated, asked).entries()) {
      generatedOne();
      if (piece === "" && !asked.wantsIds) continue;
      const said = { ...usage, completion_tokens: index + 1 };
      event(response, write({ text: piece, token, end: null, usage: said, cached }));
      await new Promise((resolve) => setImmediate(resolve));
      if (asked.isHeld) return;
    }
    const said = { ...usage, completion_tokens: generated.tokens.length };
    event(response, write({ text: "", token: endToken(generated), end: generated, usage: said, cached }));
    if (kind === "llama-server") return void response.end();
    const wanted = asked.body["stream_options"];
    const isTold = typeof wanted === "object" && wanted !== null && "include_usage" in wanted;
    if (isTold && !isNative && options.reportsUsage !== false)
      event(response, { ...envelope(model), choices: [], usage: said });
    response.end("data: [DONE]\n\n");
  }

  function whole(asked: Asked, response: ServerResponse): void {
    const { body, prompt, ids } = asked;
    if (body["logprobs"] !== undefined && options.topLogprobs === null) {
      return json(response, 400, {
        error: { message: "logprobs are not supported", type: "BadRequestError", code: 400 },
      });
    }
    const usage = usageFor(prompt, 1);
    prefill(prompt);
    const answered = (choice: Body) => json(response, 200, { ...envelope(model), choices: [choice], usage });
    if (body["use_beam_search"] === true && kind === "vllm") return beams(asked, response);
    if (body["prompt_logprobs"] !== undefined && kind === "vllm") {
      const entry = (id: number) => ({
        [id]: { logprob: logprobOf(id), rank: 1, decoded_token: decode([id]) },
      });
      const prompt_logprobs = ids.map((id, n) => (n === 0 ? null : entry(id)));
      return answered({ index: 0, text: " so", logprobs: null, finish_reason: "length", prompt_logprobs });
    }
    if (body["echo"] === true && kind !== "llama-server") {
      const all = [...ids, idOf(" so")];
      const logprobs = {
        tokens: all.map((id) => (id === BEGIN ? "<s>" : decode([id]))),
        token_logprobs: all.map((id, n) => (n === 0 ? null : logprobOf(id))),
        top_logprobs: all.map(() => null),
        // SGLang does not say where a token begins.
        text_offset: all.map(() => -1),
      };
      return answered({ index: 0, text: `${prompt} so`, logprobs, finish_reason: "length" });
    }
    const choice = { index: 0, text: " good", logprobs: topLogprobs(body), finish_reason: "length" };
    const told = options.reportsUsage === false ? {} : { usage };
    json(response, 200, { ...envelope(model), choices: [choice], ...told });
  }

  function topLogprobs(body: Body): unknown {
    if (body["logprobs"] === undefined) return null;
    const top = options.topLogprobs ?? { " good": -0.25, " bad": -1.75, " so": -4 };
    const listed = Object.entries(top).map(([token, logprob]) => ({ token, logprob }));
    if (kind === "llama-server") return { content: [{ ...listed[0], top_logprobs: listed }] };
    return { tokens: [" good"], token_logprobs: [-0.25], top_logprobs: [top], text_offset: [0] };
  }

  function beams(asked: Asked, response: ServerResponse): void {
    const { tokens, text, reason } = generate({ ...asked, stop: [] });
    const choices = Array.from({ length: Number(asked.body["n"] ?? 1) }, (_, index) => {
      return { index, text, logprobs: null, finish_reason: reason, stop_reason: null };
    });
    const usage = usageFor(asked.prompt, tokens.length * choices.length);
    json(response, 200, { ...envelope(model), choices, usage });
  }

  function misbehave(how: Misbehaviour, asked: Asked, response: ServerResponse): void {
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
      default: {
        response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
        const usage = usageFor(asked.prompt, 1);
        const write = chunkWriter(asked, writing);
        event(response, write({ text: "10", token: idOf("10"), end: null, usage, cached: 0 }));
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
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // It listens on a port, so its address is not a pipe's name.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    abortRequests,
    aborted: () => count.aborted,
    open: () => count.open,
    openMax: () => count.openMax,
    misbehave: (how, times) => {
      plan = { how, left: times };
    },
    setUp: (up) => {
      isUp = up;
    },
    restart: () => {
      seen = [];
      counted = NO_COUNTS;
      starts += 1;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
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
