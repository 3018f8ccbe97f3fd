/**
 * Follows the KV events of one engine. It never fails a rollout: a lost connection is tried again for as long as the driver
 * lives, what was missed is counted and logged. It only adds to what is known of the host.
 */
import { connect, type Socket } from "node:net";
import { Backoff } from "../../../../services/link/backoff.ts";
import type { Clock } from "../../../../services/runtime/clock.ts";
import { CoppiceError, messageOf } from "../../../../services/runtime/errors.ts";
import { type Log, silentLog } from "../../../../services/runtime/log.ts";
import type { Random } from "../../../../services/runtime/random.ts";
import { readKvEventBatch } from "./kv-event-batch.ts";
import { greeting, ZmtpSubscriber, type ZmtpLimits } from "./zmtp.ts";

export interface KvEventLimits extends ZmtpLimits {
  /** First wait before it connects again; doubles each time, up to `backoffMaxMs`. */
  readonly backoffMs: number;
  readonly backoffMaxMs: number;
  /** Within so long a connection must have come to its handshake's end. */
  readonly connectMs: number;
}

export const DEFAULT_KV_EVENT_LIMITS: KvEventLimits = {
  messageBytesMax: 16 * 1024 * 1024,
  framesMax: 8,
  backoffMs: 500,
  backoffMaxMs: 30_000,
  connectMs: 10_000,
};

export interface KvEventStreamOptions {
  /** Such as tcp://gpu1:5557. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log?: Log;
  readonly limits?: Partial<KvEventLimits>;
  /** The engine has dropped its whole cache. */
  readonly onClear: () => void;
}

export interface KvEventCounts {
  readonly isConnected: boolean;
  readonly batches: number;
  readonly stored: number;
  readonly removed: number;
  readonly cleared: number;
  /** Batches that were published and did not come. */
  readonly missed: number;
  /** Messages that were none. */
  readonly malformed: number;
}

const NONE = { batches: 0, stored: 0, removed: 0, cleared: 0, missed: 0, malformed: 0 };

export class KvEventStream {
  readonly #options: KvEventStreamOptions;
  readonly #limits: KvEventLimits;
  readonly #log: Log;
  readonly #leaving = new AbortController();
  readonly #ended: Promise<void>;
  #counts = NONE;
  #isConnected = false;
  /** Of the batch before; null before the first of a publisher. */
  #sequence: number | null = null;

  /** Begins at once. @throws "invalid_argument" for an endpoint that is none. */
  constructor(options: KvEventStreamOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_KV_EVENT_LIMITS, ...options.limits };
    this.#log = options.log ?? silentLog;
    this.#ended = this.#follow(endpointOf(options.endpoint));
  }

  counts(): KvEventCounts {
    return { ...this.#counts, isConnected: this.#isConnected };
  }

  async close(): Promise<void> {
    this.#leaving.abort(new CoppiceError("cancelled", "the driver is closed"));
    await this.#ended;
  }

  async #follow(at: Endpoint): Promise<void> {
    const { clock, random, endpoint } = this.#options;
    const { signal } = this.#leaving;
    const backoff = new Backoff({
      clock,
      random,
      minMs: this.#limits.backoffMs,
      maxMs: this.#limits.backoffMaxMs,
    });
    let isKnownLost = false;
    for (;;) {
      try {
        await this.#connection(at, () => {
          backoff.reset();
          isKnownLost = false;
          this.#log.info({ endpoint }, "kv_events_connected");
        });
      } catch (error) {
        this.#isConnected = false;
        if (signal.aborted) break;
        // Once for an outage, however long it is.
        if (!isKnownLost) this.#log.warn({ endpoint, message: messageOf(error) }, "kv_events_lost");
        isKnownLost = true;
      }
      await backoff.wait(backoff.nextMs(), signal).catch(() => undefined);
      if (signal.aborted) break;
    }
    this.#log.info({ endpoint, ...this.#counts }, "kv_events_left");
  }

  /** One connection; always rejects in the end. */
  #connection(at: Endpoint, onReady: () => void): Promise<never> {
    const { signal } = this.#leaving;
    return new Promise((_, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const socket: Socket = connect(at);
      const late = this.#options.clock.after(this.#limits.connectMs, () =>
        end(new Error(`expected a publisher within ${this.#limits.connectMs} ms, found none`)),
      );
      const end = (error: unknown): void => {
        late.cancel();
        signal.removeEventListener("abort", onAbort);
        socket.destroy();
        reject(error);
      };
      const onAbort = (): void => end(signal.reason);
      const subscriber = new ZmtpSubscriber(
        {
          send: (bytes) => void socket.write(bytes),
          ready: () => {
            late.cancel();
            this.#isConnected = true;
            onReady();
          },
          message: (frames) => this.#take(frames),
        },
        this.#limits,
      );
      signal.addEventListener("abort", onAbort, { once: true });
      // A host may vanish without a word; the system notices by itself then.
      socket.setKeepAlive(true, this.#limits.connectMs);
      socket.on("connect", () => void socket.write(greeting()));
      socket.on("data", (bytes) => {
        try {
          subscriber.feed(bytes);
        } catch (error) {
          end(error);
        }
      });
      socket.on("error", end);
      socket.on("close", () => end(new Error("the publisher closed the connection")));
    });
  }

  #take(frames: readonly Buffer[]): void {
    const batch = readKvEventBatch(frames);
    const before = this.#counts;
    if (batch === null) {
      this.#counts = { ...before, malformed: before.malformed + 1 };
      if (before.malformed === 0)
        this.#log.warn({ endpoint: this.#options.endpoint, frames: frames.length }, "kv_events_malformed");
      return;
    }
    this.#counts = {
      ...before,
      batches: before.batches + 1,
      stored: before.stored + batch.stored,
      removed: before.removed + batch.removed,
      cleared: before.cleared + batch.cleared,
      missed: before.missed + this.#missedBefore(batch.sequence),
    };
    for (let cleared = 0; cleared < batch.cleared; cleared += 1) this.#options.onClear();
  }

  /** A number that is no greater than the one before is of a publisher that was started anew. */
  #missedBefore(sequence: number): number {
    const last = this.#sequence;
    this.#sequence = sequence;
    if (last === null || sequence === last + 1) return 0;
    const missed = sequence > last ? sequence - last - 1 : sequence;
    this.#log.warn({ endpoint: this.#options.endpoint, last, sequence, missed }, "kv_events_gap");
    return missed;
  }
}

interface Endpoint {
  readonly host: string;
  readonly port: number;
}

function endpointOf(endpoint: string): Endpoint {
  const found = /^tcp:\/\/(?:\[([^\]]+)\]|([^/:*]+)):(\d{1,5})$/.exec(endpoint);
  const host = found?.[1] ?? found?.[2];
  const port = Number(found?.[3] ?? 0);
  if (host === undefined || port < 1 || port > 65_535) {
    const shown = JSON.stringify(endpoint);
    throw new CoppiceError("invalid_argument", `expected kv_events such as tcp://gpu1:5557, found ${shown}`);
  }
  return { host, port };
}
