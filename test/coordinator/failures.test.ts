import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { Retries } from "../../services/coordinator/retries.ts";
import type { SweepEvent } from "../../services/coordinator/status.ts";
import {
  mayTryAgain,
  poisonNote,
  RETRY_RULES,
  WORKERS_LOST_MAX,
} from "../../services/queue/failure-classes.ts";
import { DEFAULT_LANE_LIMITS } from "../../services/queue/lanes.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import {
  arm,
  type InProcess,
  newSweep,
  puzzles,
  RAW,
  rowsOf,
  startInProcess,
} from "../support/in-process.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";

let parts: InProcess | null = null;
afterEach(async () => {
  await parts?.close();
  parts = null;
});

const refusing = (message: string) =>
  createSeededDriver({
    onSample: () => {
      throw new CoppiceError("failed_precondition", message);
    },
  });

async function hostsOf(output: string): Promise<ReadonlySet<string>> {
  const text = await readFile(join(output, "rollouts.jsonl"), "utf8");
  const rows = text.split("\n").filter((line) => line !== "");
  return new Set(rows.map((row) => String(JSON.parse(row).host)));
}

test("a rollout that a host refuses goes to another host: none is lost, and who watches hears of it once", async () => {
  parts = await startInProcess();
  await parts.addHost("a", refusing("wrong key"));
  await parts.addHost("b", createSeededDriver());
  const sweep = await newSweep({ arms: [arm("best-of-n", { n: 4 })] });
  const run = await parts.coordinator.submit(sweep, puzzles(12), RAW);
  const told: string[] = [];
  run.watch((event: SweepEvent) => void (event.kind === "log" && told.push(event.message)));
  expect(await run.ended).toMatchObject({ tasks: { completed: 12 }, rollouts: 48, failures_by_reason: {} });
  expect(await hostsOf(sweep.output)).toEqual(new Set(["b"]));
  expect(told).toContain("asked again elsewhere after host_refused (1 so far): a: wrong key");
  expect(told.filter((line) => line.startsWith("host_refused")).length).toBeLessThanOrEqual(2);
});

test("a task whose asks failed everywhere fails with the reason in its row, and the others go on", async () => {
  parts = await startInProcess();
  for (const id of ["a", "b"]) await parts.addHost(id, refusing(`no key for ${id}`));
  const sweep = await newSweep({ arms: [arm("best-of-n", { n: 2 })] });
  const run = await parts.coordinator.submit(sweep, puzzles(3), RAW);
  expect(await run.ended).toMatchObject({
    tasks: { failed: 3 },
    rollouts: 0,
    failures_by_reason: { host_refused: 6 },
  });
  const { results } = await rowsOf(sweep.output);
  expect(results).toHaveLength(3);
  for (const row of results)
    expect(JSON.parse(row)).toMatchObject({
      state: "failed",
      error: expect.stringMatching(/^host_refused: no key/),
    });
  expect(run.status().failures_by_reason).toEqual({ host_refused: 6 });
});

test("a host that does not answer is drained, its trees go elsewhere, and it is served again once it answers", async () => {
  parts = await startInProcess({ dispatch: { downMs: 40 } });
  let isDown = false;
  let answered = 0;
  const [drained, served] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const isServing = (): void => {
    if (isDown) throw new CoppiceError("unavailable", "connection refused");
  };
  const a = createSeededDriver({
    concurrency: 4,
    onProbe: isServing,
    async onSample(_, signal) {
      // The first ask takes the host down; what comes once it is back is answered.
      if (answered === 0) isDown = true;
      isServing();
      served.resolve();
      signal.throwIfAborted();
    },
  });
  const b = createSeededDriver({
    concurrency: 1,
    async onSample() {
      answered += 1;
      if (answered === 6) {
        await drained.promise;
        isDown = false;
      }
      if (answered > 6) await served.promise;
    },
  });
  const limits = { signalsMs: 10, downBackoffMs: 10, downBackoffMaxMs: 20 };
  await parts.addHost("a", a, { limits });
  await parts.addHost("b", b, { limits });
  const sweep = await newSweep({ arms: [arm("best-of-n", { n: 4 })] });
  const run = await parts.coordinator.submit(sweep, puzzles(12), RAW);
  const told: string[] = [];
  run.watch((event: SweepEvent) => {
    if (event.kind !== "log") return;
    told.push(event.message);
    if (event.message.endsWith("elsewhere")) drained.resolve();
  });
  expect(await run.ended).toMatchObject({ tasks: { completed: 12 }, rollouts: 48, failures_by_reason: {} });
  expect(told).toContain("host a does not answer");
  expect(told.join("\n")).toMatch(/host a does not answer; \d+ jobs? go(es)? elsewhere/);
  expect(told).toContain("host a answers again");
  expect(await hostsOf(sweep.output)).toEqual(new Set(["a", "b"]));
});

test("a job with which workers died again and again is set aside before it takes another one down", () => {
  const retries = new Retries({ send: () => false, notice: () => undefined });
  // Only what it counts is looked at.
  const open = {} as Parameters<Retries["isPoison"]>[0];
  const words = Array.from({ length: WORKERS_LOST_MAX }, () => retries.isPoison(open));
  expect(words).toEqual([...Array<boolean>(WORKERS_LOST_MAX - 1).fill(false), true]);
  expect(poisonNote({ workersLost: WORKERS_LOST_MAX - 1 })).toBeNull();
  expect(poisonNote({ workersLost: WORKERS_LOST_MAX })).toContain("it is set aside");
});

test("every class of failure has an end: its attempts are within the lane's, and the table says where", () => {
  for (const { attempts, hosts } of Object.values(RETRY_RULES)) {
    expect(attempts).toBeLessThanOrEqual(DEFAULT_LANE_LIMITS.attemptsMax);
    expect(attempts * hosts).toBeLessThanOrEqual(12);
  }
  expect(mayTryAgain("host_timeout", { attempt: 1, isLast: false })).toBe(true);
  expect(mayTryAgain("host_timeout", { attempt: 2, isLast: false })).toBe(false);
  expect(mayTryAgain("context_overflow", { attempt: 1, isLast: false })).toBe(false);
  expect(mayTryAgain("a class that nobody knows", { attempt: 1, isLast: false })).toBe(false);
});
