import { expect, test } from "vitest";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import type { Lanes } from "../../services/queue/lanes.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { CONFORMANCE_LIMITS, lanesConformance } from "../conformance/lanes.ts";
import type { LanesHarness } from "../conformance/lanes.ts";
import { rolloutJob, rolloutJobs } from "../support/jobs.ts";
import { createVirtualClock } from "../support/virtual-clock.ts";

/** Lets every pending microtask and setImmediate run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function vanishing(
  lanes: Lanes,
  lane: string,
): Promise<{ readonly jobId: string; vanish(): Promise<void> }> {
  const held = Promise.withResolvers<string>();
  const consumer = lanes.consume(lane, {
    concurrency: 1,
    handle: ({ job }) => {
      held.resolve(job.id);
      return new Promise(() => {});
    },
    onError: () => {},
  });
  return { jobId: await held.promise, vanish: () => consumer.drain(0) };
}

async function createHarness(): Promise<LanesHarness> {
  const clock = createVirtualClock();
  const lanes = createMemoryLanes({ clock, random: createRandom(7), limits: CONFORMANCE_LIMITS });
  return {
    lanes,
    workers: lanes,
    limits: CONFORMANCE_LIMITS,
    async until(isSo) {
      for (let turns = 0; turns < 1_000; turns += 1) {
        await turn();
        if (await isSo()) return;
        clock.advance(1);
      }
      throw new Error("it never came about");
    },
    vanishing: (lane) => vanishing(lanes, lane),
    close: () => lanes.close(),
  };
}

lanesConformance("in memory", createHarness);

test("the back-off doubles, and chance takes off at most half of it", async () => {
  const clock = createVirtualClock();
  const limits = { ...CONFORMANCE_LIMITS, attemptsMax: 5, backoffMs: 100 };
  const lanes = createMemoryLanes({ clock, random: createRandom(3), limits });
  const triedMs: number[] = [];
  lanes.consume("host-a", {
    concurrency: 1,
    handle: async () => {
      triedMs.push(clock.monotonicMs());
      throw new Error("always");
    },
    onError: () => {},
  });
  await lanes.lane("host-a").add([rolloutJob("a")]);
  for (let ms = 0; ms < 2_000; ms += 1) {
    await turn();
    clock.advance(1);
  }
  expect(triedMs).toHaveLength(5);
  for (const [index, atMs] of triedMs.slice(1).entries()) {
    const waitedMs = atMs - (triedMs[index] ?? 0);
    expect(waitedMs).toBeGreaterThanOrEqual(50 * 2 ** index);
    expect(waitedMs).toBeLessThanOrEqual(100 * 2 ** index + 1);
  }
});

test("a job that is lost more often than stallsMax is given up", async () => {
  const limits = { ...CONFORMANCE_LIMITS, stallsMax: 1 };
  const lanes = createMemoryLanes({ clock: createVirtualClock(), random: createRandom(1), limits });
  const lane = lanes.lane("host-a");
  await lane.add([rolloutJob("a")]);
  await (await vanishing(lanes, "host-a")).vanish();
  expect(await lane.missing(["a"])).toEqual([]);
  await (await vanishing(lanes, "host-a")).vanish();
  expect(await lane.missing(["a"])).toEqual(["a"]);
});

test("the cost of a job does not grow with the number of jobs that wait, removed ones included", async () => {
  const lanes = createMemoryLanes({
    clock: createVirtualClock(),
    random: createRandom(1),
    limits: CONFORMANCE_LIMITS,
  });
  const lane = lanes.lane("host-a");
  const jobs = rolloutJobs(50_000);
  await lane.add(jobs);
  await lane.remove(jobs.filter((_, index) => index % 2 === 0).map((job) => job.id));
  let handled = 0;
  const startMs = performance.now();
  const done = Promise.withResolvers<void>();
  lanes.consume("host-a", {
    concurrency: 16,
    handle: async () => {
      handled += 1;
      if (handled === 25_000) done.resolve();
    },
    onError: () => {},
  });
  await done.promise;
  // Linear takes about 0.1 s; a scan per job would take minutes.
  expect(performance.now() - startMs).toBeLessThan(10_000);
});

test("closed lanes refuse and keep no timer", async () => {
  const clock = createVirtualClock();
  const lanes = createMemoryLanes({ clock, random: createRandom(1), limits: CONFORMANCE_LIMITS });
  const lane = lanes.lane("host-a");
  lanes.consume("host-a", {
    concurrency: 1,
    handle: () => Promise.reject(new Error("always")),
    onError: () => {},
  });
  await lane.add([rolloutJob("a")]);
  await turn();
  expect(clock.pending()).toBe(1);
  await lanes.close();
  expect(clock.pending()).toBe(0);
  await expect(lane.add([rolloutJob("b")])).rejects.toMatchObject({ code: "failed_precondition" });
});
