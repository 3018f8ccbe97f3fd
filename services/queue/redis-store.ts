/**
 * The connections to Redis, shared by every lane of a process: one for commands (the coordinator's side), one that the
 * workers share, each opened at first use. BullMQ opens one more, blocking, for each consumed lane.
 *
 * 1. A command either is answered within `commandMs` or rejects with "unavailable" and the address. It is never queued
 *    while the connection is down, so a command that rejected is not carried out minutes later.
 * 2. Consumers' connections wait for Redis to come back for as long as it takes, and go on.
 * 3. No error event and no rejection of these connections is ever left unhandled.
 */
import { Redis } from "ioredis";
import type { RedisOptions } from "ioredis";
import { asCoppiceError, CoppiceError, messageOf } from "../runtime/errors.ts";
import type { Clock } from "../runtime/clock.ts";

/** Limits of talking to Redis, with their defaults (I7). */
export interface StoreLimits {
  /** A command that is not answered within this time rejects with "unavailable"; `ping` included. */
  readonly commandMs: number;
  /** Longest pause between two tries to connect; the first is 50 ms, and it doubles. */
  readonly reconnectMsMax: number;
  /** A socket on which something is awaited and nothing arrives for so long is taken for dead and opened anew. */
  readonly silenceMsMax: number;
  /** Jobs sent in one round trip. */
  readonly addChunk: number;
  /** The same trouble of a lane is told once in this time. */
  readonly errorIntervalMs: number;
  /** Errors of a consumer within a second after which it pauses (BullMQ's loop has no back-off of its own)... */
  readonly errorsPerSecondMax: number;
  /** ...for so long. */
  readonly pauseMs: number;
}

export const DEFAULT_STORE_LIMITS: StoreLimits = {
  commandMs: 5_000,
  reconnectMsMax: 1_000,
  silenceMsMax: 15_000,
  addChunk: 100,
  errorIntervalMs: 5_000,
  errorsPerSecondMax: 20,
  pauseMs: 1_000,
};

export interface RedisStore {
  /** The address without user and password, for messages. */
  readonly address: string;
  /** Runs `operation` on the connection for commands. @throws CoppiceError, see (1). */
  command<T>(what: string, operation: (redis: Redis) => Promise<T>): Promise<T>;
  /** The connection that consumers share. */
  forConsumers(): Redis;
  close(): void;
}

/** @throws CoppiceError "invalid_argument" when `redisUrl` is not a redis:// or rediss:// URL. */
export function createRedisStore(
  redisUrl: string,
  options: { readonly limits: StoreLimits; readonly clock: Clock },
): RedisStore {
  const address = addressOf(redisUrl);
  const { limits, clock } = options;
  let isClosed = false;
  let commands: CommandConnection | null = null;
  let consumers: Redis | null = null;
  const shared = {
    replyMapping: "legacy",
    socketTimeout: limits.silenceMsMax,
    connectTimeout: limits.commandMs,
    // Duplicates of this connection inherit this function: after `close` none of them tries again.
    retryStrategy: (times: number) =>
      isClosed ? null : Math.min(50 * 2 ** Math.min(times - 1, 10), limits.reconnectMsMax),
  } as const satisfies RedisOptions;

  return {
    address,
    command(what, operation) {
      if (isClosed)
        return Promise.reject(new CoppiceError("failed_precondition", `${what}: these lanes are closed`));
      commands ??= watch(
        new Redis(redisUrl, { ...shared, maxRetriesPerRequest: 0, enableOfflineQueue: false }),
      );
      return withDeadline(commands, operation, { what, address, clock, commandMs: limits.commandMs });
    },
    forConsumers() {
      consumers ??= watch(new Redis(redisUrl, { ...shared, maxRetriesPerRequest: null })).redis;
      return consumers;
    },
    close() {
      isClosed = true;
      commands?.redis.disconnect();
      consumers?.disconnect();
    },
  };
}

interface CommandConnection {
  readonly redis: Redis;
  /** Resolves once the connection is usable. */
  ready(): Promise<void>;
  lastError(): string | null;
}

function watch(redis: Redis): CommandConnection {
  let gate = Promise.withResolvers<void>();
  let lastError: string | null = null;
  redis.on("error", (error) => {
    lastError = messageOf(error) || String((error as NodeJS.ErrnoException).code); // AggregateError: only a code
  });
  redis.on("ready", () => {
    lastError = null;
    gate.resolve();
  });
  redis.on("close", () => {
    gate.resolve(); // whoever waits looks at the status again
    gate = Promise.withResolvers();
  });
  const ready = async (): Promise<void> => {
    while (redis.status !== "ready" && redis.status !== "end") await gate.promise;
  };
  return { redis, ready, lastError: () => lastError };
}

interface CommandContext {
  readonly what: string;
  readonly address: string;
  readonly clock: Clock;
  readonly commandMs: number;
}

function withDeadline<T>(
  connection: CommandConnection,
  operation: (redis: Redis) => Promise<T>,
  context: CommandContext,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    const timer = context.clock.after(
      context.commandMs,
      () => {
        isOver = true;
        const why = connection.lastError() ?? "no answer";
        reject(unavailable(context, `${why} (waited ${context.commandMs} ms)`));
      },
      { keepAlive: true },
    );
    const attempt = async (): Promise<T> => {
      await connection.ready();
      if (isOver) throw unavailable(context, "given up before it was sent");
      return await operation(connection.redis);
    };
    attempt()
      .then(resolve, (error: unknown) => reject(asStoreError(error, context)))
      .finally(() => timer.cancel());
  });
}

function unavailable(context: CommandContext, found: string, cause?: unknown): CoppiceError {
  const message = `${context.what}: expected an answer of Redis at ${context.address}, found: ${found}; it is retried`;
  return new CoppiceError("unavailable", message, { cause });
}

/** What Redis or its driver threw, in our words. */
function asStoreError(error: unknown, context: CommandContext): CoppiceError {
  const isOurMistake =
    error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
  if (error instanceof CoppiceError || isOurMistake) return asCoppiceError(error);
  const message = messageOf(error);
  const where = `${context.what}: Redis at ${context.address} answered: ${message}`;
  if (/^(NOAUTH|WRONGPASS|NOPERM)\b/.test(message))
    return new CoppiceError("failed_precondition", where, { cause: error });
  if (/^OOM\b/.test(message)) return new CoppiceError("resource_exhausted", where, { cause: error });
  return unavailable(context, message, error);
}

function addressOf(redisUrl: string): string {
  const url = URL.canParse(redisUrl) ? new URL(redisUrl) : null;
  if (url === null || (url.protocol !== "redis:" && url.protocol !== "rediss:") || url.hostname === "") {
    const shown =
      url === null ? JSON.stringify(redisUrl.slice(0, 40)) : JSON.stringify(`${url.protocol}//...`);
    throw new CoppiceError(
      "invalid_argument",
      `expected a Redis URL such as redis://127.0.0.1:6379, found ${shown}`,
    );
  }
  const database = url.pathname === "/" ? "" : url.pathname;
  return `${url.protocol}//${url.hostname}:${url.port === "" ? "6379" : url.port}${database}`;
}
