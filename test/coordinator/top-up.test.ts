/** A run that is done goes on with more budget or more samples: nothing is generated twice, and no row is lost or doubled. */
import { cp, mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Journal } from "../../services/coordinator/journal.ts";
import type { JournalEntry } from "../../services/coordinator/journal-entry.ts";
import { headerOf, Past } from "../../services/coordinator/past.ts";
import { Reopenings } from "../../services/coordinator/reopenings.ts";
import { revisionOf } from "../../services/coordinator/revision.ts";
import { hashRunProblems } from "../../services/coordinator/run-directory.ts";
import { dropStaleRows } from "../../services/coordinator/stale-rows.ts";
import type { Summary } from "../../services/coordinator/status.ts";
import type { Arm, Sweep } from "../../services/coordinator/sweep.ts";
import { systemDisk } from "../../services/runtime/disk.ts";
import { orAbort } from "../../workers/abortable.ts";
import { NO_BUDGET } from "../support/budget.ts";
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

const PROBLEMS = 8;
const STEPS = { max_steps: 3, step_stop: ["\n"] };

let parts: InProcess;
/** Rollouts that the host made. */
let sampled = 0;
beforeEach(async () => {
  sampled = 0;
  parts = await startInProcess({ run: { cohortTasksMax: 6, statusMs: 5 } });
  await parts.addHost("a", createSeededDriver({ onSample: () => void (sampled += 1) }));
});
afterEach(() => parts.close());

async function begin(sweep: Sweep): Promise<Summary> {
  return (await parts.coordinator.submit(sweep, puzzles(PROBLEMS), RAW)).ended;
}

async function goOn(sweep: Sweep): Promise<Summary> {
  return (await parts.coordinator.reopen(sweep)).ended;
}

function budgetOf(rollouts: number): Sweep["budget"] {
  return { ...NO_BUDGET, rollouts };
}

/** The sweep with another value of a parameter of its only arm. */
function grown(sweep: Sweep, parameters: Readonly<Record<string, unknown>>): Sweep {
  const arms = sweep.arms.map((each): Arm => ({
    ...each,
    parameters: { ...each.parameters, ...parameters },
  }));
  return { ...sweep, arms };
}

/** Task, ask and text of every rollout, in order. */
async function texts(output: string): Promise<readonly string[]> {
  const lines = (await readFile(join(output, "rollouts.jsonl"), "utf8")).trim().split("\n");
  return lines.map((line) => {
    const { task, ask, text } = JSON.parse(line) as Record<string, string>; // A row that we wrote.
    return `${task} ${ask} ${text}`;
  });
}

describe("a sweep that its budget ended", () => {
  test("has the best answer of every task, and goes on under a larger one to what a run without one gives", async () => {
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 16 })], budget: budgetOf(50) });
    expect((await begin(sweep)).tasks).toMatchObject({ completed: 0, exhausted: PROBLEMS });
    const early = await texts(sweep.output);
    expect(early.length).toBe(50);

    const second = await goOn({ ...sweep, budget: budgetOf(90) });
    expect(second.budget.spent.rollouts).toBe(90);
    expect(second.tasks).toMatchObject({ total: PROBLEMS, exhausted: PROBLEMS });
    const later = await texts(sweep.output);
    expect(new Set(later).size).toBe(90);
    expect(new Set(later).isSupersetOf(new Set(early))).toBe(true);

    const summary = await goOn({ ...sweep, budget: budgetOf(1_000) });
    expect(summary.tasks).toMatchObject({ completed: PROBLEMS, exhausted: 0 });
    expect(sampled).toBe(16 * PROBLEMS);
    const whole = await newSweep({ arms: sweep.arms });
    expect((await begin(whole)).strategies).toMatchObject({
      "best-of-n": { solved: summary.strategies["best-of-n"]?.solved, rollouts: 16 * PROBLEMS },
    });
    expect(await rowsOf(sweep.output)).toEqual(await rowsOf(whole.output));
  });

  test.each([
    ["mcts", { simulations: 24, parallel: 4, ...STEPS }],
    ["beam-search", { width: 8, expand: 4, ...STEPS }],
    ["first-correct", { n: 40, parallel: 4 }],
    ["self-consistency", { n: 20 }],
  ] as const)("under %s keeps what it has and spends the rest once", async (strategy, parameters) => {
    const sweep = await newSweep({ arms: [arm(strategy, parameters)], budget: budgetOf(60) });
    await begin(sweep);
    const early = await texts(sweep.output);
    const summary = await goOn({ ...sweep, budget: budgetOf(120) });
    expect(summary.budget.spent.rollouts).toBeLessThanOrEqual(120);
    if (summary.tasks.exhausted > 0) expect(summary.budget.spent.rollouts).toBe(120);
    expect(sampled).toBe(summary.budget.spent.rollouts);
    expect(new Set(await texts(sweep.output)).isSupersetOf(new Set(early))).toBe(true);
    expect(summary.tasks.total).toBe(summary.tasks.completed + summary.tasks.exhausted);
  });

  test("is not taken up again by a resumption that raises nothing", async () => {
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 16 })], budget: budgetOf(50) });
    const ended = await begin(sweep);
    const before = await readFile(join(sweep.output, "results.jsonl"), "utf8");
    expect((await goOn(sweep)).tasks).toEqual(ended.tasks);
    expect(await readFile(join(sweep.output, "results.jsonl"), "utf8")).toBe(before);
  });

  test("refuses a ceiling below what is spent, and is unharmed", async () => {
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 16 })], budget: budgetOf(50) });
    await begin(sweep);
    await expect(goOn({ ...sweep, budget: budgetOf(49) })).rejects.toThrow(
      "budget.rollouts: expected at least the 50 that are spent, found 49",
    );
    expect((await goOn({ ...sweep, budget: budgetOf(51) })).budget.spent.rollouts).toBe(51);
  });

  test("of time goes on with more of it", async () => {
    const held = Promise.withResolvers<void>();
    await parts.close();
    parts = await startInProcess({ run: { statusMs: 5, metricsMs: 5 } });
    let answers = 0;
    const driver = createSeededDriver({
      onSample: (_, signal) => ((answers += 1) > 20 ? orAbort(held.promise, signal) : undefined),
    });
    await parts.addHost("a", driver);
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 8 })],
      budget: { ...NO_BUDGET, wallMs: 300 },
    });
    expect((await begin(sweep)).tasks.exhausted).toBeGreaterThan(0);
    held.resolve();
    const summary = await goOn({ ...sweep, budget: { ...NO_BUDGET, wallMs: 3_600_000 } });
    expect(summary.tasks).toMatchObject({ completed: PROBLEMS, exhausted: 0 });
    const whole = await newSweep({ arms: sweep.arms });
    await begin(whole);
    expect(await rowsOf(sweep.output)).toEqual(await rowsOf(whole.output));
  });
});

describe("a sweep that is done", () => {
  test.each([
    ["best-of-n", {}],
    ["self-consistency", {}],
    ["first-correct", { parallel: 2 }],
    ["adaptive-consistency", { parallel: 1 }],
  ] as const)("takes more samples under %s as if it had been given them", async (strategy, parameters) => {
    const sweep = await newSweep({ arms: [arm(strategy, { ...parameters, n: 6 })], deterministic: true });
    await begin(sweep);
    const more = grown(sweep, { n: 15 });
    const before = sampled;
    await goOn(more);
    const whole = await newSweep({ arms: more.arms, deterministic: true });
    const together = sampled;
    await begin(whole);
    expect(await rowsOf(sweep.output)).toEqual(await rowsOf(whole.output));
    expect(together).toBe(sampled - together);
    expect(together).toBeGreaterThan(before);
  });

  test("refuses fewer samples, and what would be another search", async () => {
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 6 })] });
    await begin(sweep);
    await expect(goOn(grown(sweep, { n: 5 }))).rejects.toThrow('the journal says {"n":6,"by":"verifier"}');
    await expect(goOn(grown(sweep, { n: 9, by: "mean-logprob" }))).rejects.toThrow(
      "cannot go on with this run",
    );
    expect((await goOn(sweep)).rollouts).toBe(6 * PROBLEMS);
  });

  test("does not wake tasks that their allocator found to have enough", async () => {
    const allocate = { kind: "stop-on-verified", parameters: { round: 4 } };
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 8 })], allocate, deterministic: true });
    const ended = await begin(sweep);
    const unsolved = ended.tasks.total - (ended.strategies["best-of-n"]?.solved ?? 0);
    const before = sampled;
    const summary = await goOn(grown(sweep, { n: 12 }));
    expect(summary.rollouts - ended.rollouts).toBeLessThanOrEqual(unsolved * 4);
    expect(sampled - before).toBe(summary.rollouts - ended.rollouts);
  });
});

describe("wherever it is killed", () => {
  test("while a task was opened again, it ends with the same rows", async () => {
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 12 }), arm("self-consistency", { n: 12 })],
      budget: budgetOf(70),
      deterministic: true,
    });
    await begin(sweep);
    const more = { ...sweep, budget: budgetOf(150) };
    const copies: string[] = [];
    const run = await parts.coordinator.reopen(more);
    let left: Promise<void> = Promise.resolve();
    run.watch((event) => {
      if (event.kind === "task") left = left.then(async () => void copies.push(await copyOf(sweep.output)));
    });
    await run.ended;
    await left;
    expect(copies.length).toBeGreaterThan(3);
    for (const copy of copies.slice(0, 6)) {
      await goOn({ ...more, output: copy });
      expect(await rowsOf(copy)).toEqual(await rowsOf(sweep.output));
    }
  });

  test.each(["before the rows are cut", "before the journal says that they are"])(
    "%s, they are cut once",
    async (when) => {
      const sweep = await newSweep({
        arms: [arm("best-of-n", { n: 12 })],
        budget: budgetOf(40),
        deterministic: true,
      });
      await begin(sweep);
      const more = { ...sweep, budget: budgetOf(80) };
      const killed = await copyOf(sweep.output);
      await goOn(more);
      await diesInTopUp({ ...more, output: killed }, { isCut: when !== "before the rows are cut" });
      const summary = await goOn({ ...more, output: killed });
      expect(summary.budget.spent.rollouts).toBe(80);
      expect(await rowsOf(killed)).toEqual(await rowsOf(sweep.output));
    },
  );
});

/** The journal first: rows may run ahead of it, as in a crash, never behind. */
async function copyOf(output: string): Promise<string> {
  const copy = join(await mkdtemp(join(tmpdir(), "top-up-")), "run");
  await cp(join(output, "journal"), join(copy, "journal"), { recursive: true });
  await cp(output, copy, {
    recursive: true,
    filter: (path) => !/journal|lock|partial/.test(path.slice(output.length)),
  });
  return copy;
}

/** What `openHistory` does of a revision, up to a point. */
async function diesInTopUp(sweep: Sweep, { isCut }: { readonly isCut: boolean }): Promise<void> {
  const reopenings = new Reopenings(sweep.arms.map(({ id }) => id));
  const visit = (entry: JournalEntry): void => reopenings.visit(entry);
  const { journal, header } = await Journal.reopen(join(sweep.output, "journal"), visit, { generation: 7 });
  const revision = revisionOf(sweep, headerOf(sweep, await hashRunProblems(sweep.output)), header);
  if (revision === null) throw new Error("expected a revision");
  await journal.append(revision);
  reopenings.visit(revision);
  const past = new Past(sweep, reopenings);
  await journal.reread((entry) => past.visit(entry));
  const { reopened: tasks, rolloutsEnd, resultsEnd } = past;
  const rows = { tasks, rolloutsEnd, resultsEnd, disk: systemDisk, confirm: () => journal.confirm() };
  if (isCut) await dropStaleRows(sweep.output, rows);
  await journal.close();
}

test("metrics.jsonl has the curve of accuracy against cost, from the first rollouts on, and ends at the summary's", async () => {
  await parts.close();
  parts = await startInProcess({ run: { metricsMs: 1 } });
  await parts.addHost("a", createSeededDriver({ concurrency: 2, onSample: () => new Promise(setImmediate) }));
  const sweep = await newSweep({ arms: [arm("best-of-n", { n: 64 })], budget: budgetOf(300) });
  const summary = await begin(sweep);
  const lines = (await readFile(join(sweep.output, "metrics.jsonl"), "utf8")).trim().split("\n");
  const points = lines.map((line) => JSON.parse(line) as MetricsLine); // A line that we wrote.
  const best = summary.strategies["best-of-n"];
  expect(best?.solved).toBeGreaterThan(0);
  expect(points[0]).toMatchObject({ accuracy: 0, coverage: 0 });
  expect(points.at(-1)).toMatchObject({ accuracy: best?.accuracy, coverage: (best?.solved ?? 0) / PROBLEMS });
  for (const [i, { accuracy, coverage, budget }] of points.entries()) {
    const before = points[i - 1];
    expect(budget.spent.rollouts).toBeGreaterThanOrEqual(before?.budget.spent.rollouts ?? 0);
    // What is solved stays solved; tasks that have not settled count with what they have.
    expect(coverage).toBeGreaterThanOrEqual(before?.coverage ?? 0);
    expect(accuracy).toBe(coverage);
  }
  expect(new Set(points.map(({ coverage }) => coverage)).size).toBeGreaterThan(1);
});

interface MetricsLine {
  readonly accuracy: number;
  readonly coverage: number;
  readonly budget: { readonly spent: { readonly rollouts: number } };
}
