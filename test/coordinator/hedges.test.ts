import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { storyLines } from "../../services/cli/task-story-lines.ts";
import type { OpenAsk } from "../../services/coordinator/backlog.ts";
import type { SweepRun } from "../../services/coordinator/coordinator-api.ts";
import { Durations } from "../../services/coordinator/durations.ts";
import { Effort } from "../../services/coordinator/effort.ts";
import { addressee } from "../../services/coordinator/hedges.ts";
import { Ledger } from "../../services/coordinator/ledger.ts";
import type { Summary, SweepEvent } from "../../services/coordinator/status.ts";
import type { HedgeRule, Sweep } from "../../services/coordinator/sweep.ts";
import { readTaskStory } from "../../services/coordinator/task-story.ts";
import type { Report } from "../../services/queue/job.ts";
import { rootPrefix } from "../../services/search/prefix.ts";
import type { SampleAsk } from "../../services/search/program.ts";
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
import { amount, NO_ARM_BUDGET } from "../support/budget.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";

const EAGER: HedgeRule = { factor: 1, share: 1 };
const LIMITS = {
  run: { hedges: { everyMs: 5, waitMsMin: 20, samplesMin: 4 }, statusMs: 10, decisions: { flushMs: 0 } },
};
const MAX_TOKENS = 48;

/** Host `a`, which takes asks and answers none until it is let go, and host `b`, which answers. */
interface Cluster extends InProcess {
  readonly reports: Report[];
  /** What `a` was asked, and what of it was aborted. */
  readonly stuck: { asked: number; aborted: number };
  readonly release: () => void;
}

async function openCluster(alter: (report: Report) => Report = (report) => report): Promise<Cluster> {
  const parts = await startInProcess(LIMITS);
  const reports: Report[] = [];
  const { desk } = parts.coordinator;
  const accept = desk.accept.bind(desk);
  desk.accept = (report) => {
    reports.push(report);
    return accept(alter(report));
  };
  const held = Promise.withResolvers<void>();
  const stuck = { asked: 0, aborted: 0 };
  const onSample = (_: unknown, signal: AbortSignal): Promise<void> => {
    stuck.asked += 1;
    const abort = new Promise<void>((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        stuck.aborted += 1;
        reject(signal.reason);
      });
    });
    return Promise.race([held.promise, abort]);
  };
  await parts.addHost("a", createSeededDriver({ onSample }));
  await parts.addHost("b", createSeededDriver());
  const release = (): void => held.resolve();
  return { ...parts, reports, stuck, release, close: () => (release(), parts.close()) };
}

async function start(parts: InProcess, given: Partial<Sweep> = {}): Promise<SweepRun & { sweep: Sweep }> {
  const sweep = await newSweep({ arms: [arm("best-of-n", { n: 4 })], hedge: EAGER, ...given });
  return Object.assign(await parts.coordinator.submit(sweep, puzzles(12), RAW), { sweep });
}

function eventOf(of: SweepRun, passes: (event: SweepEvent) => boolean): Promise<SweepEvent> {
  return new Promise((resolve) => {
    const stop = of.watch((event) => {
      if (!passes(event)) return;
      resolve(event);
      setImmediate(() => stop());
    });
  });
}

/** The rows that one host alone gives. */
let undisturbed: Awaited<ReturnType<typeof rowsOf>>;
beforeAll(async () => {
  const alone = await startInProcess();
  await alone.addHost("only", createSeededDriver());
  const run = await start(alone, { hedge: null });
  await run.ended;
  await alone.close();
  undisturbed = await rowsOf(run.sweep.output);
});

describe("a sweep with a host that answers nothing, and one that answers", () => {
  let cluster: Cluster;
  let output: string;
  let summary: Summary;
  beforeAll(async () => {
    cluster = await openCluster();
    const run = await start(cluster);
    output = run.sweep.output;
    summary = await run.ended;
  });
  afterAll(() => cluster.close());

  test("ends with the rows of an undisturbed one: what is stuck is sent again, and stopped where it is stuck", async () => {
    expect(summary).toMatchObject({ state: "completed", rollouts: 48, tasks: { completed: 12 } });
    expect(cluster.stuck.asked).toBeGreaterThan(0);
    expect(summary.hedged).toBe(cluster.stuck.asked);
    expect(cluster.stuck.aborted).toBe(cluster.stuck.asked);
    expect(await rowsOf(output)).toEqual(undisturbed);
  });

  test("charges both copies: the worst for one whose host does not say what it had made (I3, I8)", async () => {
    const { rollouts } = await rowsOf(output);
    const made = rollouts.reduce((sum, row) => sum + JSON.parse(row).usage.completion_tokens, 0);
    expect(summary.usage).toMatchObject({ completion_tokens: made, cancelled_tokens: null });
    const spent = made + MAX_TOKENS * cluster.stuck.asked;
    expect(summary.budget.spent).toMatchObject({ rollouts: 48, completion_tokens: spent });
  });

  test("tells in the story of a task where an ask was sent again, why, and who answered", async () => {
    const ids = puzzles(12).map(({ id }) => `best-of-n/${id}`);
    const stories = await Promise.all(ids.map((id) => readTaskStory(output, id)));
    const copies = stories.flatMap(({ ends }) => ends.filter(({ end }) => end === "copy"));
    expect(copies.length).toBe(cluster.stuck.asked);
    const hedged = stories.find(({ decisions }) => decisions?.some(({ kind }) => kind === "hedged"));
    const text = hedged === undefined ? "" : storyLines(hedged).join("\n");
    expect(text).toMatch(/sent to b too: it waited too long at its host, which is slower than others/);
    expect(text).toContain("b answered first");
    expect(text).not.toContain("came back");
  });
});

describe("of a sweep with a host that answers nothing", () => {
  let cluster: Cluster | null = null;
  afterEach(() => cluster?.close());

  test("a late answer of the slower host changes no row, and is charged for what it cost (I1)", async () => {
    const late = {
      kind: "rollout",
      text: "late",
      finishReason: "stop",
      stopString: null,
      meanLogprob: null,
    } as const;
    const usage = { promptTokens: 5, cachedTokens: 2, completionTokens: 7 };
    cluster = await openCluster((report) =>
      report.result.kind === "cancelled" ? { ...report, result: late, usage } : report,
    );
    const run = await start(cluster);
    const summary = await run.ended;
    const { asked } = cluster.stuck;
    expect(asked).toBeGreaterThan(0);
    expect(summary).toMatchObject({ rollouts: 48, hedged: asked, usage: { cancelled_tokens: 7 * asked } });
    expect(summary.budget.spent.rollouts).toBe(48 + asked);
    expect(await rowsOf(run.sweep.output)).toEqual(undisturbed);
  });

  test("what is at a host that says it does not answer is sent again, whatever its like take", async () => {
    cluster = await openCluster();
    const { coordinator, stuck } = cluster;
    // Nobody ever answers enough to be compared with.
    const run = await start(cluster, { hedge: { factor: 1_000_000, share: 1 } });
    await eventOf(run, () => stuck.asked > 0);
    const quiet = { running: null, waiting: null, kvUsage: null, preemptions: null, cacheLosses: 0 };
    coordinator.desk.signalled("w-a", { isUp: false, concurrency: 8, ...quiet });
    const summary = await run.ended;
    expect(summary).toMatchObject({ state: "completed", rollouts: 48, hedged: stuck.asked });
    expect(await rowsOf(run.sweep.output)).toEqual(undisturbed);
  });

  test("no more is sent twice than its share of the asks that were answered, or one", async () => {
    cluster = await openCluster();
    const { reports, release } = cluster;
    const run = await start(cluster, { hedge: { factor: 1, share: 0.02 } });
    const isStopped = (): boolean => reports.some(({ result }) => result.kind === "cancelled");
    await eventOf(run, isStopped);
    release();
    expect((await run.ended).hedged).toBe(1);
  });

  test("nothing is sent twice where the budget has no room for it (I3)", async () => {
    cluster = await openCluster();
    const { stuck, release } = cluster;
    const run = await start(cluster, { budget: { ...NO_BUDGET, rollouts: 20 } });
    const isSpent = ({ rollouts, elapsed_ms }: ReturnType<typeof run.status>): boolean =>
      rollouts + stuck.asked >= 20 && elapsed_ms > 200;
    await eventOf(run, (event) => event.kind === "status" && isSpent(event.status));
    release();
    const summary = await run.ended;
    expect(summary.budget.spent.rollouts).toBeLessThanOrEqual(20);
    expect(summary.tasks.completed + summary.tasks.exhausted).toBe(12);
  });

  test("opened again with copies under way, each ask has its answer once", async () => {
    cluster = await openCluster();
    const run = await start(cluster);
    await eventOf(run, (event) => event.kind === "task");
    await run.interrupt();
    const again = await cluster.coordinator.reopen(run.sweep);
    expect(await again.ended).toMatchObject({ state: "completed", rollouts: 48, tasks: { completed: 12 } });
    expect(await rowsOf(run.sweep.output)).toEqual(undisturbed);
  });

  test("its asks are carried by their copies when it goes away", async () => {
    const parts = await startInProcess(LIMITS);
    const held = Promise.withResolvers<void>();
    const leaving = await parts.addHost("a", createSeededDriver({ onSample: () => held.promise }));
    await parts.addHost("b", createSeededDriver());
    const run = await start(parts);
    await eventOf(run, (event) => event.kind === "task");
    await leaving.drain(0);
    held.resolve();
    expect(await run.ended).toMatchObject({ state: "completed", rollouts: 48 });
    expect(await rowsOf(run.sweep.output)).toEqual(undisturbed);
    await parts.close();
  });
});

describe("a word about an ask that was sent twice", () => {
  const ask: SampleAsk = { kind: "sample", id: "0.0", prefix: rootPrefix("p"), sample: 0, options: {} };
  let [open, copy]: OpenAsk[] = [];
  let task: { readonly asks: Map<string, OpenAsk>; readonly copies: Set<OpenAsk> };
  beforeEach(() => {
    const route = { kind: "verifier", verifier: "none" } as const;
    const sent = { ask, route, issued: 0, isWithdrawn: false, dispatches: 1, accepting: null };
    const ledger = new Ledger({ budget: NO_BUDGET, arms: [{ id: "a", budget: NO_ARM_BUDGET }] });
    const reservation = () =>
      ledger.reserve(ledger.accountOf("a/p", "a"), amount({ rollouts: 1, completionTokens: 9 }));
    open = { ...sent, job: "first", reservation: reservation(), isHedge: false, effort: new Effort() };
    copy = { ...sent, job: "second", reservation: reservation(), isHedge: true, effort: new Effort() };
    task = { asks: new Map([[ask.id, open]]), copies: new Set([copy]) };
  });
  const word = (job: string, isAnswer: boolean) => addressee(task, { job, ask: ask.id, isAnswer });

  test("that is its answer from the first job leaves the second to be stopped", () => {
    expect(word("first", true)).toEqual({ open, loser: copy });
    expect([open?.job, copy?.job, copy?.isWithdrawn]).toEqual(["first", "second", true]);
  });

  test("that is its answer from the second job makes that the ask's, and the first the copy's, with its reservation", () => {
    const [mine, other] = [open?.reservation, copy?.reservation];
    expect(word("second", true)).toEqual({ open, loser: copy });
    expect([open?.job, copy?.job]).toEqual(["second", "first"]);
    expect(open?.reservation).toBe(other);
    expect(copy?.reservation).toBe(mine);
    expect(word("first", true).open).toBe(copy);
  });

  test("that is no answer is the copy's, whichever job it comes from: the ask goes on with the other", () => {
    expect(word("first", false)).toEqual({ open: copy, loser: null });
    expect([open?.job, copy?.job, copy?.isWithdrawn, open?.isWithdrawn]).toEqual([
      "second",
      "first",
      true,
      false,
    ]);
    expect(word("second", false)).toEqual({ open, loser: null });
  });

  test("from a job that neither is with changes nothing", () => {
    expect(word("earlier", true)).toEqual({ open, loser: null });
    expect([open?.job, copy?.job, copy?.isWithdrawn]).toEqual(["first", "second", false]);
  });
});

test("an ask is compared with the fastest of the other hosts that have answered enough of its arm", () => {
  const durations = new Durations(4);
  const add = (host: string, ...ms: readonly number[]): void =>
    ms.forEach((each) => durations.add("arm", { host, ms: each }));
  add("a", 10, 10, 10, 10);
  expect(durations.fastestElsewhereMs("arm", "a")).toBeNull();
  expect(durations.fastestElsewhereMs("arm", "b")).toBe(10);
  add("b", 5, 5, 5);
  expect(durations.fastestElsewhereMs("arm", "a")).toBeNull();
  add("b", 7);
  expect(durations.fastestElsewhereMs("arm", "a")).toBe(7);
  expect(durations.fastestElsewhereMs("arm", "b")).toBe(10);
  expect(durations.fastestElsewhereMs("other", "a")).toBeNull();
  for (let n = 0; n < 64; n += 1) add("b", 100);
  expect(durations.fastestElsewhereMs("arm", "c")).toBe(10);
});
