import { afterEach, beforeEach, expect, test } from "vitest";
import { arm, type InProcess, newSweep, puzzles, RAW, startInProcess } from "../support/in-process.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";

let parts: InProcess;
beforeEach(async () => {
  parts = await startInProcess();
});
afterEach(() => parts.close());

const sweepOf = () => newSweep({ arms: [arm("best-of-n", { n: 4 })] });

test("what runs when a sweep is interrupted may finish within the grace, and is not asked again on resume", async () => {
  const gate = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  let asked = 0;
  const onSample = async (): Promise<void> => {
    asked += 1;
    if (asked === 8) begun.resolve();
    await gate.promise;
  };
  await parts.addHost("a", createSeededDriver({ concurrency: 8, onSample }));
  const sweep = await sweepOf();
  const run = await parts.coordinator.submit(sweep, puzzles(12), RAW);
  await begun.promise;
  const left = parts.coordinator.drain(60_000);
  gate.resolve();
  expect(await left).toBe(1);
  expect(await run.ended).toMatchObject({ state: "interrupted" });
  expect(asked).toBeLessThan(48);
  const resumed = await parts.coordinator.reopen(sweep);
  expect(await resumed.ended).toMatchObject({ state: "completed", rollouts: 48 });
  expect(asked).toBe(48);
});

test("what has not finished when the grace is over is stopped at its host, and asked again on resume", async () => {
  const begun = Promise.withResolvers<void>();
  const stopped = Promise.withResolvers<void>();
  let [asked, aborted, isHeld] = [0, 0, true];
  const onSample = (_: unknown, signal: AbortSignal): Promise<void> | undefined => {
    if (!isHeld) return undefined;
    asked += 1;
    if (asked === 8) begun.resolve();
    return new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        aborted += 1;
        if (aborted === asked) stopped.resolve();
        reject(signal.reason);
      });
    });
  };
  await parts.addHost("a", createSeededDriver({ concurrency: 8, onSample }));
  const sweep = await sweepOf();
  const run = await parts.coordinator.submit(sweep, puzzles(12), RAW);
  await begun.promise;
  isHeld = false;
  await run.interrupt();
  await stopped.promise;
  expect(await run.ended).toMatchObject({ state: "interrupted", rollouts: 0 });
  const resumed = await parts.coordinator.reopen(sweep);
  expect(await resumed.ended).toMatchObject({ state: "completed", rollouts: 48 });
});
