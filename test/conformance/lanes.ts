/** What every implementation of lanes must do: one suite for lanes in memory and lanes on Redis. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Delivery, JobHandler, LaneConsumer, LaneLimits, Lanes } from "../../services/queue/lanes.ts";
import { rolloutJob, rolloutJobs } from "../support/jobs.ts";

export interface LanesHarness {
  /** The coordinator's side. */
  readonly lanes: Lanes;
  /** A worker's side: the same object in memory, another process's connections on Redis. */
  readonly workers: Lanes;
  readonly limits: LaneLimits;
  /** Resolves once `isSo` holds; moves a virtual clock on, or waits for real I/O. Rejects when it never holds. */
  until(isSo: () => boolean | Promise<boolean>): Promise<void>;
  /** A consumer elsewhere takes a job of this lane and holds it; `vanish` ends it without goodbye. */
  vanishing(lane: string): Promise<{ readonly jobId: string; vanish(): Promise<void> }>;
  close(): Promise<void>;
}

/** Limits that keep the suite short; a harness passes them on. */
export const CONFORMANCE_LIMITS: LaneLimits = { attemptsMax: 3, stallsMax: 4, backoffMs: 20, lockMs: 800 };

export function lanesConformance(name: string, createHarness: () => Promise<LanesHarness>): void {
  describe(`lanes: ${name}`, () => {
    let harness: LanesHarness;
    beforeEach(async () => {
      harness = await createHarness();
    });
    afterEach(() => harness.close());
    const consume = (lane: string, handle: JobHandler, concurrency = 1): LaneConsumer =>
      harness.workers.consume(lane, { concurrency, handle, onError: () => {} });

    test("ping resolves when the store answers", async () => {
      await expect(harness.lanes.ping()).resolves.toBeUndefined();
    });

    test("first come, first served, each job once, and nothing of it remains", async () => {
      const jobs = rolloutJobs(40);
      const lane = harness.lanes.lane("host-a");
      await lane.add(jobs.slice(0, 25));
      await lane.add(jobs.slice(25));
      const seen: Delivery[] = [];
      consume("host-a", async (delivery) => void seen.push(delivery));
      await harness.until(() => seen.length === 40);
      expect(seen.map((delivery) => delivery.job)).toEqual(jobs);
      expect(seen.every((delivery) => delivery.attempt === 1 && !delivery.isLast)).toBe(true);
      await harness.until(async () => (await lane.depth()).running === 0);
      expect(await lane.depth()).toEqual({ waiting: 0, running: 0 });
      expect(await lane.missing(["job-3"])).toEqual(["job-3"]);
    });

    test("lanes do not mix, whatever is in their names", async () => {
      const seen: string[] = [];
      await harness.lanes.lane("http://host:8000/v1").add([rolloutJob("a")]);
      await harness.lanes.lane("http%3A//host:8000/v1").add([rolloutJob("b")]);
      consume("http://host:8000/v1", async ({ job }) => void seen.push(job.id));
      await harness.until(() => seen.length === 1);
      expect(seen).toEqual(["a"]);
      expect((await harness.lanes.lane("http%3A//host:8000/v1").depth()).waiting).toBe(1);
    });

    test("a job that is in the lane is not added again, waiting or running; once forgotten its id is free", async () => {
      const lane = harness.lanes.lane("host-a");
      await lane.add([rolloutJob("a"), rolloutJob("a")]);
      await lane.add([rolloutJob("a")]);
      expect(await lane.depth()).toEqual({ waiting: 1, running: 0 });
      const gates = new Gates();
      consume("host-a", gates.handle);
      await harness.until(() => gates.held("a") === 1);
      await lane.add([rolloutJob("a")]);
      expect(await lane.depth()).toEqual({ waiting: 0, running: 1 });
      gates.open("a");
      await harness.until(async () => (await lane.missing(["a"])).length === 1);
      await lane.add([rolloutJob("a")]);
      await harness.until(() => gates.total === 2);
      gates.open("a");
    });

    test.each(["a:b", "12", ""])("a job's id that the store forbids is refused: %j", async (id) => {
      await expect(harness.lanes.lane("host-a").add([rolloutJob(id)])).rejects.toMatchObject({
        code: "invalid_argument",
      });
    });

    test("no more than `concurrency` jobs are handled at once, and it can be changed", async () => {
      const gates = new Gates();
      const consumer = consume("host-a", gates.handle, 2);
      await harness.lanes.lane("host-a").add(rolloutJobs(8));
      await harness.until(() => gates.total === 2);
      consumer.setConcurrency(5);
      gates.open("job-0");
      await harness.until(() => gates.total === 6);
      expect(gates.now).toBe(5);
      expect(await harness.lanes.lane("host-a").depth()).toEqual({ waiting: 2, running: 5 });
      expect(() => consumer.setConcurrency(0)).toThrow(/whole number from 1/);
      gates.openAll();
      await harness.until(() => gates.total === 8);
      expect(gates.most).toBe(5);
    });

    test("a failing job is retried after a back-off, is told its last attempt, and is then forgotten", async () => {
      const tries: { readonly attempt: number; readonly isLast: boolean }[] = [];
      const lane = harness.lanes.lane("host-a");
      consume("host-a", async ({ attempt, isLast }) => {
        tries.push({ attempt, isLast });
        throw new Error("the host answered rubbish");
      });
      await lane.add([rolloutJob("a")]);
      await harness.until(async () => (await lane.missing(["a"])).length === 1);
      expect(tries).toEqual([
        { attempt: 1, isLast: false },
        { attempt: 2, isLast: false },
        { attempt: 3, isLast: true },
      ]);
      await lane.add([rolloutJob("a")]);
      await harness.until(() => tries.length === 6);
      expect(tries[3]).toEqual({ attempt: 1, isLast: false });
    });

    test("a job that fails once does not hold up the others and succeeds later", async () => {
      const done: string[] = [];
      consume("host-a", async ({ job, attempt }) => {
        if (job.id === "job-0" && attempt === 1) throw new Error("once");
        done.push(job.id);
      });
      await harness.lanes.lane("host-a").add(rolloutJobs(3));
      await harness.until(() => done.length === 3);
      expect(done).toEqual(["job-1", "job-2", "job-0"]);
    });

    test("remove takes out what waits and leaves alone what runs or is unknown", async () => {
      const lane = harness.lanes.lane("host-a");
      const gates = new Gates();
      consume("host-a", gates.handle);
      await lane.add(rolloutJobs(3));
      await harness.until(() => gates.held("job-0") === 1);
      await lane.remove(["job-0", "job-1", "nobody"]);
      expect(await lane.missing(["job-0", "job-1", "job-2", "nobody"])).toEqual(["job-1", "nobody"]);
      gates.open("job-0");
      await harness.until(() => gates.held("job-2") === 1);
      expect(gates.total).toBe(2);
      gates.openAll();
    });

    test("missing and depth count a job that waits for its retry", async () => {
      const lane = harness.lanes.lane("host-b");
      const failing = Promise.withResolvers<void>();
      const consumer = consume("host-b", async () => {
        failing.resolve();
        throw new Error("once");
      });
      await lane.add([rolloutJob("a")]);
      await failing.promise;
      await consumer.drain(60_000);
      expect(await lane.missing(["a"])).toEqual([]);
      expect(await lane.depth()).toEqual({ waiting: 1, running: 0 });
      await lane.remove(["a"]);
      expect(await lane.missing(["a"])).toEqual(["a"]);
    });

    test("evacuate empties the lane, aborts what runs, and the lane can be used again", async () => {
      const lane = harness.lanes.lane("host-a");
      const gates = new Gates();
      consume("host-a", gates.handle);
      await lane.add(rolloutJobs(5));
      await harness.until(() => gates.held("job-0") === 1);
      await lane.evacuate();
      expect(await lane.depth()).toEqual({ waiting: 0, running: 0 });
      const ids = rolloutJobs(5).map((job) => job.id);
      expect(await lane.missing(ids)).toEqual(ids);
      await harness.until(() => gates.aborted.includes("job-0"));
      gates.open("job-0");
      await lane.add([rolloutJob("after")]);
      await harness.until(() => gates.held("after") === 1);
      expect(gates.total).toBe(2);
      gates.openAll();
      await harness.until(async () => (await lane.missing(["after"])).length === 1);
    });

    test("evacuating an empty lane, and twice, is no error", async () => {
      await harness.lanes.lane("nobody").evacuate();
      await harness.lanes.lane("nobody").evacuate();
      expect(await harness.lanes.lane("nobody").depth()).toEqual({ waiting: 0, running: 0 });
    });

    test("drain finishes what is in hand and takes no more", async () => {
      const lane = harness.lanes.lane("host-a");
      const gates = new Gates();
      const consumer = consume("host-a", gates.handle);
      await lane.add(rolloutJobs(2));
      await harness.until(() => gates.held("job-0") === 1);
      const drained = consumer.drain(60_000);
      gates.open("job-0");
      await drained;
      expect(await lane.missing(["job-0", "job-1"])).toEqual(["job-0"]);
      expect(gates.total).toBe(1);
      expect(gates.aborted).toEqual([]);
      await consumer.drain(0);
    });

    test("what a drain does not finish in its grace is aborted and delivered again", async () => {
      const gates = new Gates();
      const consumer = consume("host-a", gates.handle, 2);
      await harness.lanes.lane("host-a").add(rolloutJobs(2));
      await harness.until(() => gates.total === 2);
      await consumer.drain(0);
      expect(gates.aborted.toSorted()).toEqual(["job-0", "job-1"]);
      const again: Delivery[] = [];
      consume("host-a", async (delivery) => void again.push(delivery), 2);
      await harness.until(() => again.length === 2);
      expect(again.map(({ job }) => job.id).toSorted()).toEqual(["job-0", "job-1"]);
      expect(again.every((delivery) => !delivery.isLast)).toBe(true);
      gates.openAll();
      await harness.until(
        async () => (await harness.lanes.lane("host-a").missing(["job-0", "job-1"])).length === 2,
      );
    });

    test("two consumers share a lane, and no job is handled twice at the same time", async () => {
      const running = new Set<string>();
      const handled = new Map<string, number>();
      const shares = [0, 0];
      let overlaps = 0;
      const handler =
        (index: 0 | 1): JobHandler =>
        async ({ job }) => {
          if (running.has(job.id)) overlaps += 1;
          running.add(job.id);
          shares[index] = (shares[index] ?? 0) + 1;
          await new Promise((resolve) => setImmediate(resolve));
          handled.set(job.id, (handled.get(job.id) ?? 0) + 1);
          running.delete(job.id);
        };
      consume("host-a", handler(0), 4);
      consume("host-a", handler(1), 4);
      await harness.lanes.lane("host-a").add(rolloutJobs(300));
      await harness.until(() => handled.size === 300 && running.size === 0);
      expect(overlaps).toBe(0);
      expect([...handled.values()].every((times) => times === 1)).toBe(true);
      expect(Math.min(...shares)).toBeGreaterThan(0);
    });

    test("the job of a consumer that vanished without goodbye is delivered again", async () => {
      const lane = harness.lanes.lane("host-a");
      await lane.add(rolloutJobs(2));
      const lost = await harness.vanishing("host-a");
      expect(lost.jobId).toBe("job-0");
      await lost.vanish();
      const seen: Delivery[] = [];
      consume("host-a", async (delivery) => void seen.push(delivery));
      await harness.until(async () => (await lane.missing(["job-0", "job-1"])).length === 2);
      const again = seen.find(({ job }) => job.id === "job-0");
      expect(again).toMatchObject({ attempt: 2, isLast: false });
      expect(seen).toHaveLength(2);
    });
  });
}

/** A handler that holds each job until the test opens its gate; an abort is written down and holds on. */
class Gates {
  total = 0;
  now = 0;
  most = 0;
  readonly aborted: string[] = [];
  readonly #gates = new Map<string, (() => void)[]>();
  #isOpen = false;

  readonly handle: JobHandler = async ({ job, signal }) => {
    this.total += 1;
    this.now += 1;
    this.most = Math.max(this.most, this.now);
    signal.addEventListener("abort", () => this.aborted.push(job.id), { once: true });
    if (!this.#isOpen) {
      await new Promise<void>((resolve) =>
        this.#gates.set(job.id, [...(this.#gates.get(job.id) ?? []), resolve]),
      );
    }
    this.now -= 1;
  };

  held(id: string): number {
    return this.#gates.get(id)?.length ?? 0;
  }

  open(id: string): void {
    for (const resolve of this.#gates.get(id) ?? []) resolve();
    this.#gates.delete(id);
  }

  openAll(): void {
    this.#isOpen = true;
    for (const id of this.#gates.keys()) this.open(id);
  }
}
