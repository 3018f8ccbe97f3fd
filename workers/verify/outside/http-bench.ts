/**
 * A server of the user's that judges under one specification: candidates by POST, a few to a request, so many requests at
 * once. Calls the server only.
 *
 * 1. A verification ends once: with the server's verdict, with "undecided" when it took too long by itself, with the caller's
 *    abort, or with an error of the world; whichever is first.
 * 2. What one candidate may be to blame for is no other's: the candidates of a request that failed so are sent again, alone.
 * 3. A request whose callers are all gone is aborted: its socket closes.
 */
import type { VerdictResult } from "../../../services/queue/job.ts";
import type { Clock } from "../../../services/runtime/clock.ts";
import { asCoppiceError, CoppiceError } from "../../../services/runtime/errors.ts";
import { createRandom, type Random } from "../../../services/runtime/random.ts";
import { createAgent, exchange, refusalOf, rubbish } from "../../http-exchange.ts";
import { retryExchange, type RetryLimits } from "../../http-retry.ts";
import { undecided, type Candidate } from "../verifier.ts";
import type { Bench } from "./per-specification.ts";
import { createVerification, type Verification } from "./verification.ts";
import { parseWire, readVerdict, wireCandidate } from "./verdict-wire.ts";

export interface HttpBenchLimits extends RetryLimits {
  /** Verifications that wait for a request; one more is refused. */
  readonly waitingMax: number;
  /** Bytes of one answer. */
  readonly answerBytesMax: number;
}

export const DEFAULT_HTTP_BENCH_LIMITS: HttpBenchLimits = {
  retriesMax: 3,
  backoffMs: 250,
  backoffMaxMs: 8_000,
  retryAfterMaxMs: 30_000,
  waitingMax: 10_000,
  answerBytesMax: 16 * 1024 * 1024,
};

export interface HttpBenchOptions {
  readonly url: string;
  /** Sent as a bearer token. */
  readonly apiKey: string | null;
  /** Requests at once. */
  readonly concurrency: number;
  /** Candidates in a request. */
  readonly batchMax: number;
  /** For each candidate of a request. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly limits: HttpBenchLimits;
}

/** One request, until it has ended. */
interface Request {
  readonly batch: readonly Verification[];
  readonly gone: AbortController;
}

const EXPECTED = 'an object such as {"verdicts": [{"id": "1", "verdict": "correct"}]}';

export class HttpBench implements Bench {
  readonly #options: HttpBenchOptions;
  readonly #agent;
  readonly #random: Random;
  readonly #waiting = new Set<Verification>();
  readonly #requests = new Set<Request>();
  /** Candidates sent; each has its own id, also when it is sent again. */
  #sent = 0;
  #isClosed = false;

  constructor(options: HttpBenchOptions) {
    this.#options = options;
    this.#agent = createAgent(options.url, options.concurrency);
    this.#random = createRandom(options.clock.nowMs()); // Workers that were refused together come back apart.
  }

  /** Rejects with the signal's reason or what `http-exchange.ts` says; "internal" is a server that failed by itself (500). */
  async verify(candidate: Candidate, signal: AbortSignal): Promise<VerdictResult> {
    signal.throwIfAborted();
    if (this.#isClosed) throw closedError();
    if (this.#waiting.size >= this.#options.limits.waitingMax) throw this.#fullError();
    const verification = createVerification(candidate, signal, () => {
      this.#waiting.delete(verification);
      this.#abortAbandoned();
    });
    this.#waiting.add(verification);
    this.#dispatch();
    return await verification.verdict;
  }

  isIdle(): boolean {
    return this.#waiting.size === 0 && this.#requests.size === 0;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const owed = [...this.#waiting, ...[...this.#requests].flatMap(({ batch }) => batch)];
    this.#waiting.clear();
    for (const verification of owed) verification.fail(closedError());
    this.#abortAbandoned();
    this.#agent.destroy();
  }

  #dispatch(): void {
    while (this.#waiting.size > 0 && this.#requests.size < this.#options.concurrency) {
      const request: Request = { batch: this.#take(), gone: new AbortController() };
      this.#requests.add(request);
      void this.#run(request).finally(() => {
        this.#requests.delete(request);
        this.#dispatch();
      });
    }
  }

  #take(): readonly Verification[] {
    const batch: Verification[] = [];
    for (const verification of this.#waiting) {
      if (batch.length > 0 && (verification.isAlone || batch[0]?.isAlone === true)) break;
      this.#waiting.delete(verification);
      batch.push(verification);
      if (batch.length >= this.#options.batchMax) break;
    }
    return batch;
  }

  #abortAbandoned(): void {
    for (const { batch, gone } of this.#requests) {
      if (batch.every((verification) => verification.isSettled())) gone.abort(closedError());
    }
  }

  /** Settles each of the batch, or has it wait again; rejects never. */
  async #run({ batch, gone }: Request): Promise<void> {
    const { clock, limits } = this.#options;
    try {
      const ask = (): Promise<readonly VerdictResult[]> => this.#ask(batch, gone.signal);
      const retrying = { clock, random: this.#random, limits, signal: gone.signal };
      const verdicts = await retryExchange(ask, retrying);
      for (const [index, verdict] of verdicts.entries()) batch[index]?.settle(verdict);
    } catch (error) {
      this.#failed(batch, asCoppiceError(error));
    }
  }

  #failed(batch: readonly Verification[], error: CoppiceError): void {
    if (batch.length > 1 && mayBeOnesFault(error)) {
      for (const verification of batch) {
        if (verification.isSettled()) continue;
        verification.isAlone = true;
        this.#waiting.add(verification);
      }
      return;
    }
    for (const verification of batch) {
      if (isOverrun(error))
        verification.settle(undecided(null, `took longer than ${this.#options.timeoutMs} ms`));
      else verification.fail(endedByServer(error));
    }
  }

  /** Verdicts in the order of the batch. */
  async #ask(batch: readonly Verification[], signal: AbortSignal): Promise<readonly VerdictResult[]> {
    const { url, apiKey, clock, timeoutMs, limits } = this.#options;
    const ids = batch.map(() => String((this.#sent += 1)));
    const candidates = batch.map(({ candidate }, index) => wireCandidate(ids[index] ?? "", candidate));
    const limitMs = timeoutMs * batch.length;
    let text = "";
    await exchange(
      {
        url,
        agent: this.#agent,
        clock,
        apiKey,
        body: { candidates },
        idleMs: limitMs,
        totalMs: limitMs,
        bytesMax: limits.answerBytesMax,
        pathHint: "`url` must be the whole address that candidates are posted to",
      },
      (piece) => (text += piece),
      signal,
    );
    return verdictsIn(text, ids, url);
  }

  #fullError(): CoppiceError {
    const { url, limits } = this.#options;
    return new CoppiceError(
      "resource_exhausted",
      `expected at most ${limits.waitingMax} verifications to wait for ${url}, found as many`,
    );
  }
}

/** Throws "data_loss" unless there is a verdict for each id. Of two for one id the first counts. */
function verdictsIn(text: string, ids: readonly string[], url: string): readonly VerdictResult[] {
  const body = parseWire(text);
  const isObject = typeof body === "object" && body !== null && "verdicts" in body;
  if (!isObject || !Array.isArray(body.verdicts))
    throw rubbish(url, EXPECTED, text === "" ? "nothing" : text);
  const byId = new Map<string, VerdictResult>();
  for (const each of body.verdicts as readonly unknown[]) {
    const read = readVerdict(each);
    if (read.kind === "malformed") {
      const whose = read.id === null ? "" : ` for candidate ${JSON.stringify(read.id.slice(0, 20))}`;
      throw new CoppiceError("data_loss", `${read.complaint}${whose}, from ${url}`, { isRetryable: true });
    }
    if (!byId.has(read.id)) byId.set(read.id, read.result);
  }
  return ids.map((id) => {
    const verdict = byId.get(id);
    if (verdict !== undefined) return verdict;
    throw rubbish(url, `a verdict for each of ${ids.length} candidates`, `none with id "${id}" in ${text}`);
  });
}

/** Whether one candidate of a request may be the reason: not where nobody answered, or the server has too much to do. */
function mayBeOnesFault(error: CoppiceError): boolean {
  const status = refusalOf(error)?.status ?? null;
  if (status === null) return error.code !== "unavailable";
  return status !== 429 && status !== 503;
}

/** The time limit, not a status that speaks of one. */
function isOverrun(error: CoppiceError): boolean {
  return error.code === "deadline_exceeded" && refusalOf(error) === null;
}

/** A server that fails at a candidate may do so for ever: unlike one that is away it is not waited for without end. */
function endedByServer(error: CoppiceError): CoppiceError {
  if (refusalOf(error)?.status !== 500) return error;
  return new CoppiceError("internal", error.message, { cause: error.cause, isRetryable: true });
}

function closedError(): CoppiceError {
  return new CoppiceError("unavailable", "the verifier's requests are stopped");
}
