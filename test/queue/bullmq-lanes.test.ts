import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createBullmqLanes, queueNameOf } from "../../services/queue/bullmq-lanes.ts";
import type { BullmqLanesOptions } from "../../services/queue/bullmq-lanes.ts";
import type { Lanes } from "../../services/queue/lanes.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { CONFORMANCE_LIMITS, lanesConformance } from "../conformance/lanes.ts";
import { rolloutJob, rolloutJobs } from "../support/jobs.ts";
import { freePort } from "../../deploy/local-cluster.ts";
import { startRedis } from "../support/redis.ts";
import type { TestRedis } from "../support/redis.ts";

const LONG_MS = 20_000;
let redis: TestRedis;
let prefixes = 0;

beforeAll(async () => {
  redis = await startRedis();
}, 60_000);
afterAll(() => redis?.stop());

/** Rejections that nobody handled, and warnings of ioredis about errors that nobody listened to, fail the file. */
const stray: unknown[] = [];
process.on("unhandledRejection", (reason) => stray.push(reason));
const printed = vi.spyOn(console, "error").mockImplementation((...words) => void stray.push(words));
afterAll(() => {
  printed.mockRestore();
  expect(stray).toEqual([]);
});

function lanesOn(url: string, options: Partial<BullmqLanesOptions> = {}): Lanes {
  return createBullmqLanes({
    redisUrl: url,
    prefix: "t",
    limits: CONFORMANCE_LIMITS,
    clock: systemClock,
    ...options,
  });
}

const until = (isSo: () => boolean | Promise<boolean>): Promise<void> =>
  vi.waitFor(async () => expect(await isSo()).toBe(true), { timeout: LONG_MS, interval: 10 });

/** A worker process that holds one job of `lane` until it is killed by SIGKILL. */
async function vanishing(
  lane: string,
  prefix: string,
): Promise<{ readonly jobId: string; vanish(): Promise<void> }> {
  const script = new URL("../support/vanishing-worker.ts", import.meta.url).pathname;
  const args = [script, redis.url, prefix, lane, String(CONFORMANCE_LIMITS.lockMs)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [said] = (await once(child.stdout, "data")) as [Buffer]; // a pipe's chunks are Buffers
  return {
    jobId: said
      .toString()
      .trim()
      .replace(/^holds /, ""),
    async vanish() {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    },
  };
}

lanesConformance("BullMQ on Redis", async () => {
  const prefix = `conformance-${process.pid}-${prefixes++}`;
  const lanes = lanesOn(redis.url, { prefix });
  const workers = lanesOn(redis.url, { prefix });
  return {
    lanes,
    workers,
    limits: CONFORMANCE_LIMITS,
    until,
    vanishing: (lane) => vanishing(lane, prefix),
    close: async () => void (await Promise.all([lanes.close(), workers.close()])),
  };
});

describe("Redis away", () => {
  const store = { commandMs: 400, reconnectMsMax: 100, errorIntervalMs: 50 };
  /** For commands that are to be answered, on a busy machine too. */
  const patient = { ...store, commandMs: 3_000 };

  test("absent at start: ping and every command reject with unavailable and the address, within the limit", async () => {
    const port = await freePort();
    const lanes = lanesOn(`redis://:secret@127.0.0.1:${port}/2`, { store });
    const startMs = performance.now();
    await expect(lanes.ping()).rejects.toMatchObject({
      code: "unavailable",
      isRetryable: true,
      message: expect.stringMatching(
        new RegExp(`^ping: .*redis://127.0.0.1:${port}/2, found: .*ECONNREFUSED`),
      ),
    });
    expect(performance.now() - startMs).toBeLessThan(20_000);
    const lane = lanes.lane("host-a");
    const calls = [
      lane.add([rolloutJob("a")]),
      lane.missing(["a"]),
      lane.depth(),
      lane.remove(["a"]),
      lane.evacuate(),
    ];
    for (const outcome of await Promise.allSettled(calls)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "unavailable" } });
      expect(JSON.stringify(outcome)).not.toContain("secret");
    }
    const consumer = lanes.consume("host-a", { concurrency: 1, handle: async () => {}, onError: () => {} });
    await consumer.drain(0);
    await lanes.close();
  });

  test("a URL that is none of Redis is refused without showing what is in it", () => {
    expect(() => lanesOn("http://user:secret@somewhere")).toThrow(
      /expected a Redis URL.*found "http:\/\/\.\.\."/,
    );
    expect(() => lanesOn("localhost")).toThrow(/expected a Redis URL/);
  });

  test("killed and started again with its data: nothing is lost, consumers go on by themselves", async () => {
    const own = await startRedis({ mustBeLocal: true, serverOptions: ["--appendfsync", "always"] });
    const lanes = lanesOn(own.url, { store: patient });
    const workers = lanesOn(own.url, { store: patient });
    const lane = lanes.lane("host-a");
    const jobs = rolloutJobs(60);
    const done = new Set<string>();
    const troubles: string[] = [];
    const hold = Promise.withResolvers<void>();
    workers.consume("host-a", {
      concurrency: 3,
      handle: async ({ job }) => {
        if (done.size >= 20) await hold.promise;
        done.add(job.id);
      },
      onError: (error) => troubles.push(error.message),
    });
    await lane.add(jobs);
    await until(() => done.size >= 20);
    await own.kill();
    await expect(lane.depth()).rejects.toMatchObject({ code: "unavailable" });
    await expect(lane.add([rolloutJob("late")])).rejects.toMatchObject({ code: "unavailable" });
    hold.resolve();
    await until(() => troubles.some((trouble) => trouble.includes("ECONNREFUSED")));
    await own.restart({ keepData: true });
    await until(() => done.size === 60);
    await until(async () => (await lane.depth().catch(() => null))?.running === 0);
    expect(await lane.missing(jobs.map((job) => job.id))).toHaveLength(60);
    expect(done.has("late")).toBe(false);
    await Promise.all([lanes.close(), workers.close()]);
    await own.stop();
  }, 60_000);

  test("started again empty: missing tells, and what is added again is handled", async () => {
    const own = await startRedis({ mustBeLocal: true });
    const lanes = lanesOn(own.url, { store: patient });
    const workers = lanesOn(own.url, { store: patient });
    const lane = lanes.lane("host-a");
    await lane.add(rolloutJobs(5));
    expect(await lane.missing(["job-0", "job-4"])).toEqual([]);
    await own.restart({ keepData: false });
    const ids = rolloutJobs(5).map((job) => job.id);
    await until(async () => (await lane.missing(ids).catch(() => [])).length === 5);
    const done: string[] = [];
    workers.consume("host-a", {
      concurrency: 1,
      handle: async ({ job }) => void done.push(job.id),
      onError: () => {},
    });
    await lane.add(rolloutJobs(5));
    await until(() => done.length === 5);
    expect(done).toEqual(ids);
    await Promise.all([lanes.close(), workers.close()]);
    await own.stop();
  }, 60_000);

  test("frozen rather than dead: commands reject in time, and go on when it thaws", async () => {
    const own = await startRedis({ mustBeLocal: true });
    const lanes = lanesOn(own.url, { store });
    const lane = lanes.lane("host-a");
    await lane.add([rolloutJob("a")]);
    own.signal("SIGSTOP");
    await expect(lane.depth()).rejects.toMatchObject({ code: "unavailable" });
    own.signal("SIGCONT");
    await until(async () => (await lane.depth().catch(() => null))?.waiting === 1);
    await lanes.close();
    await own.stop();
  }, 60_000);
});

describe("what BullMQ asks of Redis and of us", () => {
  test("an eviction policy that may drop jobs is warned of, once", async () => {
    const own = await startRedis({ mustBeLocal: true, serverOptions: ["--maxmemory-policy", "allkeys-lru"] });
    const warnings: string[] = [];
    const lanes = lanesOn(own.url, { onWarning: (message) => warnings.push(message) });
    await lanes.ping();
    await lanes.ping();
    expect(warnings).toEqual([expect.stringMatching(/maxmemory-policy allkeys-lru; expected noeviction/)]);
    await lanes.close();
    await own.stop();
  });

  test("one connection serves the commands of every lane, and one more per consumed lane", async () => {
    const own = await startRedis({ mustBeLocal: true });
    const lanes = lanesOn(own.url);
    const clients = async (): Promise<number> =>
      Number(/connected_clients:(\d+)/.exec(await own.info())?.[1]) - 1;
    for (let index = 0; index < 20; index += 1) await lanes.lane(`host-${index}`).add([rolloutJob("a")]);
    expect(await clients()).toBe(1);
    const done: string[] = [];
    for (let index = 0; index < 20; index += 1) {
      const handle = async (): Promise<void> => void done.push("a");
      lanes.consume(`host-${index}`, { concurrency: 2, handle, onError: () => {} });
    }
    await until(() => done.length === 20);
    expect(await clients()).toBe(22);
    await lanes.close();
    await until(async () => (await clients()) === 0);
    await own.stop();
  });

  test("a lost lock aborts the delivery, and the late end of its handler changes nothing", async () => {
    const prefix = `lost-${process.pid}`;
    const lanes = lanesOn(redis.url, { prefix });
    const held = Promise.withResolvers<AbortSignal>();
    const gate = Promise.withResolvers<void>();
    lanes.consume("host-a", {
      concurrency: 1,
      handle: async ({ signal }) => {
        held.resolve(signal);
        await gate.promise;
      },
      onError: () => {},
    });
    const lane = lanes.lane("host-a");
    await lane.add([rolloutJob("a")]);
    const signal = await held.promise;
    await lane.evacuate();
    await until(() => signal.aborted);
    expect(String(signal.reason)).toContain("its lock on lane host-a was lost");
    await lane.add([rolloutJob("a")]);
    gate.resolve();
    await until(async () => (await lane.missing(["a"])).length === 1);
    await lanes.close();
  });

  test("a consumer whose store answers errors backs off instead of spinning, and goes on afterwards", async () => {
    const own = await startRedis({ mustBeLocal: true });
    const errors: string[] = [];
    const lanes = lanesOn(own.url, {
      store: { errorsPerSecondMax: 5, pauseMs: 200, errorIntervalMs: 10_000 },
    });
    const held = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    lanes.consume("host-a", {
      concurrency: 1,
      handle: async () => {
        held.resolve();
        await gate.promise;
      },
      onError: (error) => errors.push(error.message),
    });
    await lanes.lane("host-a").add([rolloutJob("a")]);
    await held.promise;
    // Scripts fail at their first write: completing the job answers an error, and so does every fetch of a next one.
    await own.info("CONFIG SET min-replicas-to-write 1");
    gate.resolve();
    await until(() => errors.length > 0);
    const before = Number(/total_error_replies:(\d+)/.exec(await own.info())?.[1]);
    const startMs = performance.now();
    await until(() => performance.now() - startMs > 1_000); // a rate needs a second to be measured in
    const after = Number(/total_error_replies:(\d+)/.exec(await own.info())?.[1]);
    expect(after - before).toBeLessThan(100);
    expect(errors.length).toBeLessThan(5);
    await own.info("CONFIG SET min-replicas-to-write 0");
    const lane = lanes.lane("host-a");
    await until(async () => (await lane.missing(["a"])).length === 1); // delivered again after its stall, and completed
    await lanes.close();
    await own.stop();
  }, 60_000);

  test("different lane names stay different in Redis, and none has a colon", () => {
    const names = ["a:b", "a%3Ab", "a%b", "a%25b", "http://h:1"];
    expect(new Set(names.map(queueNameOf)).size).toBe(names.length);
    expect(names.map(queueNameOf).join("")).not.toContain(":");
  });
});
