import { cp, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { SweepRun } from "../../services/coordinator/coordinator-api.ts";
import type { SweepEvent } from "../../services/coordinator/status.ts";
import type { Sweep } from "../../services/coordinator/sweep.ts";
import type { Report } from "../../services/queue/job.ts";
import { createRandom } from "../../services/runtime/random.ts";
import {
  arm,
  newSweep,
  NO_BUDGET,
  puzzles,
  RAW,
  rowsOf,
  startInProcess,
  type InProcess,
} from "../support/in-process.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";

const STEPS = { max_steps: 3, step_stop: ["\n"] };
const ARMS = [
  arm("best-of-n", { n: 8 }),
  arm("beam-search", { width: 8, expand: 4, ...STEPS }),
  arm("mcts", { simulations: 24, parallel: 4, ...STEPS }),
  arm("first-correct", { n: 12, parallel: 4 }),
  arm("self-consistency", { n: 8, vote: "weighted" }),
];

let parts: InProcess;
beforeEach(async () => {
  parts = await startInProcess({ run: { statusMs: 20, metricsMs: 20 } });
});
afterEach(() => parts.close());

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

async function run(sweep: Sweep, count: number): Promise<Awaited<SweepRun["ended"]>> {
  const started = await parts.coordinator.submit(sweep, puzzles(count), RAW);
  return started.ended;
}

/** The rows of an undisturbed run of this sweep on one host. */
async function undisturbed(sweep: Sweep, count: number): ReturnType<typeof rowsOf> {
  const alone = await startInProcess();
  await alone.addHost("only", createSeededDriver());
  const output = (await newSweep({ arms: sweep.arms })).output;
  const started = await alone.coordinator.submit({ ...sweep, output }, puzzles(count), RAW);
  await started.ended;
  await alone.close();
  return rowsOf(output);
}

describe("a sweep", () => {
  test("settles every problem exactly once under every strategy", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({ arms: ARMS });
    const summary = await run(sweep, 20);
    expect(summary.tasks).toEqual({ total: 100, completed: 100, exhausted: 0, failed: 0, cancelled: 0 });
    const { results, rollouts } = await rowsOf(sweep.output);
    expect(new Set(results.map((row) => JSON.parse(row).task)).size).toBe(100);
    expect(results.length).toBe(100);
    expect(rollouts.length).toBe(summary.rollouts);
    expect(rollouts.filter((row) => JSON.parse(row).strategy === "best-of-n").length).toBe(160);
  });

  test("gives the same rows on one host and on three when it is deterministic (I4)", async () => {
    for (const id of ["a", "b", "c"]) await parts.addHost(id, createSeededDriver({ concurrency: 3 }));
    const sweep = await newSweep({ arms: ARMS, deterministic: true });
    await run(sweep, 12);
    expect(await rowsOf(sweep.output)).toEqual(await undisturbed(sweep, 12));
  });

  test("the summary's tokens are the sum of the rows'", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({ arms: ARMS });
    const summary = await run(sweep, 10);
    const { rollouts } = await rowsOf(sweep.output);
    const tokens = rollouts.reduce((sum, row) => sum + JSON.parse(row).usage.completion_tokens, 0);
    expect(summary.usage.completion_tokens).toBe(tokens);
    const written = JSON.parse(await readFile(join(sweep.output, "summary.json"), "utf8"));
    expect(written).toEqual(JSON.parse(JSON.stringify(summary)));
  });

  test("opens tasks just ahead of need, however many there are (I6)", async () => {
    await parts.close();
    parts = await startInProcess({ run: { waitingVerificationsMax: 8 } });
    await parts.addHost("a", createSeededDriver({ concurrency: 4 }));
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 2 })] });
    const started = await parts.coordinator.submit(sweep, puzzles(600), RAW);
    // Two asks each: 8 in the host's lane, 64 in the verifier's, 8 waiting, and a turn's worth on top.
    let open = 0;
    started.watch((event) => {
      if (event.kind === "status" || event.kind === "task")
        open = Math.max(open, started.status().tasks.running);
    });
    expect((await started.ended).tasks.completed).toBe(600);
    expect(open).toBeGreaterThan(1);
    expect(open).toBeLessThan(100);
  });

  test("a problem that the template cannot render costs its own task only (I5)", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 2 })],
      promptTemplate: "{prompt}\n{metadata.hint}",
    });
    const given = puzzles(3).map((problem, n) =>
      n === 1 ? problem : { ...problem, metadata: { hint: "think" } },
    );
    const started = await parts.coordinator.submit(sweep, given, RAW);
    expect((await started.ended).tasks).toMatchObject({ completed: 2, failed: 1 });
    const failed = (await rowsOf(sweep.output)).results.find((row) => row.includes('"failed"'));
    expect(failed).toMatch(/problem p1: prompt_template asks for \{metadata\.hint\}/);
  });
});

describe("a budget", () => {
  test("of rollouts is used up and not passed by one; every problem still has its row", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 8 })],
      budget: { ...NO_BUDGET, rollouts: 101 },
    });
    const summary = await run(sweep, 20);
    expect(summary.budget.spent.rollouts).toBe(101);
    expect(summary.rollouts).toBe(101);
    expect(summary.tasks).toMatchObject({ total: 20, completed: 0, exhausted: 20 });
  });

  test("of tokens is never passed, under any strategy", async () => {
    await parts.addHost("a", createSeededDriver());
    for (const [n, each] of ARMS.entries()) {
      const sweep = await newSweep({ arms: [each], budget: { ...NO_BUDGET, completionTokens: 2_000 + n } });
      const summary = await run({ ...sweep, output: `${sweep.output}-${n}` }, 12);
      expect(summary.budget.spent.completion_tokens).toBeLessThanOrEqual(2_000 + n);
      expect(summary.usage.completion_tokens).toBeLessThanOrEqual(2_000 + n);
      expect(summary.tasks.completed + summary.tasks.exhausted).toBe(12);
    }
  });

  test("of wall time ends a sweep whose host never answers, and every task has its row", async () => {
    const never = createSeededDriver({
      onSample: (_, signal) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    });
    await parts.addHost("a", never);
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 4 })],
      budget: { ...NO_BUDGET, wallMs: 150 },
    });
    const summary = await run(sweep, 5);
    expect(summary.tasks).toMatchObject({ total: 5, exhausted: 5 });
    expect((await rowsOf(sweep.output)).results.length).toBe(5);
  });
});

describe("a sweep that is disturbed", () => {
  test("cancelled, settles the rest as cancelled with their best so far", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 8 })] });
    const started = await parts.coordinator.submit(sweep, puzzles(200), RAW);
    await eventOf(started, (event) => event.kind === "task");
    await started.cancel("a test");
    const summary = await started.ended;
    expect(summary.state).toBe("cancelled");
    expect(summary.tasks.completed + summary.tasks.cancelled).toBe(200);
    expect(summary.tasks.cancelled).toBeGreaterThan(0);
    expect((await rowsOf(sweep.output)).results.length).toBe(200);
  });

  test("paused, dispatches nothing until it is resumed", async () => {
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 4 })] });
    const started = await parts.coordinator.submit(sweep, puzzles(5), RAW);
    started.pause();
    let asked = 0;
    await parts.addHost("a", createSeededDriver({ onSample: () => void (asked += 1) }));
    await eventOf(started, (event) => event.kind === "status" && event.status.elapsed_ms > 60);
    expect(asked).toBe(0);
    started.resume();
    expect((await started.ended).tasks.completed).toBe(5);
  });

  test("paused and then opened again, stays paused until it is resumed", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 4 })] });
    const started = await parts.coordinator.submit(sweep, puzzles(30), RAW);
    started.pause();
    await started.interrupt();
    const again = await parts.coordinator.reopen(sweep);
    expect(again.status().state).toBe("paused");
    again.resume();
    expect((await again.ended).tasks.completed).toBe(30);
  });

  test("cancelled and then opened again, settles the rest as cancelled", async () => {
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 4 })] });
    const started = await parts.coordinator.submit(sweep, puzzles(30), RAW);
    void started.cancel("a test");
    await started.interrupt();
    const again = await parts.coordinator.reopen(sweep);
    expect((await again.ended).tasks.cancelled).toBe(30);
    expect((await rowsOf(sweep.output)).results.length).toBe(30);
  });

  test("interrupted and opened again several times, gives the rows of an undisturbed one", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({ arms: ARMS, deterministic: true });
    let current = await parts.coordinator.submit(sweep, puzzles(12), RAW);
    for (let round = 0; round < 4; round += 1) {
      await eventOf(current, (event) => event.kind === "task" || event.kind === "ended");
      await current.interrupt();
      current = await parts.coordinator.reopen(sweep);
    }
    await current.ended;
    expect(await rowsOf(sweep.output)).toEqual(await undisturbed(sweep, 12));
  });

  test("copied from disk at random moments, each copy goes on to the same rows (I2)", async () => {
    await parts.addHost("a", createSeededDriver({ concurrency: 4 }));
    const sweep = await newSweep({ arms: ARMS, deterministic: true });
    const started = await parts.coordinator.submit(sweep, puzzles(8), RAW);
    const random = createRandom(5);
    const copies: string[] = [];
    while (copies.length < 6) {
      await eventOf(
        started,
        (event) => event.kind === "ended" || (event.kind === "task" && random.next() < 0.4),
      );
      const copy = join(await mkdtemp(join(tmpdir(), "copy-")), "run");
      // The journal first: rows may run ahead of it, as in a crash, never behind.
      await cp(join(sweep.output, "journal"), join(copy, "journal"), { recursive: true });
      await cp(sweep.output, copy, {
        recursive: true,
        // A file that is being written bears another name until it is whole, and may be gone when it is to be copied.
        filter: (path) => !/journal|lock|partial/.test(path.slice(sweep.output.length)),
      });
      copies.push(copy);
    }
    await started.ended;
    const expected = await rowsOf(sweep.output);
    for (const copy of copies) {
      const again = await startInProcess();
      await again.addHost("b", createSeededDriver({ concurrency: 2 }));
      await (
        await again.coordinator.reopen({ ...sweep, output: copy })
      ).ended;
      await again.close();
      expect(await rowsOf(copy)).toEqual(expected);
      await rm(copy, { recursive: true });
    }
  });

  test("a host that goes away gives its jobs to the other", async () => {
    let release: () => void = () => undefined;
    const stuck = new Promise<void>((resolve) => (release = resolve));
    const leaving = await parts.addHost("a", createSeededDriver({ onSample: () => stuck }));
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 8 })] });
    const started = await parts.coordinator.submit(sweep, puzzles(4), RAW);
    await eventOf(started, (event) => event.kind === "status" && event.status.in_flight > 0);
    await parts.addHost("b", createSeededDriver());
    await leaving.drain(0);
    release();
    expect((await started.ended).tasks.completed).toBe(4);
    expect((await rowsOf(sweep.output)).rollouts.length).toBe(32);
  });

  test("late, double and foreign reports change nothing (I1)", async () => {
    const reports: Report[] = [];
    const { desk } = parts.coordinator;
    const accept = desk.accept.bind(desk);
    desk.accept = async (report) => {
      reports.push(report);
      await Promise.all([accept(report), accept(report)]);
      for (const old of reports.slice(-5)) await accept({ ...old, worker: "late" });
      await accept({ ...report, sweep: "another" });
    };
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({ arms: ARMS, deterministic: true });
    await run(sweep, 4);
    expect(await rowsOf(sweep.output)).toEqual(await undisturbed(sweep, 4));
  });

  test("whose summary cannot be written has failed, and goes on to its end when it can", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 8 })] });
    const started = await parts.coordinator.submit(sweep, puzzles(2), RAW);
    const summaryFile = join(sweep.output, "summary.json");
    await mkdir(summaryFile);
    const ended = eventOf(started, (event) => event.kind === "ended");
    await expect(started.ended).rejects.toThrow(/summary\.json/);
    expect(await ended).toMatchObject({ summary: { state: "failed", tasks: { completed: 2 } } });
    await rm(summaryFile, { recursive: true });
    const again = await parts.coordinator.reopen(sweep);
    expect(await again.ended).toMatchObject({ state: "completed", tasks: { completed: 2 } });
    expect(await rowsOf(sweep.output)).toEqual(await undisturbed(sweep, 2));
  });

  test("what another job gave up is not lost: the ask is with a job of its own", async () => {
    const { desk } = parts.coordinator;
    const accept = desk.accept.bind(desk);
    const result = { kind: "failure", reason: "segments_unavailable", message: "it was away" } as const;
    desk.accept = async (report) => {
      await accept({ ...report, job: "of-an-earlier-life", result });
      await accept(report);
    };
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({ arms: ARMS, deterministic: true });
    await run(sweep, 4);
    expect(await rowsOf(sweep.output)).toEqual(await undisturbed(sweep, 4));
  });
});
