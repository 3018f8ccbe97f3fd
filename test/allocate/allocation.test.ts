import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SweepRun } from "../../services/coordinator/coordinator-api.ts";
import type { Problem, Sweep } from "../../services/coordinator/sweep.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { findAllocator } from "../../services/coordinator/allocate/catalogue.ts";
import {
  arm,
  type InProcess,
  newSweep,
  NO_BUDGET,
  puzzles,
  RAW,
  rowsOf,
  startInProcess,
} from "../support/in-process.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";

const LIMITS = { run: { cohortTasksMax: 8, statusMs: 5 } };
/** One host. */
let parts: InProcess;
beforeAll(async () => {
  parts = await startInProcess(LIMITS);
  await parts.addHost("a", createSeededDriver());
});
afterAll(() => parts.close());

function allocate(kind: string, parameters: Readonly<Record<string, unknown>> = {}): Sweep["allocate"] {
  const declared = findAllocator(kind)?.parameters ?? {};
  return { kind, parameters: withDefaults(declared, parameters as never) };
}

interface Row {
  readonly state: string;
  readonly verdict: string | null;
  readonly rollouts: number;
  readonly error: string | null;
}

async function rows(sweep: Sweep): Promise<readonly Row[]> {
  const { results } = await rowsOf(sweep.output);
  return results.map((line) => JSON.parse(line) as Row);
}

/** The one sum of two numbers in a third of all answers; of every fourth problem no answer is correct. */
const SUMS: readonly Problem[] = Array.from({ length: 16 }, (_, n) => ({
  id: `s${n}`,
  prompt: `${20 + n} ${10 + n}`,
  reference: n % 4 === 3 ? "-1" : String(30 + 2 * n),
  tests: null,
  metadata: {},
}));

async function runSums(sweep: Sweep): Promise<Awaited<SweepRun["ended"]>> {
  const started = await parts.coordinator.submit({ ...sweep, verifier: { kind: "numeric" } }, SUMS, RAW);
  return started.ended;
}

async function run(sweep: Sweep, problems: number): Promise<Awaited<SweepRun["ended"]>> {
  const started = await parts.coordinator.submit(sweep, puzzles(problems), RAW);
  return started.ended;
}

/** Resolves at the next task that settles, or at the end. */
function somethingSettled(of: SweepRun): Promise<void> {
  return new Promise((resolve) => {
    const stop = of.watch((event) => {
      if (event.kind !== "task" && event.kind !== "ended") return;
      setImmediate(() => stop());
      resolve();
    });
  });
}

describe("under a budget", () => {
  test("uniform gives every task its share, to the last rollout, in one cohort after the other", async () => {
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 8 })],
      budget: { ...NO_BUDGET, rollouts: 101 },
    });
    const started = await parts.coordinator.submit(sweep, puzzles(20), RAW);
    let open = 0;
    started.watch(() => (open = Math.max(open, started.status().tasks.running)));
    const summary = await started.ended;
    expect(summary.budget.spent.rollouts).toBe(101);
    expect(open).toBeLessThanOrEqual(8);
    const counts = (await rows(sweep)).map(({ rollouts }) => rollouts);
    expect(Math.min(...counts)).toBe(5);
    expect(Math.max(...counts)).toBe(6);
  });

  test("what is never reached does not bind: no task waits for another", async () => {
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 8 })],
      budget: { ...NO_BUDGET, rollouts: 160 },
    });
    expect((await run(sweep, 20)).tasks.completed).toBe(20);
    expect(await readFile(join(sweep.output, "journal", "000001.jsonl"), "utf8")).not.toContain("cohort");
  });

  test("stop-on-verified ends solved tasks as completed, and spends the rest on the others", async () => {
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 64 })],
      budget: { ...NO_BUDGET, rollouts: 202 },
      allocate: allocate("stop-on-verified", { round: 4 }),
      deterministic: true,
    });
    await runSums(sweep);
    const all = await rows(sweep);
    expect(all.filter(({ verdict }) => verdict === "correct").length).toBeGreaterThan(8);
    for (const { state, verdict, rollouts } of all) {
      expect(state).toBe(verdict === "correct" || rollouts === 64 ? "completed" : "exhausted");
      // A solved task had the round in which it was solved, and no more.
      if (verdict === "correct") expect(rollouts % 4).toBe(0);
    }
    expect(all.reduce((sum, { rollouts }) => sum + rollouts, 0)).toBe(202);
  });

  test("a solved task's asks in flight are withdrawn, and what they held goes to others", async () => {
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 64 })],
      allocate: allocate("stop-on-verified", { round: 64 }),
    });
    expect((await runSums(sweep)).tasks.completed).toBe(16);
    const all = await rows(sweep);
    for (const { verdict, rollouts } of all) if (verdict !== "correct") expect(rollouts).toBe(64);
    expect(Math.min(...all.map(({ rollouts }) => rollouts))).toBeLessThan(64);
  });

  test.each(["agreement", "marginal", "halving", "compute-optimal"])(
    "%s uses it up and passes it by nothing",
    async (kind) => {
      const arms = [arm("self-consistency", { n: 24 }), arm("best-of-n", { n: 24 })];
      const sweep = await newSweep({
        arms,
        budget: { ...NO_BUDGET, rollouts: 150 },
        allocate: allocate(kind),
        deterministic: true,
      });
      const summary = await run(sweep, 10);
      expect(summary.budget.spent.rollouts).toBe(150);
      expect(summary.tasks.completed + summary.tasks.exhausted).toBe(20);
    },
  );

  test("compute-optimal gives every task of its fold what a further problem gets, and passes the other arms over", async () => {
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 64 }), arm("self-consistency", { n: 64 })],
      budget: { ...NO_BUDGET, rollouts: 320 },
      allocate: allocate("compute-optimal", { fold: 0.25, bins: 1, probe: 2 }),
      deterministic: true,
    });
    const summary = await runSums(sweep);
    const all = await rows(sweep);
    // 16 problems: 4 under both arms and 12 under one are 20 shares of 16.
    for (const { rollouts } of all.slice(0, 8)) expect(rollouts).toBe(16);
    const passed = all.slice(8).filter(({ error }) => error?.startsWith("passed over") === true);
    expect(passed.length).toBe(12);
    for (const { rollouts } of passed) expect([0, 2]).toContain(rollouts);
    expect(summary.budget.spent.rollouts).toBe(320);
    const arms = Object.values(summary.strategies);
    expect(arms.map((each) => each.problems).toSorted((a, b) => a - b)).toEqual([4, 16]);
    expect(arms.reduce((sum, each) => sum + (each.passed_over ?? 0), 0)).toBe(12);
  });

  test("compute-optimal has its fold first where no ceiling binds, too", async () => {
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 8 }), arm("self-consistency", { n: 8 })],
      allocate: allocate("compute-optimal", { difficulty: "verdicts", probe: 4 }),
    });
    await runSums(sweep);
    const all = await rows(sweep);
    const counts = all.map(({ rollouts }) => rollouts).toSorted((a, b) => a - b);
    // A fifth of 16 problems is 3: six tasks and thirteen chosen ones in full, thirteen passed over with 0 or their probe.
    expect(counts.slice(13)).toEqual(Array.from({ length: 19 }, () => 8));
    expect(Math.max(...counts.slice(0, 13))).toBeLessThanOrEqual(4);
  });

  test("of tokens is used up but for less than one rollout, and not passed", async () => {
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 16 })],
      budget: { ...NO_BUDGET, completionTokens: 1_500 },
      allocate: allocate("stop-on-verified"),
    });
    const summary = await run(sweep, 10);
    const spent = summary.budget.spent.completion_tokens ?? 0;
    expect(spent).toBeLessThanOrEqual(1_500);
    expect(spent).toBeGreaterThan(1_500 - 48);
  });

  test("trees that ask step by step rest and go on like any other task", async () => {
    const steps = { max_steps: 3, step_stop: ["\n"] };
    const arms = [
      arm("mcts", { simulations: 24, parallel: 4, ...steps }),
      arm("beam-search", { width: 8, expand: 4, ...steps }),
    ];
    const sweep = await newSweep({ arms, budget: { ...NO_BUDGET, rollouts: 200 } });
    const summary = await run(sweep, 8);
    expect(summary.budget.spent.rollouts).toBe(200);
    expect(summary.tasks.failed).toBe(0);
    expect((await rows(sweep)).length).toBe(16);
  });
});

describe("a run that is disturbed", () => {
  let cluster: InProcess;
  beforeAll(async () => {
    cluster = await startInProcess(LIMITS);
    for (const id of ["b", "c", "d"]) await cluster.addHost(id, createSeededDriver({ concurrency: 3 }));
  });
  afterAll(() => cluster.close());

  test.each(["uniform", "stop-on-verified", "marginal", "compute-optimal"])(
    "under %s grants what an undisturbed one does, on any cluster (I4)",
    async (kind) => {
      const sweep = await newSweep({
        arms: [arm("best-of-n", { n: 32 }), arm("self-consistency", { n: 16 })],
        budget: { ...NO_BUDGET, rollouts: 330 },
        allocate: allocate(kind),
        deterministic: true,
      });
      const { output } = await newSweep({ arms: sweep.arms });
      const undisturbed = await run({ ...sweep, output }, 12);
      let current = await cluster.coordinator.submit(sweep, puzzles(12), RAW);
      for (let round = 0; round < 5; round += 1) {
        await somethingSettled(current);
        await current.interrupt();
        await current.ended;
        current = await cluster.coordinator.reopen(sweep);
      }
      const { rollouts } = (await current.ended).budget.spent;
      expect(rollouts).toBe(undisturbed.budget.spent.rollouts);
      // Arms that were not chosen want nothing more.
      if (kind !== "compute-optimal") expect(rollouts).toBe(330);
      expect(await rowsOf(sweep.output)).toEqual(await rowsOf(output));
    },
  );
});
