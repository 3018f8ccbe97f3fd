/** Whole sweeps under budgets, on hosts that fail and lie: no ceiling is passed, and the rows add up to the summary. */
import { cp, mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Ceilings, UNLIMITED } from "../../services/coordinator/amount.ts";
import type { SweepRun } from "../../services/coordinator/coordinator-api.ts";
import type { Prices } from "../../services/coordinator/prices.ts";
import type { ChargedAmounts, Summary, SweepEvent, Usage } from "../../services/coordinator/status.ts";
import type { Arm, Budget, Sweep } from "../../services/coordinator/sweep.ts";
import { amountsIn } from "../../services/coordinator/unit-keys.ts";
import { addUsage, NO_USAGE, USAGE_KEYS } from "../../services/coordinator/usage.ts";
import { UNKNOWN_TOKENS, type AttemptUsage } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { Driver } from "../../workers/rollout/driver.ts";
import { NO_BUDGET } from "../support/budget.ts";
import { arm, newSweep, puzzles, RAW, startInProcess, type InProcess } from "../support/in-process.ts";
import { createSeededDriver, type SeededDriverOptions } from "../support/seeded-driver.ts";

const PRICES: Prices = {
  prompt: 1_500_000,
  cached: 100_000,
  completion: 6_000_000,
  verifier: 500_000,
  gpuHour: 0,
};
const STEPS = { max_steps: 3, step_stop: ["\n"] };
const ARMS = [
  arm("best-of-n", { n: 8 }),
  arm("beam-search", { width: 6, expand: 3, ...STEPS }),
  arm("first-correct", { n: 12, parallel: 4 }),
];
const UNITS = ["rollouts", "completion_tokens", "total_tokens", "verifier_tokens", "usd"] as const;

let parts: InProcess;
beforeEach(async () => {
  parts = await startInProcess({ run: { statusMs: 10, metricsMs: 20 } });
});
afterEach(() => parts.close());

/** A host that breaks, does not count, or claims far too much, each now and then. */
function unreliable(seed: number, options: SeededDriverOptions = {}): Driver {
  const random = createRandom(seed);
  const driver = createSeededDriver({ concurrency: 6, ...options });
  const lie: AttemptUsage = { promptTokens: 1e6, cachedTokens: 0, completionTokens: 1e6 };
  const disturb = async <T extends { readonly usage: AttemptUsage }>(work: () => Promise<T>): Promise<T> => {
    const chance = random.next();
    if (chance < 0.04) throw new CoppiceError("internal", "it broke");
    const answer = await work();
    if (chance < 0.08) return { ...answer, usage: UNKNOWN_TOKENS };
    return chance < 0.12 ? { ...answer, usage: lie } : answer;
  };
  return {
    ...driver,
    sample: (request, signal) => disturb(() => driver.sample(request, signal)),
    score: (request, signal) => disturb(() => driver.score(request, signal)),
  };
}

interface Row {
  readonly task: string;
  readonly strategy: string;
  readonly usage: Usage;
  readonly charged: ChargedAmounts;
}

async function rowsIn(output: string, file: string): Promise<readonly Row[]> {
  const lines = (await readFile(join(output, file), "utf8")).split("\n").filter((line) => line !== "");
  return lines.map((line): Row => JSON.parse(line));
}

/** In millionths, so that dollars add up exactly. */
function total(rows: readonly Row[], unit: (typeof UNITS)[number]): number {
  return rows.reduce((sum, { charged }) => sum + Math.round(charged[unit] * 1e6), 0) / 1e6;
}

/** No ceiling is passed, and every sum is the sum of its rows. */
async function checkAccounts(sweep: Sweep, summary: Summary): Promise<void> {
  const results = await rowsIn(sweep.output, "results.jsonl");
  const rollouts = await rowsIn(sweep.output, "rollouts.jsonl");
  const ceilings = amountsIn(sweep.budget);
  for (const unit of UNITS) {
    expect(summary.budget.spent[unit]).toBe(total(results, unit));
    expect(total(results, unit)).toBeLessThanOrEqual(ceilings[unit] ?? Infinity);
  }
  for (const { id, budget } of sweep.arms) {
    const own = results.filter(({ strategy }) => strategy === id);
    const given = amountsIn(budget);
    for (const unit of UNITS) {
      expect(summary.strategies[id]?.budget.spent[unit]).toBe(total(own, unit));
      expect(total(own, unit)).toBeLessThanOrEqual(given[unit] ?? Infinity);
    }
    checkUsage(summary.strategies[id]?.usage, own);
    for (const each of [sweep.budget.perTask, budget.perTask])
      for (const row of own)
        for (const unit of UNITS)
          expect(row.charged[unit]).toBeLessThanOrEqual(amountsIn(each)[unit] ?? Infinity);
  }
  checkUsage(summary.usage, results);
  for (const { task, usage } of results) {
    const own = rollouts.filter((row) => row.task === task);
    for (const key of ["prompt_tokens", "cached_tokens", "completion_tokens"] as const)
      expect(usage[key]).toBe(own.reduce((sum, row) => addUsage(sum, row.usage), NO_USAGE)[key]);
  }
}

function checkUsage(found: Usage | undefined, rows: readonly Row[]): void {
  const sum = rows.reduce((all, { usage }) => addUsage(all, usage), NO_USAGE);
  for (const key of USAGE_KEYS) {
    const [expected, value] = [sum[key], found?.[key]];
    if (expected === null || value === null || value === undefined) expect(value).toBe(expected);
    else expect(value / Math.max(1, expected)).toBeCloseTo(expected / Math.max(1, expected), 9);
  }
}

/** Resolves with the first event that passes. */
function eventOf(of: SweepRun, passes: (event: SweepEvent) => boolean): Promise<SweepEvent> {
  return new Promise((resolve) => {
    let stop: (() => void) | null = null;
    const listener = (event: SweepEvent): void => {
      if (!passes(event)) return;
      resolve(event);
      setImmediate(() => stop?.());
    };
    stop = of.watch(listener);
  });
}

function armed(each: Arm, given: Partial<Ceilings>, perTask: Partial<Ceilings> = {}): Arm {
  return { ...each, budget: { ...UNLIMITED, ...given, perTask: { ...UNLIMITED, ...perTask } } };
}

const BUDGETS: readonly (readonly [string, Partial<Budget>, readonly Arm[]])[] = [
  ["rollouts", { rollouts: 150 }, ARMS],
  ["prompt and completion tokens", { totalTokens: 9_000 }, ARMS],
  ["verifier tokens", { verifierTokens: 600 }, ARMS],
  ["dollars", { usdMicros: 40_000 }, ARMS],
  [
    "all that a task may use",
    { perTask: { ...UNLIMITED, rollouts: 5, completionTokens: 400, usdMicros: 6_000 } },
    ARMS,
  ],
  [
    "each arm's own, and the sweep's",
    { completionTokens: 9_000, usdMicros: 120_000 },
    ARMS.map((each, n) => armed(each, { rollouts: 40 + n, totalTokens: 4_000 }, { verifierTokens: 1_500 })),
  ],
];

describe("a budget", () => {
  test.each(BUDGETS)("of %s is never passed on hosts that fail and lie (I3)", async (_, budget, arms) => {
    for (const id of ["a", "b"]) await parts.addHost(id, unreliable(id === "a" ? 1 : 2));
    const sweep = await newSweep({ arms, prices: PRICES, budget: { ...NO_BUDGET, ...budget } });
    const run = await parts.coordinator.submit(sweep, puzzles(10), RAW);
    run.watch((event) => {
      if (event.kind !== "status") return;
      const { given, spent } = event.status.budget;
      for (const unit of UNITS) expect(spent[unit] ?? 0).toBeLessThanOrEqual(given[unit] ?? Infinity);
    });
    const summary = await run.ended;
    await checkAccounts(sweep, summary);
    expect(summary.tasks.exhausted).toBeGreaterThan(0);
  });

  test("is used up to less than one ask at its worst, by asks in flight that become fewer near the end", async () => {
    const worst = 200;
    await parts.addHost("a", createSeededDriver({ concurrency: 64 }));
    const many = arm("best-of-n", { n: 16 });
    const sampling = { ...many.sampling, maxTokens: worst };
    const sweep = await newSweep({
      arms: [{ ...many, sampling }],
      budget: { ...NO_BUDGET, completionTokens: 20_000 },
    });
    const run = await parts.coordinator.submit(sweep, puzzles(100), RAW);
    const { tasks, budget } = await run.ended;
    expect(tasks.exhausted).toBeGreaterThan(0);
    // 64 in flight may need 12,800: far more than 1% would stay if they did not go one by one in the end.
    expect(budget.spent.completion_tokens).toBeGreaterThan(20_000 - worst);
    expect(budget.spent.completion_tokens).toBeLessThanOrEqual(20_000);
  });

  test("of one task ends that task alone, and says whose ceiling it was", async () => {
    await parts.addHost("a", createSeededDriver());
    const limited = armed(arm("best-of-n", { n: 8 }), {}, { rollouts: 3 });
    const sweep = await newSweep({ arms: [limited, arm("mcts", { simulations: 6, ...STEPS })] });
    const summary = await (await parts.coordinator.submit(sweep, puzzles(4), RAW)).ended;
    expect(summary.strategies["best-of-n"]?.tasks).toMatchObject({ exhausted: 4 });
    expect(summary.strategies["best-of-n"]?.rollouts).toBe(12);
    expect(summary.strategies["mcts"]?.tasks).toMatchObject({ completed: 4 });
    const journal = await readFile(join(sweep.output, "journal", "000001.jsonl"), "utf8");
    expect(journal).toContain(
      "the task's budget has no room for another ask: 3 of 3 rollouts are spent, and it may need 1",
    );
    await checkAccounts(sweep, summary);
  });

  test("of GPU time ends a sweep whose hosts never answer, and counts all GPUs that are there", async () => {
    const never = (): Driver =>
      createSeededDriver({
        onSample: (_, signal) =>
          new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
      });
    await parts.addHost("a", never(), { gpus: 2 });
    await parts.addHost("b", never(), { gpus: 6 });
    const prices = { ...PRICES, gpuHour: 3_600_000_000 };
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 4 })],
      prices,
      budget: { ...NO_BUDGET, gpuMs: 800 },
    });
    const summary = await (await parts.coordinator.submit(sweep, puzzles(5), RAW)).ended;
    expect(summary.tasks).toMatchObject({ total: 5, exhausted: 5 });
    const { gpu_seconds: seconds, wall_ms: wallMs, usd } = summary.budget.spent;
    expect(seconds).toBeGreaterThanOrEqual(0.799);
    expect(seconds).toBeLessThanOrEqual(((wallMs ?? 0) + 1) * 0.008);
    // A dollar for a GPU-second, and what the withdrawn asks were charged.
    expect(usd).toBeGreaterThanOrEqual(seconds ?? 0);
    // Both hosts had asks nearly all the time, and none when the sweep was over.
    expect(summary.usage.gpu_seconds).toBeGreaterThan(0.4);
    expect(summary.usage.gpu_seconds).toBeLessThanOrEqual((seconds ?? 0) + 0.01);
  });
});

describe("the accounts", () => {
  test("add up to the rows after a run that was interrupted again and again on hosts that fail", async () => {
    await parts.addHost("a", unreliable(3), { gpus: 2 });
    const sweep = await newSweep({
      arms: ARMS,
      prices: PRICES,
      modelParameters: 7e9,
      budget: { ...NO_BUDGET, totalTokens: 40_000 },
    });
    let run = await parts.coordinator.submit(sweep, puzzles(10), RAW);
    for (let round = 0; round < 3; round += 1) {
      await eventOf(run, (event) => event.kind === "task" || event.kind === "ended");
      await run.interrupt();
      run = await parts.coordinator.reopen(sweep);
    }
    const summary = await run.ended;
    await checkAccounts(sweep, summary);
    expect(summary.usage.retried_tokens).toBeNull();
  });

  test("add up to the rows wherever the run was killed, and no ceiling is passed (I2, I3)", async () => {
    await parts.addHost("a", unreliable(4, { concurrency: 4 }));
    const sweep = await newSweep({
      arms: ARMS,
      prices: PRICES,
      budget: { ...NO_BUDGET, usdMicros: 90_000, perTask: { ...UNLIMITED, completionTokens: 600 } },
    });
    const run = await parts.coordinator.submit(sweep, puzzles(8), RAW);
    const copies: string[] = [];
    while (copies.length < 4) {
      const seen = copies.length * 4;
      await eventOf(run, (event) => event.kind === "ended" || run.status().rollouts > seen * 5);
      const copy = join(await mkdtemp(join(tmpdir(), "copy-")), "run");
      // The journal first: rows may run ahead of it, as in a crash, never behind.
      await cp(join(sweep.output, "journal"), join(copy, "journal"), { recursive: true });
      await cp(sweep.output, copy, {
        recursive: true,
        filter: (path) => !/journal|lock|partial/.test(path.slice(sweep.output.length)),
      });
      copies.push(copy);
    }
    await checkAccounts(sweep, await run.ended);
    for (const [n, copy] of copies.entries()) {
      const again = await startInProcess();
      await again.addHost("b", unreliable(5 + n, { concurrency: 3 }));
      const of = { ...sweep, output: copy };
      const summary = await (await again.coordinator.reopen(of)).ended;
      await again.close();
      await checkAccounts(of, summary);
    }
  });

  test("charge what was in flight at its worst when a sweep is cancelled, and its tokens are unknown", async () => {
    const held = Promise.withResolvers<void>();
    await parts.addHost("a", createSeededDriver({ concurrency: 3, onSample: () => held.promise }));
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 3 })] });
    const run = await parts.coordinator.submit(sweep, puzzles(1), RAW);
    await eventOf(run, (event) => event.kind === "status" && event.status.in_flight === 3);
    await run.cancel("a test");
    held.resolve();
    const summary = await run.ended;
    await checkAccounts(sweep, summary);
    expect(summary.tasks.cancelled).toBe(1);
    expect(summary.budget.spent.completion_tokens).toBe(3 * 48);
    expect(summary.usage.cancelled_tokens).toBeNull();
  });

  test("of a host that goes away under its asks say that what it had generated is unknown", async () => {
    const stuck = Promise.withResolvers<void>();
    const leaving = await parts.addHost("a", createSeededDriver({ onSample: () => stuck.promise }));
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 4 })] });
    const run = await parts.coordinator.submit(sweep, puzzles(2), RAW);
    await eventOf(run, (event) => event.kind === "status" && event.status.in_flight > 0);
    await parts.addHost("b", createSeededDriver());
    await leaving.drain(0);
    stuck.resolve();
    const summary = await run.ended;
    await checkAccounts(sweep, summary);
    expect(summary.tasks.completed).toBe(2);
    expect(summary.usage.retried_tokens).toBeNull();
  });
});
