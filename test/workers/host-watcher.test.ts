import { afterEach, describe, expect, it } from "vitest";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { EngineSignals } from "../../workers/rollout/driver.ts";
import { type HostBed, type HostBedOptions, openHostBed, settled, siblings } from "../support/host-bed.ts";

const PROBLEM = `${"Reach 24 with these numbers, one step at a time. ".repeat(9)}\n4 5 6 10\n`;

const CALM: EngineSignals = {
  running: 1,
  waiting: 0,
  kvUsage: 0.1,
  preemptions: 0,
  refusals: 0,
  promptTokensComputed: 700,
  promptTokensCached: 300,
  cacheClears: 0,
};

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function open(options: HostBedOptions = {}): Promise<HostBed> {
  const bed = await openHostBed(options);
  closing.push(() => bed.close());
  return bed;
}

/** Ends what the host holds, oldest first. */
async function letGo(bed: HostBed, count: number): Promise<void> {
  for (const held of bed.prefilling.slice(0, count)) held.letGo();
  await settled();
}

/** Answers everything, as it comes, until nothing is left. */
async function letAllGo(bed: HostBed): Promise<void> {
  while (bed.prefilling.length > 0) await letGo(bed, bed.prefilling.length);
  await bed.idle();
}

describe("rollout worker: concurrency", () => {
  it("has more asks at the host while its engine is calm, and fewer once it preempts", async () => {
    let signals = CALM;
    const bed = await open({
      concurrency: 2,
      concurrencyMax: 16,
      holds: ["prefill"],
      signals: () => signals,
    });
    const root = bed.keep(PROBLEM);
    await bed.add(...Array.from({ length: 60 }, (_, n) => siblings(`j${n}`, [root], 1)));
    expect(bed.prefilling).toHaveLength(2);
    for (const expected of [4, 8, 16]) {
      await letGo(bed, bed.prefilling.length);
      await bed.seconds(3);
      expect(bed.prefilling).toHaveLength(expected);
      expect(bed.worker.metrics()).toMatchObject({ concurrency: expected, inFlight: expected });
    }
    signals = { ...CALM, preemptions: 5 };
    await bed.seconds(1);
    expect(bed.worker.metrics()).toMatchObject({ concurrency: 12, inFlight: 16 });
    await letGo(bed, 6);
    expect(bed.prefilling).toHaveLength(12);
    await letAllGo(bed);
    expect(bed.reports).toHaveLength(60);
  });

  it("tells the coordinator what changed at once, and what did not every few seconds", async () => {
    let signals = CALM;
    const bed = await open({ signals: () => signals });
    await bed.seconds(1);
    const calm = {
      isUp: true,
      concurrency: 8,
      running: 1,
      waiting: 0,
      kvUsage: 0.1,
      preemptions: 0,
      cacheLosses: 0,
    };
    expect(bed.signalled).toEqual([calm]);
    await bed.seconds(4);
    expect(bed.signalled).toHaveLength(1);
    await bed.seconds(1);
    expect(bed.signalled).toHaveLength(2);
    signals = { ...CALM, waiting: 3, kvUsage: 0.15 };
    await bed.seconds(1);
    expect(bed.signalled.at(-1)).toMatchObject({ waiting: 3, kvUsage: 0.15 });
    signals = { ...CALM, waiting: 4, kvUsage: 0.5 };
    await bed.seconds(1);
    expect(bed.signalled.at(-1)).toMatchObject({ waiting: 4, kvUsage: 0.5 });
    signals = { ...CALM, waiting: 5, kvUsage: 0.52 };
    await bed.seconds(1);
    expect(bed.signalled).toHaveLength(4);
  });

  it("leaves a fixed number as it is", async () => {
    const bed = await open({ concurrency: 2, holds: ["prefill"], signals: () => CALM });
    await bed.add(siblings("j", [bed.keep(PROBLEM)], 12));
    await bed.seconds(60);
    expect(bed.prefilling).toHaveLength(2);
    expect(bed.signalled.at(-1)?.concurrency).toBe(2);
    await letAllGo(bed);
  });

  it("goes on when its looks at the engine fail, and counts them", async () => {
    let isFailing = true;
    const signals = (): EngineSignals => {
      if (isFailing) throw new CoppiceError("unavailable", "no metrics here");
      return CALM;
    };
    const bed = await open({ signals });
    await bed.seconds(3);
    expect(bed.worker.metrics()).toMatchObject({ signalFailures: 3, enginePromptTokensComputed: null });
    expect(bed.signalled.at(-1)).toMatchObject({ concurrency: 8, running: null, kvUsage: null });
    isFailing = false;
    await bed.seconds(1);
    expect(bed.worker.metrics()).toMatchObject({
      signalFailures: 3,
      enginePromptTokensComputed: 700,
      enginePromptTokensCached: 300,
    });
  });

  it("has fewer asks at a host that refuses them", async () => {
    let isFull = true;
    const bed = await open({
      concurrency: 10,
      concurrencyMax: 20,
      onSample: () => {
        if (isFull) throw new CoppiceError("resource_exhausted", "429: no room");
      },
    });
    await bed.add(siblings("j", [bed.keep(PROBLEM)], 10));
    expect(bed.worker.metrics().concurrency).toBe(8);
    expect(bed.signalled.at(-1)?.concurrency).toBe(8);
    isFull = false;
    await bed.seconds(2);
    await bed.idle();
    expect(bed.reports).toHaveLength(10);
  });
});

describe("rollout worker: a host that loses its cache", () => {
  it("tells of a host that was down and came back, and leads its prefixes anew", async () => {
    let isDown = false;
    const down = (): void => {
      if (isDown) throw new CoppiceError("unavailable", "connection refused");
    };
    const bed = await open({ sharesColdPrefixes: false, holds: ["prefill"], onSample: down, onProbe: down });
    const root = bed.keep(PROBLEM);
    await bed.add(siblings("warm", [root], 1));
    await letAllGo(bed);
    await bed.add(siblings("j", [root], 3));
    expect(bed.prefilling).toHaveLength(3);
    isDown = true;
    for (const held of bed.prefilling.toReversed())
      held.letGo(new CoppiceError("unavailable", "socket hang up"));
    await settled();
    expect(bed.worker.metrics().hostUp).toBe(0);
    await bed.seconds(1);
    expect(bed.signalled.at(-1)?.isUp).toBe(false);
    isDown = false;
    await bed.seconds(2);
    expect(bed.worker.metrics()).toMatchObject({ hostUp: 1, cacheLosses: 1 });
    expect(bed.signalled.at(-1)).toMatchObject({ isUp: true, cacheLosses: 1 });
    expect(bed.prefilling).toHaveLength(1);
    await letAllGo(bed);
    expect(bed.reports.filter(({ result }) => result.kind === "rollout")).toHaveLength(4);
  });

  it("finds a host that hangs by its silence, though none of its requests has failed", async () => {
    let isHanging = false;
    let probes = 0;
    const hang = (): never => {
      throw new CoppiceError("deadline_exceeded", "no word");
    };
    const bed = await open({
      holds: ["prefill"],
      signals: () => (isHanging ? hang() : CALM),
      onProbe: () => {
        probes += 1;
        if (isHanging) hang();
      },
    });
    await bed.add(siblings("j", [bed.keep(PROBLEM)], 2));
    isHanging = true;
    await bed.seconds(1);
    expect(bed.worker.metrics()).toMatchObject({ hostUp: 1, inFlight: 2 });
    await bed.seconds(1);
    expect(bed.worker.metrics()).toMatchObject({ hostUp: 0, inFlight: 2 });
    await bed.seconds(1);
    expect(bed.signalled.at(-1)?.isUp).toBe(false);
    isHanging = false;
    await bed.seconds(3);
    expect(bed.worker.metrics().hostUp).toBe(1);
    expect(probes).toBeGreaterThanOrEqual(3);
    await letAllGo(bed);
    expect(bed.reports).toHaveLength(2);
  });

  it("probes a host that is up and tells nothing of itself less and less often", async () => {
    let probes = 0;
    const bed = await open({
      signals: () => {
        throw new CoppiceError("unavailable", "no metrics here");
      },
      onProbe: () => {
        probes += 1;
      },
    });
    await bed.seconds(30);
    // The first as it began, then after 2, 4, 8 and 16 looks.
    expect(probes).toBe(5);
    expect(bed.worker.metrics().hostUp).toBe(1);
  });

  it("tells of an engine that dropped its cache", async () => {
    let signals = { ...CALM, cacheClears: 2 };
    const bed = await open({ signals: () => signals });
    await bed.seconds(2);
    expect(bed.worker.metrics().cacheLosses).toBe(0);
    signals = { ...CALM, cacheClears: 3 };
    await bed.seconds(1);
    expect(bed.signalled.at(-1)?.cacheLosses).toBe(1);
  });

  it("tells of a host whose answers find nothing cached any more", async () => {
    let cachedTokens = 96;
    const bed = await open({ concurrency: 1, cachedTokens: () => cachedTokens });
    const root = bed.keep(PROBLEM);
    await bed.add(siblings("a", [root], 3));
    await bed.idle();
    cachedTokens = 0;
    await bed.add(siblings("b", [root], 2));
    await bed.idle();
    expect(bed.worker.metrics().cacheLosses).toBe(0);
    await bed.add(siblings("c", [root], 1));
    await bed.idle();
    expect(bed.worker.metrics().cacheLosses).toBe(1);
    expect(bed.signalled.at(-1)?.cacheLosses).toBe(1);
  });
});
