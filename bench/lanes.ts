/**
 * Jobs per second through a lane with a handler that does nothing, beside bare BullMQ (Queue.addBulk and a Worker) in
 * the same run: what the words of `lanes.ts` cost. Producer and worker share this process.
 * Run: node bench/lanes.ts     (about 10 s; starts its own redis-server)
 * Does not measure: the network, handlers that work, several workers, jobs of several kilobytes.
 */
import { cpus } from "node:os";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { createBullmqLanes } from "../services/queue/bullmq-lanes.ts";
import type { Lanes } from "../services/queue/lanes.ts";
import { createMemoryLanes } from "../services/queue/memory-lanes.ts";
import { systemClock } from "../services/runtime/clock.ts";
import { createRandom } from "../services/runtime/random.ts";
import { rolloutJobs } from "../test/support/jobs.ts";
import { startRedis } from "../test/support/redis.ts";

const CONCURRENCY = 16;
const JOBS = 2_000;
const ROUNDS = 3;
const jobs = rolloutJobs(JOBS);

interface Rates {
  readonly add: number;
  readonly drain: number;
}

/** Adds every job, then lets a consumer handle them all: two rates, in jobs per second. */
async function measure(add: () => Promise<void>, consume: (onJob: () => void) => void): Promise<Rates> {
  const startMs = performance.now();
  await add();
  const addedMs = performance.now();
  const done = Promise.withResolvers<void>();
  let handled = 0;
  consume(() => {
    handled += 1;
    if (handled === JOBS) done.resolve();
  });
  await done.promise;
  const perSecond = (ms: number): number => (JOBS / ms) * 1_000;
  return { add: perSecond(addedMs - startMs), drain: perSecond(performance.now() - addedMs) };
}

async function throughLanes(lanes: Lanes, name: string): Promise<Rates> {
  const rates = await measure(
    () => lanes.lane(name).add(jobs),
    (onJob) => {
      lanes.consume(name, { concurrency: CONCURRENCY, handle: async () => onJob(), onError: console.error });
    },
  );
  await lanes.close();
  return rates;
}

async function throughBareBullmq(url: string, name: string): Promise<Rates> {
  const connection = new Redis(url, { maxRetriesPerRequest: null });
  const queue = new Queue(name, { connection, prefix: "bench" });
  await queue.waitUntilReady();
  const options = { removeOnComplete: true, removeOnFail: true };
  let worker: Worker | null = null;
  const rates = await measure(
    async () => {
      for (let start = 0; start < JOBS; start += 100) {
        const chunk = jobs.slice(start, start + 100);
        await queue.addBulk(
          chunk.map((job) => ({ name: job.kind, data: job, opts: { jobId: job.id, ...options } })),
        );
      }
    },
    (onJob) => {
      worker = new Worker(name, async () => onJob(), {
        connection,
        prefix: "bench",
        concurrency: CONCURRENCY,
      });
    },
  );
  await (worker as Worker | null)?.close(); // assigned in the callback, which the compiler does not see
  await queue.close();
  connection.disconnect();
  return rates;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
const spread = (values: readonly number[]): string =>
  `${Math.round(Math.min(...values))}-${Math.round(Math.max(...values))}`;

const redis = await startRedis({ mustBeLocal: true });
const cases: readonly (readonly [string, (round: number) => Promise<Rates>])[] = [
  ["bare BullMQ", (round) => throughBareBullmq(redis.url, `bare-${round}`)],
  [
    "BullMQ lanes",
    (round) =>
      throughLanes(
        createBullmqLanes({ redisUrl: redis.url, prefix: "bench", clock: systemClock }),
        `lane-${round}`,
      ),
  ],
  [
    "memory lanes",
    (round) =>
      throughLanes(createMemoryLanes({ clock: systemClock, random: createRandom(round) }), `lane-${round}`),
  ],
];
const results = new Map<string, Rates[]>(cases.map(([name]) => [name, []]));
for (let round = 0; round < ROUNDS; round += 1) {
  // Each goes first once: the first of a round pays for what has gone cold.
  for (let turn = 0; turn < cases.length; turn += 1) {
    const picked = cases[(turn + round) % cases.length];
    if (picked !== undefined) results.get(picked[0])?.push(await picked[1](round));
  }
}
await redis.stop();

const bare = results.get("bare BullMQ") ?? [];
const ratio = (rates: readonly Rates[], of: keyof Rates): string =>
  `x${(median(rates.map((rate) => rate[of])) / median(bare.map((rate) => rate[of]))).toFixed(2)}`;
console.log(
  `node bench/lanes.ts: ${JOBS} jobs, c=${CONCURRENCY}, median of ${ROUNDS} interleaved rounds (min-max), jobs/s`,
);
console.log(`${cpus().length} cores, node ${process.version}, ${redis.kind}`);
console.table(
  Object.fromEntries(
    [...results].map(([name, rates]) => {
      const adds = rates.map((rate) => rate.add);
      const drains = rates.map((rate) => rate.drain);
      return [
        name,
        {
          "add/s": `${Math.round(median(adds))} (${spread(adds)})`,
          "to bare": ratio(rates, "add"),
          "drain/s": `${Math.round(median(drains))} (${spread(drains)})`,
          "to bare ": ratio(rates, "drain"),
        },
      ];
    }),
  ),
);
