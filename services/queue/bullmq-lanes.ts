/**
 * Lanes on Redis: one BullMQ queue per lane. BullMQ owns delivery, locks, stalls, retries and back-off; this file and
 * `bullmq-consumer.ts` only say it in the words of `lanes.ts`, and nobody else imports bullmq or ioredis.
 *
 * 1. While Redis is down a lane's commands reject with "unavailable" within `commandMs` (redis-store.ts); they may have
 *    been carried out all the same, and writing twice is safe: an id that is in the lane is not added again.
 * 2. Nothing remains of a job that completed or was given up, so its id is free again.
 * 3. `remove` is no claim: it only spares work. The coordinator decides by ask ids (I1).
 */
import { Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { Clock } from "../runtime/clock.ts";
import { createBullmqConsumer } from "./bullmq-consumer.ts";
import type { Job } from "./job.ts";
import { DEFAULT_LANE_LIMITS } from "./lanes.ts";
import type { Lane, LaneConsumer, LaneLimits, Lanes } from "./lanes.ts";
import { BACKOFF_JITTER } from "./memory-lanes.ts";
import { checkJobId, checkLaneName } from "./names.ts";
import { createRedisStore, DEFAULT_STORE_LIMITS } from "./redis-store.ts";
import type { RedisStore, StoreLimits } from "./redis-store.ts";

export interface BullmqLanesOptions {
  /** redis://[user:password@]host:port[/database], or rediss:// */
  readonly redisUrl: string;
  /** Begins every key in Redis; coordinators that share a Redis take different ones. */
  readonly prefix: string;
  readonly limits?: LaneLimits;
  readonly store?: Partial<StoreLimits>;
  readonly clock: Clock;
  /** Told once for each thing about this Redis that may lose jobs, such as an eviction policy. */
  readonly onWarning?: (message: string) => void;
}

/** BullMQ's stream of events cannot be switched off and nobody reads it: keep it short. */
const EVENTS_MAX = 100;

/** States in which BullMQ still holds a job. */
const PRESENT: ReadonlySet<string> = new Set(["waiting", "delayed", "active", "prioritized"]);

/**
 * Connects lazily and never blocks: call `ping` to learn whether Redis is there.
 * @throws CoppiceError "invalid_argument" for a URL that is none of Redis, or an empty prefix.
 */
export function createBullmqLanes(options: BullmqLanesOptions): Lanes {
  checkLaneName(options.prefix);
  const limits = options.limits ?? DEFAULT_LANE_LIMITS;
  const storeLimits = { ...DEFAULT_STORE_LIMITS, ...options.store };
  const store = createRedisStore(options.redisUrl, { limits: storeLimits, clock: options.clock });
  const lanes = new Map<string, Lane>();
  const consumers = new Set<LaneConsumer>();
  const told = new Set<string>();
  const warn = (message: string): void => {
    if (told.has(message)) return;
    told.add(message);
    options.onWarning?.(message);
  };
  return {
    lane(name) {
      checkLaneName(name);
      const found = lanes.get(name);
      if (found !== undefined) return found;
      const made = createLane(name, {
        store,
        limits,
        prefix: options.prefix,
        addChunk: storeLimits.addChunk,
      });
      lanes.set(name, made);
      return made;
    },
    consume(name, consumerOptions) {
      checkLaneName(name);
      const consumer = createBullmqConsumer(name, consumerOptions, {
        queueName: queueNameOf(name),
        connection: store.forConsumers(),
        prefix: options.prefix,
        limits,
        store: storeLimits,
        clock: options.clock,
      });
      consumers.add(consumer);
      return consumer;
    },
    async ping() {
      const info = await store.command("ping", (redis) => redis.info());
      const policy = /^maxmemory_policy:(.*)$/m.exec(info)?.[1]?.trim();
      if (policy !== undefined && policy !== "noeviction") {
        warn(
          `Redis at ${store.address} has maxmemory-policy ${policy}; expected noeviction, or it may drop jobs when it is full`,
        );
      }
    },
    async close() {
      await Promise.all([...consumers].map((consumer) => consumer.drain(0)));
      store.close();
    },
  };
}

/** BullMQ forbids ":" in names; escaping it (and "%") keeps different lanes different. */
export function queueNameOf(lane: string): string {
  return lane.replaceAll("%", "%25").replaceAll(":", "%3A");
}

interface LaneContext {
  readonly store: RedisStore;
  readonly limits: LaneLimits;
  readonly prefix: string;
  readonly addChunk: number;
}

function createLane(name: string, context: LaneContext): Lane {
  let queue: Queue | null = null;
  // A coordinator that died within `evacuate` leaves the queue paused: the first add lifts that.
  let mayBePaused = true;
  const queueOn = (redis: Redis): Queue => (queue ??= openQueue(name, redis, context));
  const command = <T>(what: string, operation: (queue: Queue) => Promise<T>): Promise<T> =>
    context.store.command(`lane ${name}: ${what}`, (redis) => operation(queueOn(redis)));
  const inChunks = async (
    ids: readonly string[],
    each: (queue: Queue, id: string) => Promise<void>,
    what: string,
  ) => {
    for (const chunk of chunksOf(ids, context.addChunk)) {
      await command(what, (open) => Promise.all(chunk.map((id) => each(open, id))));
    }
  };
  return {
    name,
    async add(jobs) {
      for (const job of jobs) checkJobId(job.id, name);
      if (mayBePaused) {
        await command("resume", (open) => open.resume());
        mayBePaused = false;
      }
      for (const chunk of chunksOf(jobs, context.addChunk)) {
        await command("add", (open) =>
          open.addBulk(chunk.map((job) => ({ name: job.kind, data: job, opts: { jobId: job.id } }))),
        );
      }
    },
    remove(jobIds) {
      // BullMQ refuses while a worker holds the lock, which is what "left alone" asks for.
      return inChunks(jobIds, async (open, id) => void (await open.remove(id)), "remove");
    },
    async missing(jobIds) {
      const present = new Set<string>();
      await inChunks(
        jobIds,
        async (open, id) => {
          if (PRESENT.has(await open.getJobState(id))) present.add(id);
        },
        "missing",
      );
      return jobIds.filter((id) => !present.has(id));
    },
    async depth() {
      const counts = await command("depth", (open) =>
        open.getJobCounts("waiting", "delayed", "prioritized", "active"),
      );
      const waiting = (counts["waiting"] ?? 0) + (counts["delayed"] ?? 0) + (counts["prioritized"] ?? 0);
      return { waiting, running: counts["active"] ?? 0 };
    },
    async evacuate() {
      // In this order: paused, no worker takes another job; drained, none waits; obliterated, the running ones lose
      // their locks (their workers learn it at the next renewal) and the pause itself is forgotten.
      mayBePaused = true;
      await command("evacuate", async (open) => {
        await open.pause();
        await open.drain(true);
        await open.obliterate({ force: true });
      });
    },
  };
}

function openQueue(name: string, redis: Redis, context: LaneContext): Queue<Job> {
  const queue = new Queue<Job>(queueNameOf(name), {
    connection: redis,
    prefix: context.prefix,
    // The connection is ready when we come here; without these two a queue made just as Redis goes away stays broken.
    skipVersionCheck: true,
    skipWaitingForReady: true,
    streams: { events: { maxLen: EVENTS_MAX } },
    defaultJobOptions: {
      attempts: context.limits.attemptsMax,
      backoff: { type: "exponential", delay: context.limits.backoffMs, jitter: BACKOFF_JITTER },
      removeOnComplete: true,
      removeOnFail: true,
      stackTraceLimit: 1,
    },
  });
  queue.on("error", () => {}); // each command's own rejection tells it
  return queue;
}

function* chunksOf<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}
