/**
 * A real HTTP server on loopback that speaks the completions wire of vLLM, SGLang, llama-server or a plain server, for tests.
 * Its model is a seeded walk over a few words. It can be told to misbehave.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createRandom, deriveSeed } from "../../services/runtime/random.ts";
import { BEGIN, decode, encode, END, idOf, logprobOf, WORDS } from "./toy-tokenizer.ts";

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
  /** What vLLM says of itself; 0.12.0 by default. */
  readonly version?: string;
  /** Takes options that it does not know without a word. */
  readonly ignoresExtras?: boolean;
  /** Closes each connection behind its first answer, as llama-server does: what comes on it after that is lost. */
  readonly closesConnections?: boolean;
  /** A reward model: completes nothing, and says this of a text, a row for each step. */
  readonly reward?: (input: string) => readonly (readonly number[])[];
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

/** Chance that the model ends the text itself, at each token. */
const END_CHANCE = 0.02;
const CHARS_PER_TOKEN = 4;
const BLOCK_TOKENS = 16;

/** What the driver under test sends; what is not named here is read by name. */
interface Body extends Readonly<Record<string, unknown>> {
  readonly prompt: string | readonly number[];
  readonly seed?: number;
  readonly max_tokens?: number;
  readonly n_predict?: number;
  readonly stop?: readonly string[];
  readonly stream?: boolean;
  readonly stream_options?: { readonly include_usage?: boolean; readonly continuous_usage_stats?: boolean };
  readonly logprobs?: number;
  readonly n?: number;
}

/** A body whose prompt is read: by the server's own tokenizer where it came as token ids. */
type Read = Body & { readonly prompt: string; readonly ids: readonly number[] };

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
  const closed = new WeakSet<object>();

  const server = createServer((request, response) => {
    void answer(request, response).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    );
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (closed.has(request.socket)) return void request.socket.resetAndDestroy();
    if (options.closesConnections === true) closed.add(request.socket);
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
    // The driver under test sends JSON with these fields.
    const sent = JSON.parse(await textOf(request)) as Body;
    if (!isCompletion || options.reward !== undefined) return post(request.url ?? "", sent, response);
    const body = readBody(sent);
    if (body.prompt.length > (options.promptCharsMax ?? Infinity)) {
      return json(response, 400, { error: { message: "This model's maximum context length is exceeded" } });
    }
    if (body["top_k"] !== undefined && !Number.isInteger(body["top_k"]) && options.ignoresExtras !== true)
      return json(response, 422, {
        detail: [{ loc: ["body", "top_k"], msg: "Input should be a valid integer" }],
      });
    if (typeof body["min_p"] === "string" && options.ignoresExtras !== true)
      return json(response, 422, {
        detail: [{ loc: ["body", "min_p"], msg: "Input should be a valid number" }],
      });
    requests.push(sent);
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
    if (body.stream === true && body["use_beam_search"] !== true) await stream(body, response);
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
    if (path === "/version" && options.kind === "vllm")
      return json(response, 200, { version: options.version ?? "0.12.0" });
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

  /** The routes beside completions. */
  function post(path: string, body: Readonly<Record<string, unknown>>, response: ServerResponse): void {
    const isVllm = options.kind === "vllm";
    const isLlama = options.kind === "llama-server";
    if (path === "/tokenize" && (isVllm || isLlama)) {
      const begins = (isVllm ? body["add_special_tokens"] : body["add_special"]) === true;
      const tokens = encode(String(isVllm ? body["prompt"] : body["content"]), { begins });
      return json(response, 200, isVllm ? { count: tokens.length, max_model_len: 4096, tokens } : { tokens });
    }
    if (path === "/detokenize" && (isVllm || isLlama)) {
      const text = decode(body["tokens"] as readonly number[]);
      return json(response, 200, isVllm ? { prompt: text } : { content: text });
    }
    const usage = { prompt_tokens: 7, total_tokens: 7, completion_tokens: 0, prompt_tokens_details: null };
    if (path === "/classify" && isVllm && options.reward !== undefined) {
      const probs = options.reward(String(body["input"])).at(-1) ?? [];
      const data = [{ index: 0, label: "LABEL_0", probs, num_classes: probs.length }];
      return json(response, 200, { id: "classify-1", object: "list", created: 1, model, data, usage });
    }
    if (path === "/pooling" && isVllm && options.reward !== undefined && body["task"] === "token_classify") {
      const data = [{ index: 0, object: "pooling", data: options.reward(String(body["input"])) }];
      return json(response, 200, { id: "pool-1", object: "list", created: 1, model, data, usage });
    }
    if (path === "/classify" && options.kind === "sglang" && options.reward !== undefined) {
      const embedding = options.reward(String(body["text"])).at(-1);
      return json(response, 200, {
        embedding,
        meta_info: { id: "1", finish_reason: null, prompt_tokens: 7 },
      });
    }
    return json(response, 404, { detail: "Not Found" });
  }

  /** As the engine would: token ids where it takes them, the text otherwise. */
  function readBody(body: Body): Read {
    const { prompt, ...rest } = body;
    if (typeof prompt === "string") return { ...rest, prompt, ids: encode(prompt, { begins: true }) };
    return { ...rest, prompt: decode(prompt), ids: prompt };
  }

  function usageFor(body: Read, completionTokens: number): Record<string, unknown> {
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

  async function stream(body: Read, response: ServerResponse): Promise<void> {
    const usage = usageFor(body, 0);
    seen.push(body.prompt);
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    const generated = generate(body);
    const asksIds = body["return_token_ids"] === true || body["return_tokens"] === true;
    const includesStop = body["include_stop_str_in_output"] === true;
    for (const [index, [piece, token]] of shownPieces(generated, { includesStop }).entries()) {
      if (piece === "" && !asksIds) continue;
      event(
        response,
        chunkOf(body, { text: piece, token, end: null }, { ...usage, completion_tokens: index + 1 }),
      );
      await new Promise((resolve) => setImmediate(resolve));
      if (body.prompt.includes(HOLD)) return;
    }
    const isOwnEnd = generated.reason === "stop" && generated.stopString === null;
    const last = { text: "", token: isOwnEnd ? END : null, end: generated };
    event(response, chunkOf(body, last, { ...usage, completion_tokens: generated.tokens.length }));
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
    body: Read,
    {
      text,
      token,
      end,
    }: { readonly text: string; readonly token: number | null; readonly end: Generated | null },
    usage: Record<string, unknown>,
  ): Record<string, unknown> {
    const ids = token === null ? [] : [token];
    if (options.kind === "llama-server") {
      const counts = {
        tokens_evaluated: usage["prompt_tokens"],
        tokens_predicted: usage["completion_tokens"],
      };
      // A stream says the tokens piece by piece, the one that ends the text like the others.
      const told = body["return_tokens"] === true ? ids : [];
      const listed = ids.map((id) => ({ id, token: decode([id]), logprob: logprobOf(id), top_logprobs: [] }));
      const probabilities = body["n_probs"] === 1 ? { completion_probabilities: listed } : {};
      if (end === null)
        return {
          index: 0,
          content: text,
          tokens: told,
          stop: false,
          id_slot: 0,
          ...counts,
          ...probabilities,
        };
      const stopType = end.reason === "length" ? "limit" : end.stopString === null ? "eos" : "word";
      const timings = { cache_n: cachedOf(body.prompt), prompt_n: 1, predicted_n: end.tokens.length };
      return {
        index: 0,
        content: "",
        tokens: told,
        stop: true,
        stop_type: stopType,
        stopping_word: end.stopString ?? "",
        timings,
        ...counts,
      };
    }
    const listed =
      body.logprobs === undefined || token === null
        ? null
        : { tokens: [decode(ids)], token_logprobs: ids.map(logprobOf), top_logprobs: [{}], text_offset: [0] };
    const choice = { index: 0, text, logprobs: listed, finish_reason: end?.reason ?? null };
    const told = body["return_token_ids"] === true && options.kind === "vllm" ? { token_ids: ids } : {};
    const stopped = end?.stopString ?? null;
    const saying = {
      vllm: { stop_reason: stopped },
      sglang: { matched_stop: stopped ?? (end?.reason === "stop" ? 2 : null) },
      other: {},
    };
    const live = body.stream_options?.continuous_usage_stats === true && options.reportsUsage !== false;
    return {
      ...envelope(),
      choices: [{ ...choice, ...told, ...saying[options.kind] }],
      ...(live ? { usage } : {}),
    };
  }

  function envelope(): Record<string, unknown> {
    return { id: "cmpl-1", object: "text_completion", created: 1, model };
  }

  function whole(body: Read, response: ServerResponse): void {
    if (body.logprobs !== undefined && options.topLogprobs === null) {
      return json(response, 400, {
        error: { message: "logprobs are not supported", type: "BadRequestError", code: 400 },
      });
    }
    const usage = usageFor(body, 1);
    seen.push(body.prompt);
    if (body["use_beam_search"] === true && options.kind === "vllm") return beams(body, response);
    if (body["prompt_logprobs"] !== undefined && options.kind === "vllm") {
      const entry = (id: number) => ({
        [id]: { logprob: logprobOf(id), rank: 1, decoded_token: decode([id]) },
      });
      const prompt_logprobs = body.ids.map((id, n) => (n === 0 ? null : entry(id)));
      const choices = [{ index: 0, text: " so", logprobs: null, finish_reason: "length", prompt_logprobs }];
      return json(response, 200, { ...envelope(), choices, usage });
    }
    if (body["echo"] === true && options.kind !== "llama-server") {
      const ids = [...body.ids, idOf(" so")];
      const logprobs = {
        tokens: ids.map((id) => (id === BEGIN ? "<s>" : decode([id]))),
        token_logprobs: ids.map((id, n) => (n === 0 ? null : logprobOf(id))),
        top_logprobs: ids.map(() => null),
        // SGLang does not say where a token begins.
        text_offset: ids.map(() => -1),
      };
      const choices = [{ index: 0, text: `${body.prompt} so`, logprobs, finish_reason: "length" }];
      return json(response, 200, { ...envelope(), choices, usage });
    }
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

  function beams(body: Read, response: ServerResponse): void {
    const { tokens, text, reason } = generate({ ...body, stop: [] });
    const choices = Array.from({ length: body.n ?? 1 }, (_, index) => {
      return { index, text, logprobs: null, finish_reason: reason, stop_reason: null };
    });
    json(response, 200, { ...envelope(), choices, usage: usageFor(body, tokens.length * choices.length) });
  }

  function misbehave(how: Misbehaviour, body: Read, response: ServerResponse): void {
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
        event(response, chunkOf(body, { text: "10", token: idOf("10"), end: null }, usageFor(body, 1)));
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
function generate(body: Read): Generated {
  const form = formIn(body);
  if (form !== null) return { tokens: [form], text: form, reason: "stop", stopString: null };
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

/** The one text that every structure of these tests allows, where the body asks for one. */
function formIn(body: Read): string | null {
  const outer = body["structured_outputs"] ?? {};
  const structure = new Map<string, unknown>(Object.entries({ ...body, ...outer }));
  const asks = (...keys: readonly string[]): boolean => keys.some((key) => structure.has(key));
  if (asks("json", "guided_json", "json_schema")) return '"yes"';
  return asks("regex", "grammar", "guided_regex", "guided_grammar", "ebnf") ? "yes" : null;
}

/** What a client sees of each token: it is cut where the stop string began, or behind it. */
function shownPieces(
  { tokens, text, stopString }: Generated,
  { includesStop }: { readonly includesStop: boolean },
): readonly (readonly [string, number])[] {
  let left = text.length + (includesStop ? (stopString?.length ?? 0) : 0);
  return tokens.map((token) => {
    const piece = token.slice(0, left);
    left -= piece.length;
    return [piece, idOf(token)] as const;
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
