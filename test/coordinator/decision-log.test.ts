import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AppendFile } from "../../services/coordinator/append-file.ts";
import { DecisionLog, type DecisionLogLimits } from "../../services/coordinator/decision-log.ts";
import { PlacementNews } from "../../services/coordinator/placement-news.ts";
import type { Decision } from "../../services/coordinator/scheduler/decision.ts";
import type { SweepEvent } from "../../services/coordinator/status.ts";
import { silentLog } from "../../services/runtime/log.ts";
import { createVirtualClock, type VirtualClock } from "../support/virtual-clock.ts";

const PLACED: Decision = {
  kind: "placed",
  reason: "least-wait",
  host: "a",
  home: null,
  age: 0,
  promptTokens: 10,
  cachedTokens: 0,
  inFlight: 0,
  room: 8,
  pinnedTokens: 0,
  kvCapacityTokens: null,
  considered: [{ host: "a", waitMs: 1.4, prefillMs: 2.6, cachedTokens: 0, load: 0.125 }],
};
const SENT: Decision = { ...PLACED, kind: "sent", reason: "oldest-tree", home: "a", considered: [] };

interface Line {
  readonly kind: string;
  readonly task: string;
  readonly skipped: number;
}

let clock: VirtualClock;
let place: string;
let path: string;
let warned: unknown[];
beforeEach(async () => {
  clock = createVirtualClock();
  place = await mkdtemp(join(tmpdir(), "decisions-"));
  path = join(place, "decisions.jsonl");
  warned = [];
});
afterEach(() => rm(place, { recursive: true }));

const tree = (id: string) => ({ task: { id }, needs: { model: "m" } });
const log = { ...silentLog, warn: (_: object, event: string): void => void warned.push(event) };

function open(file: AppendFile, limits: Partial<DecisionLogLimits> = {}): DecisionLog {
  return new DecisionLog(file, { clock, log, attempt: 3, limits });
}

async function lines(): Promise<readonly Line[]> {
  const text = await readFile(path, "utf8");
  expect(text === "" || text.endsWith("\n")).toBe(true);
  // Lines of the program's own making.
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

describe("the decision log", () => {
  test("writes what was decided within its time, in whole milliseconds, with the attempt at the run", async () => {
    const file = await AppendFile.open(path);
    const decisions = open(file);
    decisions.decided(tree("t"), PLACED, []);
    expect(await lines()).toEqual([]);
    clock.advance(1_000);
    await decisions.flush();
    const considered = [{ host: "a", wait_ms: 1, prefill_ms: 3, cached_tokens: 0, load: 0.13 }];
    expect(await lines()).toMatchObject([
      { kind: "placed", task: "t", attempt: 3, model: "m", at_ms: 1_000_000, host: "a", considered },
    ]);
    await file.close();
  });

  test("writes the first groups of asks of a tree and then one a doubling, and says how many it left out", async () => {
    const file = await AppendFile.open(path);
    const decisions = open(file, { sentHead: 4 });
    const [busy, other] = [tree("busy"), tree("other")];
    for (let n = 0; n < 40; n += 1) decisions.decided(busy, SENT, []);
    decisions.decided(other, SENT, []);
    decisions.decided(busy, { ...PLACED, kind: "moved" }, []);
    await decisions.flush();
    const told = await lines();
    expect(told.map(({ task, skipped }) => [task, skipped])).toEqual([
      ...Array.from({ length: 4 }, () => ["busy", 0]),
      ["busy", 3],
      ["busy", 7],
      ["busy", 15],
      ["other", 0],
      ["busy", 8],
    ]);
    expect(told.filter(({ kind }) => kind === "sent").length + 3 + 7 + 15 + 8).toBe(41);
    await file.close();
  });

  test("does not grow past its limit, over all attempts, and says once an attempt that no more follow", async () => {
    const limits = { bytesMax: 2_000 };
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const file = await AppendFile.open(path);
      const decisions = open(file, limits);
      for (let n = 0; n < 5; n += 1) {
        decisions.decided(tree(`t${n}`), PLACED, []);
        await decisions.flush();
      }
      await file.close();
    }
    const told = await lines();
    expect(told.filter(({ kind }) => kind === "full").length).toBeLessThanOrEqual(3);
    expect(told.filter(({ kind }) => kind === "placed").length).toBeGreaterThan(3);
    expect(told.at(-1)).toMatchObject({ kind: "full", bytes_max: 2_000 });
    expect((await readFile(path)).length).toBeLessThan(2_300);
  });

  test("loses what a disk is too slow for, and what cannot be written, and says each once", async () => {
    const file = await AppendFile.open(path);
    const decisions = open(file, { waitingMax: 1_000 });
    for (let n = 0; n < 10; n += 1) decisions.decided(tree("t"), PLACED, []);
    await decisions.flush();
    expect((await lines()).length).toBe(2);
    expect(warned).toEqual(["decisions_lost"]);
    await file.close();
    for (let n = 0; n < 3; n += 1) {
      decisions.decided(tree("t"), PLACED, []);
      await decisions.flush();
    }
    expect(warned).toEqual(["decisions_lost", "decisions_not_written"]);
  });

  test("begins on a line of its own where a crash had cut the last one short", async () => {
    await appendFile(path, '{"kind":"pla');
    const file = await AppendFile.open(path, { endsLine: true });
    const decisions = open(file);
    decisions.decided(tree("t"), PLACED, []);
    await decisions.flush();
    await file.close();
    const again = await AppendFile.open(path, { endsLine: true });
    await again.close();
    const text = await readFile(path, "utf8");
    expect(text.split("\n").map((line) => line.slice(0, 12))).toEqual(['{"kind":"pla', '{"at_ms":100', ""]);
  });
});

test("watchers hear of a few placements a second, and how many they did not hear of", () => {
  const told: SweepEvent[] = [];
  const news = new PlacementNews({ clock, perSecondMax: 2, tell: (event) => told.push(event) });
  for (let n = 0; n < 5; n += 1) news.decided(`t${n}`, PLACED);
  news.decided("t0", SENT);
  clock.advance(1_000);
  news.decided("t5", { ...PLACED, kind: "moved", home: "a", host: "b", reason: "host-dry" });
  expect(told).toEqual([
    {
      kind: "placed",
      task: "t0",
      decision: "placed",
      host: "a",
      home: null,
      reason: "least-wait",
      skipped: 0,
    },
    {
      kind: "placed",
      task: "t1",
      decision: "placed",
      host: "a",
      home: null,
      reason: "least-wait",
      skipped: 0,
    },
    { kind: "placed", task: "t5", decision: "moved", host: "b", home: "a", reason: "host-dry", skipped: 3 },
  ]);
});
