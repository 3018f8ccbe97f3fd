import { afterEach, describe, expect, test, vi } from "vitest";
import { segmentId, SegmentStore } from "../../services/coordinator/segment-store.ts";
import type { CoordinatorLink, Withdrawal, WorkerDesk, WorkerFacts } from "../../services/link/link.ts";
import { createLocalLink } from "../../services/link/local-link.ts";
import type { Report, SegmentId, VerificationJob } from "../../services/queue/job.ts";
import { DEFAULT_LANE_LIMITS, type ConsumerOptions, type Lanes } from "../../services/queue/lanes.ts";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { createVerifierPool, type VerifierPool } from "../../workers/verify/pool.ts";
import {
  startVerificationWorker,
  type VerificationWorker,
} from "../../workers/verify/verification-worker.ts";

// A thread's start takes a second or more on a busy machine.
vi.setConfig({ testTimeout: 60_000 });
const eventually = (check: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(check, { timeout: 30_000 });

const STUBBORN = new URL("../verify/stubborn-catalogue.ts", import.meta.url);
const PROMPT = "4 5 6 10\n";
const PROBLEM = JSON.stringify({
  id: "g24-0900",
  prompt: "4 5 6 10",
  reference: null,
  tests: null,
  metadata: {},
});

/** The coordinator's and the queue's side of one worker, in the test's hands. */
interface Bed {
  readonly worker: VerificationWorker;
  readonly facts: WorkerFacts;
  readonly consumed: ReadonlyMap<string, ConsumerOptions>;
  readonly drained: number[];
  readonly reports: Report[];
  readonly store: SegmentStore;
  /** Keeps a text for the worker to fetch. */
  keep(text: string, parent?: SegmentId | null): SegmentId;
  withdraw(withdrawal: Withdrawal): void;
  deliver(
    job: VerificationJob,
    options?: { readonly attempt?: number; readonly isLast?: boolean; readonly signal?: AbortSignal },
  ): Promise<void>;
  job(
    texts: readonly string[],
    options?: { readonly verifier?: string; readonly problem?: string },
  ): VerificationJob;
}

interface BedOptions {
  readonly catalogueUrl?: URL;
  readonly threads?: number;
  readonly concurrency?: number;
  readonly segmentsMs?: number;
  readonly desk?: Partial<WorkerDesk>;
  /** The lanes of one process in place of those in the test's hands. */
  readonly lanes?: Lanes;
  /** Takes the place of the link's own. */
  readonly segments?: CoordinatorLink["segments"];
}

const pools: VerifierPool[] = [];
const links: CoordinatorLink[] = [];
afterEach(async () => {
  await Promise.all(links.splice(0).map((link) => link.close()));
  await Promise.all(pools.splice(0).map((pool) => pool.close()));
});

async function openBed(options: BedOptions = {}): Promise<Bed> {
  const { threads = 2, concurrency = 4, catalogueUrl } = options;
  const pool = await createVerifierPool({
    clock: systemClock,
    threads,
    ...(catalogueUrl === undefined ? {} : { catalogueUrl }),
  });
  pools.push(pool);
  const store = new SegmentStore();
  const reports: Report[] = [];
  const consumed = new Map<string, ConsumerOptions>();
  const drained: number[] = [];
  let facts: WorkerFacts | null = null;
  let withdraw: (withdrawal: Withdrawal) => void = () => {};
  const desk: WorkerDesk = {
    register: (given) => {
      facts = given;
      return { lanes: pool.kinds.map((kind) => `verify-${kind}`), leaseMs: 10_000 };
    },
    connected: (_, send) => {
      withdraw = send;
      return () => {};
    },
    heard: () => {},
    signalled: () => {},
    accept: async (report) => void reports.push(report),
    segments: (ids) => store.get(ids),
    left: () => {},
    ...options.desk,
  };
  const link = createLocalLink(desk, { clock: systemClock, random: createRandom(1) });
  if (options.segments !== undefined) link.segments = options.segments;
  links.push(link);
  const unused = (): never => {
    throw new Error("a worker has no business here");
  };
  const lanes: Lanes = options.lanes ?? {
    consume: (name, consumer) => {
      consumed.set(name, consumer);
      return { setConcurrency: unused, drain: async (graceMs) => void drained.push(graceMs) };
    },
    lane: unused,
    ping: unused,
    close: unused,
  };
  const limits = options.segmentsMs === undefined ? {} : { segmentsMs: options.segmentsMs };
  const worker = await startVerificationWorker({
    id: "verifier-1",
    lanes,
    link,
    clock: systemClock,
    pool,
    concurrency,
    limits,
  });
  if (facts === null) throw new Error("the worker did not register");
  const keep = (text: string, parent: SegmentId | null = null): SegmentId => {
    const id = segmentId(parent, { text });
    store.retain({ id, text });
    return id;
  };
  let jobs = 0;
  return {
    worker,
    facts,
    consumed,
    drained,
    reports,
    store,
    keep,
    withdraw: (withdrawal) => withdraw(withdrawal),
    deliver: async (job, { attempt = 1, isLast = false, signal = new AbortController().signal } = {}) => {
      const [consumer] = consumed.values();
      await consumer?.handle({ job, attempt, isLast, signal });
    },
    job: (texts, { verifier = '{"kind":"game24"}', problem = PROBLEM } = {}) => {
      const prompt = keep(PROMPT);
      jobs += 1;
      return {
        kind: "verification",
        id: `job-${jobs}`,
        sweep: "s-1",
        task: "best-of-n/g24-0900",
        problem: "g24-0900",
        problemData: keep(problem),
        verifier: keep(verifier),
        asks: texts.map((text, i) => ({ id: `0.${i}/1`, candidate: [prompt, keep(text, prompt)], seed: i })),
      };
    },
  };
}

const STUBBORN_SPEC = JSON.stringify({ kind: "stubborn", timeout_ms: 60_000 });

describe("the verification worker", () => {
  test("registers its kinds and takes jobs from the lanes that it is told", async () => {
    const bed = await openBed();
    const verifiers = ["calculator", "exact", "game24", "math", "numeric"];
    expect(bed.facts).toEqual({
      id: "verifier-1",
      offers: { kind: "verification", verifiers, concurrency: 4 },
    });
    expect([...bed.consumed.keys()]).toEqual(verifiers.map((kind) => `verify-${kind}`));
    expect([...bed.consumed.values()].map(({ concurrency }) => concurrency)).toEqual(verifiers.map(() => 4));
    await bed.worker.drain(250);
    expect(bed.drained).toEqual(verifiers.map(() => 250));
  });

  test("reports one verdict for each ask of a job", async () => {
    const bed = await openBed();
    const job = bed.job(["4*5+10-6", "4*6", "Answer: 10-6+4*5 = 24"]);
    await bed.deliver(job, { attempt: 3 });
    const byAsk = Object.fromEntries(bed.reports.map((report) => [report.ask, report]));
    expect(Object.keys(byAsk).toSorted()).toEqual(["0.0/1", "0.1/1", "0.2/1"]);
    expect(byAsk["0.0/1"]).toEqual({
      sweep: "s-1",
      task: "best-of-n/g24-0900",
      ask: "0.0/1",
      job: "job-1",
      attempt: 3,
      worker: "verifier-1",
      host: null,
      result: { kind: "verdict", verdict: "correct", score: 1, answer: "10 + 4 * 5 - 6", reason: null },
      usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0 },
      startedMs: expect.any(Number),
      endedMs: expect.any(Number),
    });
    expect(byAsk["0.1/1"]?.result).toMatchObject({ verdict: "incorrect" });
    expect(byAsk["0.2/1"]?.result).toMatchObject({ verdict: "correct", answer: "10 + 4 * 5 - 6" });
    expect(bed.worker.metrics()).toMatchObject({
      jobs: 1,
      correct: 2,
      incorrect: 1,
      undecided: 0,
      jobs_in_flight: 0,
      asks_in_flight: 0,
    });
  });

  test("joins a candidate's segments and leaves its prompt out", async () => {
    const bed = await openBed();
    const prompt = bed.keep(PROMPT);
    const first = bed.keep("10 - 6 = 4 left 4 4 5\n", prompt);
    const second = bed.keep("4 * 5 = 20 left 4 20\n", first);
    const third = bed.keep("4 + 20 = 24 left 24\n", second);
    const candidates = [[prompt, first, second, third], [prompt, first, second], [prompt], []];
    await bed.deliver({
      ...bed.job([]),
      asks: candidates.map((candidate, i) => ({ id: `${i}/0`, candidate, seed: i })),
    });
    const verdicts = bed.reports.map(
      ({ ask, result }) => [ask, result.kind === "verdict" && result.verdict] as const,
    );
    expect(new Map(verdicts)).toEqual(
      new Map([
        ["0/0", "correct"],
        ["1/0", "incorrect"],
        ["2/0", "incorrect"],
        ["3/0", "incorrect"],
      ]),
    );
  });

  test("reports an ask as soon as it is settled, before a slower sibling", async () => {
    const bed = await openBed({ catalogueUrl: STUBBORN });
    const spec = JSON.stringify({ kind: "stubborn", timeout_ms: 1_000 });
    const handled = bed.deliver(bed.job(["hang", "answer 1"], { verifier: spec }));
    await eventually(() => expect(bed.reports.map(({ ask }) => ask)).toEqual(["0.1/1"]));
    await handled;
    expect(bed.reports[1]).toMatchObject({
      ask: "0.0/1",
      result: { verdict: "undecided", reason: "took longer than 1000 ms" },
    });
    expect(bed.worker.metrics()).toMatchObject({ undecided: 1, terminations: 1, crashes: 0 });
  });

  test("is done with a job only once every report is acknowledged", async () => {
    let acknowledge = (): void => {};
    const acknowledged = new Promise<void>((resolve) => {
      acknowledge = resolve;
    });
    const reported: Report[] = [];
    const accept = (report: Report): Promise<void> => {
      reported.push(report);
      return acknowledged;
    };
    const bed = await openBed({ desk: { accept } });
    let isDone = false;
    const handled = bed.deliver(bed.job(["4*5+10-6", "4*6"])).then(() => {
      isDone = true;
    });
    await eventually(() => expect(reported).toHaveLength(2));
    expect(isDone).toBe(false);
    acknowledge();
    await handled;
    expect(isDone).toBe(true);
  });

  test("reports a withdrawn ask as cancelled at once, and its siblings as they are", async () => {
    const bed = await openBed({ catalogueUrl: STUBBORN });
    const job = bed.job(["hang", "answer 1"], { verifier: STUBBORN_SPEC });
    const handled = bed.deliver(job);
    await eventually(() => expect(bed.reports).toHaveLength(1));
    bed.withdraw({ job: "job-9", asks: ["0.0/1"] });
    bed.withdraw({ job: job.id, asks: ["0.0/1", "0.1/1", "0.7/1"] });
    await handled;
    expect(bed.reports.map(({ ask, result }) => [ask, result.kind])).toEqual([
      ["0.1/1", "verdict"],
      ["0.0/1", "cancelled"],
    ]);
    bed.withdraw({ job: job.id, asks: ["0.0/1"] });
    await Promise.resolve();
    expect(bed.worker.metrics()).toMatchObject({ cancelled: 1, jobs_in_flight: 0 });
  });

  test("fails every ask of a job whose verifier it does not know or cannot use, naming what it knows", async () => {
    const bed = await openBed();
    const specs = ['{"kind":"astrology"}', '{"kind":"exact","ignore_case":1}', "[]", "not JSON"];
    for (const verifier of specs) await bed.deliver(bed.job(["24"], { verifier }));
    await bed.deliver(bed.job(["24", "25"], { problem: "{" }));
    const messages = bed.reports.map(({ result }) =>
      result.kind === "failure" ? `${result.reason}: ${result.message}` : "",
    );
    expect(messages).toEqual([
      'bad_verifier: job job-1: expected a verifier of kind calculator, exact, game24, math, numeric; found "astrology"',
      'bad_verifier: job job-2: verifier exact: ignore_case must be true or false, found "1"',
      'bad_verifier: job job-3: expected a verifier\'s specification as a JSON object, found "[]"',
      'bad_verifier: job job-4: expected a verifier\'s specification as JSON, found "not JSON"',
      'bad_verifier: job job-5: expected a problem as JSON, found "{"',
      'bad_verifier: job job-5: expected a problem as JSON, found "{"',
    ]);
  });

  test("completes a job in silence when its task is over", async () => {
    const bed = await openBed();
    const job = bed.job(["4*5+10-6"]);
    bed.store.release(job.verifier);
    await bed.deliver(job);
    const second = bed.job(["4*5+10-6 "]);
    bed.store.release(second.asks[0]?.candidate[1] ?? "");
    await bed.deliver(second);
    expect(bed.reports).toEqual([]);
  });

  test("reports no failure for a coordinator that is away, not even on the last attempt", async () => {
    const segments = (): never => {
      throw new CoppiceError("unavailable", "coordinator:7070 is not there");
    };
    const bed = await openBed({ desk: { segments } });
    const job = bed.job(["4*5+10-6"]);
    await expect(bed.deliver(job)).rejects.toThrow("coordinator:7070 is not there");
    const last = bed.deliver(job, { attempt: 4, isLast: true });
    await expect(last).rejects.toThrow("coordinator:7070 is not there");
    expect(bed.reports).toEqual([]);
  });

  test("throws what another attempt may mend, and reports it as a failure on the last", async () => {
    const segments = (): never => {
      throw new CoppiceError("internal", "a defect");
    };
    const bed = await openBed({ desk: { segments } });
    const job = bed.job(["4*5+10-6"]);
    await expect(bed.deliver(job)).rejects.toThrow("a defect");
    expect(bed.reports).toEqual([]);
    await bed.deliver(job, { attempt: 4, isLast: true });
    expect(bed.reports).toMatchObject([
      {
        ask: "0.0/1",
        attempt: 4,
        result: {
          kind: "failure",
          reason: "verifier_unavailable",
          message: "job job-1, attempt 4: a defect",
        },
      },
    ]);
  });

  test("does not wait for segments for ever", async () => {
    const segments = (): Promise<never> => new Promise(() => {});
    const bed = await openBed({ segments, segmentsMs: 20 });
    await expect(bed.deliver(bed.job(["4*5+10-6"]))).rejects.toMatchObject({
      code: "deadline_exceeded",
      isRetryable: true,
    });
  });

  test("stops without a report when it lost the job", async () => {
    const bed = await openBed({ catalogueUrl: STUBBORN, threads: 1 });
    const lost = new AbortController();
    const handled = bed.deliver(bed.job(["hang", "answer 1"], { verifier: STUBBORN_SPEC }), {
      signal: lost.signal,
    });
    await eventually(() => expect(bed.worker.metrics()).toMatchObject({ running: 1, waiting: 1 }));
    lost.abort(new Error("lock lost"));
    await expect(handled).rejects.toThrow("lock lost");
    expect(bed.reports).toEqual([]);
    expect(bed.worker.metrics()).toMatchObject({ waiting: 0, jobs_in_flight: 0, asks_in_flight: 0 });
  });

  test("throws when the link closes before a report is acknowledged", async () => {
    const accept = (): Promise<void> => new Promise(() => {});
    const bed = await openBed({ desk: { accept } });
    const handled = bed.deliver(bed.job(["4*5+10-6"]));
    await eventually(() => expect(bed.worker.metrics()).toMatchObject({ correct: 1 }));
    await Promise.all(links.map((link) => link.close()));
    await expect(handled).rejects.toThrow("the link closed before the report");
  });

  test("refuses a job of another kind", async () => {
    const bed = await openBed();
    const { consumed } = bed;
    const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, maxTokens: 1, stop: [] };
    const job = {
      kind: "rollout",
      id: "job-1",
      sweep: "s",
      task: "t",
      problem: "p",
      prefix: [],
      depth: 0,
      sampling,
      asks: [],
    } as const;
    const [consumer] = consumed.values();
    const handled = consumer?.handle({ job, attempt: 1, isLast: true, signal: new AbortController().signal });
    await expect(handled).rejects.toThrow(
      "expected a verification job on this lane, found rollout job job-1",
    );
  });
});

describe("the verification worker on the lanes of one process", () => {
  const openLanes = (): Lanes =>
    createMemoryLanes({
      clock: systemClock,
      random: createRandom(1),
      limits: { ...DEFAULT_LANE_LIMITS, backoffMs: 1 },
    });

  test("reports every ask of every job once and leaves the lane empty", async () => {
    const lanes = openLanes();
    const bed = await openBed({ lanes });
    const lane = lanes.lane("verify-game24");
    const jobs = Array.from({ length: 40 }, (_, i) => bed.job(["4*5+10-6", `4*${i}`, "(4*5)+(10-6)"]));
    await lane.add(jobs);
    await eventually(async () => expect(await lane.depth()).toEqual({ waiting: 0, running: 0 }));
    const seen = bed.reports.map(({ job, ask }) => `${job} ${ask}`);
    expect(new Set(seen).size).toBe(120);
    expect(seen).toHaveLength(120);
    expect(bed.worker.metrics()).toMatchObject({ jobs: 40, correct: 80, incorrect: 40, failures: 0 });
    await lanes.close();
  });

  test("tries again when the coordinator could not be asked for the segments", async () => {
    const lanes = openLanes();
    let refusals = 2;
    let bed: Bed | null = null;
    const segments = (ids: readonly SegmentId[]) => {
      refusals -= 1;
      if (refusals >= 0) throw new CoppiceError("unavailable", "the coordinator is restarting");
      return bed?.store.get(ids) ?? [];
    };
    bed = await openBed({ lanes, desk: { segments } });
    const { reports } = bed;
    await lanes.lane("verify-game24").add([bed.job(["4*5+10-6"])]);
    await eventually(() => expect(reports).toMatchObject([{ ask: "0.0/1", result: { verdict: "correct" } }]));
    expect(reports[0]?.attempt).toBeGreaterThan(1);
    await lanes.close();
  });

  test("finishes what it has in hand when it drains, and takes no more", async () => {
    const lanes = openLanes();
    const bed = await openBed({ lanes, catalogueUrl: STUBBORN, concurrency: 1 });
    const lane = lanes.lane("verify-stubborn");
    const spec = JSON.stringify({ kind: "stubborn", timeout_ms: 300 });
    await lane.add([bed.job(["hang"], { verifier: spec }), bed.job(["answer 1"], { verifier: spec })]);
    await eventually(() => expect(bed.worker.metrics()).toMatchObject({ running: 1 }));
    await bed.worker.drain(60_000);
    expect(bed.reports.map(({ job }) => job)).toEqual(["job-1"]);
    expect(await lane.depth()).toEqual({ waiting: 1, running: 0 });
    await lanes.close();
  });
});
