/**
 * One HTTP exchange: request out, text in, with a deadline for silence and one for the whole. Built on node:http, since a
 * host may be silent for longer than the fixed limits of `fetch` while its queue is long. A redirect is a refusal.
 * Every failure is a CoppiceError that names the URL; an abort closes the socket, which stops the work on the other side.
 */
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { StringDecoder } from "node:string_decoder";
import type { Clock, Timer } from "../services/runtime/clock.ts";
import { CoppiceError, type ErrorCode } from "../services/runtime/errors.ts";

/** What is read of the body of a refusal, in characters, and what of it is shown. */
const REFUSAL_READ_CHARS_MAX = 16_384;
const REFUSAL_SHOWN_CHARS_MAX = 400;

export interface Exchange {
  readonly url: string;
  readonly agent: HttpAgent | HttpsAgent;
  readonly clock: Clock;
  readonly apiKey: string | null;
  /** Sent as JSON by POST; null is a GET. */
  readonly body: unknown;
  /** Longest silence of the host, from the request on. */
  readonly idleMs: number;
  /** Longest time in all. */
  readonly totalMs: number;
  /** Longest answer, in bytes. */
  readonly bytesMax: number;
  /** What to mend where the path is not found (404). */
  readonly pathHint: string;
}

/** The status of a host that loads its model, or has no room. */
export const SERVICE_UNAVAILABLE = 503;

/** Rides as the `cause` of an error that a status code made. */
export interface Refusal {
  readonly status: number;
  /** What the host asked for by Retry-After; null when it did not. */
  readonly retryAfterMs: number | null;
}

export function createAgent(url: string, socketsMax: number): HttpAgent | HttpsAgent {
  const options = { keepAlive: true, maxFreeSockets: socketsMax };
  return url.startsWith("https:") ? new HttpsAgent(options) : new HttpAgent(options);
}

/** The refusal behind an error of `exchange`, if a status code was its reason. */
export function refusalOf(error: unknown): Refusal | null {
  const cause = error instanceof CoppiceError ? error.cause : null;
  const isRefusal =
    typeof cause === "object" && cause !== null && "status" in cause && "retryAfterMs" in cause;
  // `statusError` is the only maker of a cause with these two fields.
  return isRefusal ? (cause as Refusal) : null;
}

/** Whether nobody answered an exchange: no connection, or silence. A status code is an answer. */
export function isUnanswered(error: unknown): boolean {
  const isSilence =
    error instanceof CoppiceError && ["unavailable", "deadline_exceeded"].includes(error.code);
  return isSilence && refusalOf(error) === null;
}

/** What the host sent is not what its API promises. The lane may try again: a proxy in between may have restarted. */
export function rubbish(url: string, expected: string, found: string): CoppiceError {
  const message = `expected ${expected}, found ${excerpt(found, 160)}, from ${url}`;
  return new CoppiceError("data_loss", message, { isRetryable: true });
}

/**
 * Resolves when the answer (status 200) has ended. `onText` gets it piece by piece; what it throws ends the exchange.
 * Rejects with: the signal's reason; "unavailable" (no connection, 5xx), "resource_exhausted" (429), "deadline_exceeded"
 * (silence once connected), "invalid_argument" or "failed_precondition" (other 4xx), "data_loss" (not an answer of this API).
 */
export function exchange(
  options: Exchange,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    let isSettled = false;
    let request = start();
    const watch = watchSilence(options, (error) => {
      const isConnected = request.socket?.connecting === false;
      settle(isConnected ? error : new CoppiceError("unavailable", `${error.message}: no connection`));
    });

    function start(): ClientRequest {
      const each = send(options);
      let isAnswered = false;
      each.on("error", (error) => {
        // A connection that was kept, and that the host has closed: llama-server does so behind every stream. What was sent
        // on it was not read; each such connection is gone then, so this ends.
        const isStale = each.reusedSocket && !isAnswered && isClosed(error);
        if (isStale && !isSettled) request = start();
        else settle(connectionError(options.url, error));
      });
      each.on("response", (response) => {
        isAnswered = true;
        watch.heard();
        receive(response, options, { onText, heard: watch.heard, settle });
      });
      return each;
    }
    function settle(error?: unknown): void {
      if (isSettled) return;
      isSettled = true;
      watch.cancel();
      signal.removeEventListener("abort", onAbort);
      if (error === undefined) return resolve();
      request.destroy();
      reject(error);
    }
    function onAbort(): void {
      settle(signal.reason);
    }

    signal.addEventListener("abort", onAbort, { once: true });
  });
}

function send(options: Exchange): ClientRequest {
  const isPost = options.body !== null;
  const payload = isPost ? Buffer.from(JSON.stringify(options.body)) : null;
  const request = (options.url.startsWith("https:") ? httpsRequest : httpRequest)(options.url, {
    method: isPost ? "POST" : "GET",
    agent: options.agent,
    headers: {
      accept: "application/json, text/event-stream",
      ...(payload === null ? {} : { "content-type": "application/json", "content-length": payload.length }),
      ...(options.apiKey === null ? {} : { authorization: `Bearer ${options.apiKey}` }),
    },
  });
  request.end(payload ?? undefined);
  return request;
}

function receive(
  response: IncomingMessage,
  options: Exchange,
  to: {
    readonly onText: (text: string) => void;
    readonly heard: () => void;
    readonly settle: (error?: unknown) => void;
  },
): void {
  const isRefused = response.statusCode !== 200;
  // Bytes of one character may come in two pieces.
  const decoder = new StringDecoder("utf8");
  let refusal = "";
  let bytes = 0;
  const take = (text: string): void => {
    if (!isRefused) to.onText(text);
    else if (refusal.length < REFUSAL_READ_CHARS_MAX) refusal += text;
  };
  response.on("data", (piece: Buffer) => {
    to.heard();
    bytes += piece.length;
    if (bytes > options.bytesMax) {
      return to.settle(
        rubbish(options.url, `an answer of at most ${options.bytesMax} bytes`, "a longer one"),
      );
    }
    try {
      take(decoder.write(piece));
    } catch (error) {
      to.settle(error);
    }
  });
  response.on("end", () => {
    try {
      const rest = decoder.end();
      if (rest !== "") take(rest);
      to.settle(isRefused ? statusError(response, options, refusal) : undefined);
    } catch (error) {
      to.settle(error);
    }
  });
  response.on("error", (error) => to.settle(connectionError(options.url, error)));
  response.on("close", () =>
    to.settle(connectionError(options.url, new Error("the connection closed in the middle of the answer"))),
  );
}

/** One timer that is set anew only when it fires: a stream has thousands of pieces. */
function watchSilence(
  options: Exchange,
  fail: (error: CoppiceError) => void,
): { readonly heard: () => void; readonly cancel: () => void } {
  const { clock, idleMs, totalMs, url } = options;
  const startedMs = clock.monotonicMs();
  let heardMs = startedMs;
  let timer: Timer;
  const arm = (): void => {
    const nowMs = clock.monotonicMs();
    const leftMs = Math.min(heardMs + idleMs, startedMs + totalMs) - nowMs;
    if (leftMs > 0) {
      timer = clock.after(leftMs, arm, { keepAlive: true });
      return;
    }
    const what =
      nowMs - heardMs >= idleMs
        ? `a word at least every ${idleMs} ms, found silence`
        : `the end within ${totalMs} ms, found none`;
    fail(new CoppiceError("deadline_exceeded", `expected ${what}, from ${url}`));
  };
  timer = clock.after(Math.min(idleMs, totalMs), arm, { keepAlive: true });
  return {
    heard: () => {
      heardMs = clock.monotonicMs();
    },
    cancel: () => timer.cancel(),
  };
}

function isClosed(error: Error): boolean {
  return "code" in error && (error.code === "ECONNRESET" || error.code === "EPIPE");
}

function connectionError(url: string, error: Error): CoppiceError {
  const code = "code" in error && typeof error.code === "string" ? `${error.code}: ` : "";
  // What the parser of node:http refuses is no HTTP at all.
  if (code.startsWith("HPE_")) return rubbish(url, "an HTTP answer", `${code}${error.message}`);
  const detail = error instanceof AggregateError ? error.errors.map(String).join("; ") : error.message;
  return new CoppiceError(
    "unavailable",
    `expected an answer, found no connection (${code}${detail}), from ${url}`,
    { cause: error },
  );
}

function statusError(response: IncomingMessage, { url, pathHint }: Exchange, body: string): CoppiceError {
  const status = response.statusCode ?? 0;
  const said = excerpt(messageIn(body), REFUSAL_SHOWN_CHARS_MAX);
  const message = `expected status 200, found ${status} (${said === "" ? "no message" : said}), from ${url}${hintFor(status, pathHint)}`;
  const refusal: Refusal = { status, retryAfterMs: retryAfterMsOf(response.headers["retry-after"]) };
  return new CoppiceError(codeOf(status), message, { cause: refusal });
}

/** The code for an HTTP status, also one that a host reports inside of a stream. */
export function codeOf(status: number): ErrorCode {
  if (status === 429) return "resource_exhausted";
  if (status === 408 || status === 504) return "deadline_exceeded";
  if (status === 501) return "unimplemented";
  if (status >= 500 || status === 425) return "unavailable";
  if (status === 400 || status === 413 || status === 422) return "invalid_argument";
  return "failed_precondition";
}

function hintFor(status: number, pathHint: string): string {
  if (status === 401 || status === 403) return "; name the variable that holds the key by `api_key_env`";
  if (status === 404) return `; ${pathHint}`;
  return "";
}

/** Seconds, or a date by the wall clock of the host's own `date`; only the former is used by the engines. */
function retryAfterMsOf(header: string | undefined): number | null {
  const seconds = header === undefined ? Number.NaN : Number(header);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}

/** The message inside of an error body: `{error: {message}}`, `{message}`, `{detail}`, else the body. */
function messageIn(body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    return errorText(parsed) ?? body;
  } catch {
    return body;
  }
}

/** The text of an error object as the engines send it; null when there is none in it. */
export function errorText(value: unknown): string | null {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return null;
  for (const key of ["error", "message", "detail"]) {
    const found = new Map<string, unknown>(Object.entries(value)).get(key);
    if (found !== undefined && found !== null) return errorText(found) ?? JSON.stringify(found);
  }
  return null;
}

/** One line of at most `charsMax` characters. */
export function excerpt(text: string, charsMax: number): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length <= charsMax ? line : `${line.slice(0, charsMax)}...`;
}
