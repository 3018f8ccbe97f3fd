import { afterEach, describe, expect, it } from "vitest";
import { segmentId, SegmentStore } from "../../services/coordinator/segment-store.ts";
import type { Withdrawal, WorkerDesk, WorkerFacts } from "../../services/link/link.ts";
import { createLocalLink } from "../../services/link/local-link.ts";
import type { Job, Report, RolloutJob, SegmentId, VerificationJob } from "../../services/queue/job.ts";
import type { Lanes, LaneLimits } from "../../services/queue/lanes.ts";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { Driver } from "../../workers/rollout/driver.ts";
import { createOpenaiDriver } from "../../workers/rollout/drivers/openai.ts";
import {
  startRolloutWorker,
  type RolloutWorker,
  type RolloutWorkerLimits,
} from "../../workers/rollout/rollout-worker.ts";
import { HOLD, startOpenaiServer, type OpenaiServer } from "../support/openai-server.ts";

const LANE = "host-h1";
const PROMPT = "4 5 6 10\n";
const laneLimits: LaneLimits = { attemptsMax: 3, stallsMax: 4, backoffMs: 1, lockMs: 5_000 };
const quick: Partial<RolloutWorkerLimits> = { downBackoffMs: 5, downBackoffMaxMs: 20, downMaxMs: 60_000 };
const sampling = { temperature: 0.8, topP: 0.95, topK: 0, minP: 0, maxTokens: 16, stop: ["\n"] };

/** A worker on a real host, with real lanes and a real link; the desk behind the link is the test's. */
interface Bed {
  readonly worker: RolloutWorker;
  readonly server: OpenaiServer;
  readonly lanes: Lanes;
  readonly reports: Report[];
  readonly facts: WorkerFacts | null;
  readonly left: string[];
  readonly events: string[];
  keep(text: string, parent?: SegmentId | null): SegmentId;
  withdraw(withdrawal: Withdrawal): void;
  add(...jobs: readonly Job[]): Promise<void>;
  /** Resolves when the lane holds nothing more. */
  idle(): Promise<void>;
}

interface BedOptions {
  readonly concurrency?: number;
  readonly limits?: Partial<RolloutWorkerLimits>;
  /** Stands before the desk's own `accept`. */
  readonly accept?: (report: Report) => Promise<void>;
  /** Stands in for the desk's own segments. */
  readonly segments?: () => never;
  /** Wraps the driver, to fail where a real host would not do so on demand. */
  readonly wrap?: (driver: Driver) => Driver;
}

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function openBed(options: BedOptions = {}): Promise<Bed> {
  const server = await startOpenaiServer({ kind: "vllm", reportsCachedTokens: true });
  const real = createOpenaiDriver({
    url: server.url,
    model: null,
    apiKey: null,
    concurrency: options.concurrency ?? 4,
    clock: systemClock,
    random: createRandom(1),
    limits: { retriesMax: 0, backoffMs: 1 },
  });
  const driver = options.wrap?.(real) ?? real;
  const lanes = createMemoryLanes({ clock: systemClock, random: createRandom(2), limits: laneLimits });
  const store = new SegmentStore();
  const state: { facts: WorkerFacts | null; withdraw: (withdrawal: Withdrawal) => void } = {
    facts: null,
    withdraw: () => undefined,
  };
  const reports: Report[] = [];
  const left: string[] = [];
  const events: string[] = [];
  const desk: WorkerDesk = {
    register(facts) {
      state.facts = facts;
      return { lanes: [LANE], leaseMs: 60_000 };
    },
    connected(_, withdraw) {
      state.withdraw = withdraw;
      return () => undefined;
    },
    heard: () => undefined,
    signalled: () => undefined,
    async accept(report) {
      await options.accept?.(report);
      reports.push(report);
    },
    segments: (ids) => options.segments?.() ?? store.get(ids),
    left: (id) => left.push(id),
  };
  const note = (_: unknown, event: string): void => void events.push(event);
  const log = { debug: note, info: note, warn: note, error: note, child: () => log };
  const worker = await startRolloutWorker({
    id: "w1",
    hostId: "h1",
    driver,
    lanes,
    clock: systemClock,
    log,
    link: createLocalLink(desk, { clock: systemClock, random: createRandom(3) }),
    limits: { ...quick, ...options.limits },
  });
  closing.push(
    () => lanes.close(),
    () => server.close(),
    () => worker.drain(0),
  );
  return {
    worker,
    server,
    lanes,
    reports,
    left,
    events,
    get facts() {
      return state.facts;
    },
    keep(text, parent = null) {
      const id = segmentId(parent, { text });
      store.retain({ id, text });
      return id;
    },
    withdraw: (withdrawal) => state.withdraw(withdrawal),
    add: (...jobs) => lanes.lane(LANE).add(jobs),
    idle: () =>
      expect.poll(() => lanes.lane(LANE).depth(), { timeout: 10_000 }).toEqual({ waiting: 0, running: 0 }),
  };
}

const PROBLEM = JSON.stringify({ id: "p", prompt: PROMPT, reference: null, tests: null, metadata: {} });

function rolloutJob(id: string, prefix: readonly SegmentId[], asks: number): RolloutJob {
  return {
    kind: "rollout",
    id,
    sweep: "s",
    task: "t",
    problem: "p",
    prefix,
    depth: prefix.length - 1,
    sampling,
    asks: Array.from({ length: asks }, (_, sample) => ({ id: `${id}.${sample}`, sample, seed: 50 + sample })),
  };
}

function asksOf(reports: readonly Report[]): readonly string[] {
  return reports.map((report) => report.ask).toSorted();
}

describe("rollout worker: jobs", () => {
  it("registers what its driver found", async () => {
    const bed = await openBed();
    const found = {
      id: "h1",
      engine: "openai",
      model: "tiny",
      concurrency: 4,
      concurrencyMax: expect.any(Number),
      kvCapacityTokens: 16_000,
      contextTokens: 4096,
      sharesColdPrefixes: true,
    };
    expect(bed.facts).toEqual({
      id: "w1",
      offers: {
        kind: "rollout",
        host: {
          ...found,
          blockTokens: expect.toBeOneOf([16, null]),
          reportsCachedTokens: true,
          stepFloorMs: expect.any(Number),
          can: expect.arrayContaining(["score", "likelihood", "tokens"]),
        },
      },
    });
  });

  it("reports every ask of every job once, within the host's concurrency", async () => {
    const bed = await openBed();
    const root = bed.keep(PROMPT);
    const step = bed.keep("10 - 4 = 6\n", root);
    await bed.add(rolloutJob("j1", [root], 20), rolloutJob("j2", [root, step], 20));
    await bed.idle();
    expect(new Set(asksOf(bed.reports)).size).toBe(40);
    expect(bed.reports).toHaveLength(40);
    expect(bed.server.openMax()).toBe(4);
    expect(bed.server.requests.some((request) => request["prompt"] === `${PROMPT}10 - 4 = 6\n`)).toBe(true);
    const [first] = bed.reports;
    expect(first).toMatchObject({
      sweep: "s",
      task: "t",
      job: "j1",
      attempt: 1,
      worker: "w1",
      host: "h1",
      result: { kind: "rollout" },
    });
    expect(bed.worker.metrics()).toMatchObject({
      rollouts: 40,
      failures: 0,
      inFlight: 0,
      jobsInHand: 0,
      hostUp: 1,
      cachedTokensUnknown: 0,
    });
  });

  it("completes a job only when its reports are acknowledged, and reports each as soon as it is finished", async () => {
    const held = Promise.withResolvers<void>();
    const bed = await openBed({
      concurrency: 1,
      accept: (report) => (report.ask === "j.1" ? held.promise : Promise.resolve()),
    });
    await bed.add(rolloutJob("j", [bed.keep(PROMPT)], 3));
    await expect.poll(() => asksOf(bed.reports)).toEqual(["j.0", "j.2"]);
    expect(await bed.lanes.lane(LANE).depth()).toEqual({ waiting: 0, running: 1 });
    held.resolve();
    await bed.idle();
    expect(asksOf(bed.reports)).toEqual(["j.0", "j.1", "j.2"]);
  });

  it("scores paths for the process-reward verifier", async () => {
    const bed = await openBed();
    const root = bed.keep(PROMPT);
    const step = bed.keep("10 - 4 = 6 left 5 6 6\n", root);
    const verifier = bed.keep(
      JSON.stringify({
        kind: "process-reward",
        prompt: "{text}|{prompt}?",
        positive: " good",
        negative: " bad",
      }),
    );
    const job: VerificationJob = {
      kind: "verification",
      id: "v1",
      sweep: "s",
      task: "t",
      problem: "p",
      problemData: bed.keep(PROBLEM),
      verifier,
      asks: [{ id: "v.0", candidate: [root, step], seed: 1 }],
    };
    await bed.add(job);
    await bed.idle();
    expect(bed.reports).toHaveLength(1);
    expect(bed.reports[0]?.result).toMatchObject({
      kind: "verdict",
      verdict: "undecided",
      answer: null,
      reason: "a process reward",
    });
    expect(bed.reports[0]?.result).toHaveProperty("score", expect.closeTo(1 / (1 + Math.exp(-1.5))));
    expect(bed.server.requests.at(-1)?.["prompt"]).toBe(`10 - 4 = 6 left 5 6 6\n|${PROMPT}?`);
    expect(bed.worker.metrics().verifications).toBe(1);
  });

  it("refuses a verifier that no host can run", async () => {
    const bed = await openBed();
    const root = bed.keep(PROMPT);
    const verifier = bed.keep('{"kind":"exact"}');
    const ask = { id: "v.0", candidate: [root], seed: 1 };
    await bed.add({
      kind: "verification",
      id: "v1",
      sweep: "s",
      task: "t",
      problem: "p",
      problemData: bed.keep(PROBLEM),
      verifier,
      asks: [ask],
    });
    await bed.idle();
    expect(bed.reports[0]?.result).toMatchObject({
      kind: "failure",
      reason: "verifier_invalid",
      message: expect.stringContaining('found "exact"'),
    });
  });

  it("finishes a job whose task is over without a report", async () => {
    const bed = await openBed();
    await bed.add(rolloutJob("j", ["0".repeat(32)], 2));
    await bed.idle();
    expect(bed.reports).toEqual([]);
    expect(bed.worker.metrics().retries).toBe(0);
  });
});

describe("rollout worker: withdrawals", () => {
  it("stops a withdrawn ask on the host and reports it as cancelled, with what it has cost so far", async () => {
    const bed = await openBed();
    await bed.add(rolloutJob("j", [bed.keep(HOLD)], 1));
    await expect.poll(() => bed.server.open()).toBe(1);
    await expect.poll(() => bed.worker.metrics().inFlight).toBe(1);
    bed.withdraw({ job: "j", asks: ["j.0", "j.unknown"] });
    await bed.idle();
    await expect.poll(() => bed.server.aborted()).toBe(1);
    expect(bed.reports).toHaveLength(1);
    expect(bed.reports[0]).toMatchObject({ ask: "j.0", result: { kind: "cancelled" } });
  });

  it("goes on with the siblings of a withdrawn ask, and computes nothing for one that still waited", async () => {
    const bed = await openBed({ concurrency: 1 });
    const root = bed.keep(PROMPT);
    await bed.add(rolloutJob("hold", [bed.keep(HOLD)], 1), rolloutJob("j", [root], 2));
    await expect.poll(() => bed.worker.metrics().jobsInHand).toBe(2);
    bed.withdraw({ job: "j", asks: ["j.1"] });
    await expect.poll(() => bed.reports.length).toBe(1);
    expect(bed.reports[0]).toMatchObject({
      ask: "j.1",
      result: { kind: "cancelled" },
      usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0 },
    });
    bed.withdraw({ job: "hold", asks: ["hold.0"] });
    await bed.idle();
    expect(bed.reports.find((report) => report.ask === "j.0")?.result.kind).toBe("rollout");
  });

  it("remembers a withdrawal that comes before its job", async () => {
    const bed = await openBed();
    const asked = bed.server.requests.length;
    bed.withdraw({ job: "j", asks: ["j.0"] });
    await Promise.resolve();
    await bed.add(rolloutJob("j", [bed.keep(PROMPT)], 1));
    await bed.idle();
    expect(bed.reports[0]?.result.kind).toBe("cancelled");
    expect(bed.server.requests.length).toBe(asked);
  });

  it("forgets it after a while, since the ask may be wanted by a later run", async () => {
    const bed = await openBed({ limits: { withdrawnMs: 0 } });
    bed.withdraw({ job: "j", asks: ["j.0"] });
    await Promise.resolve();
    await bed.add(rolloutJob("j", [bed.keep(PROMPT)], 1));
    await bed.idle();
    expect(bed.reports[0]?.result.kind).toBe("rollout");
  });
});

describe("rollout worker: failures", () => {
  it("has the lane retry, and computes only what is not reported yet", async () => {
    const bed = await openBed({ concurrency: 1 });
    bed.server.misbehave({ kind: "truncate" }, 1);
    await bed.add(rolloutJob("j", [bed.keep(PROMPT)], 3));
    await bed.idle();
    expect(asksOf(bed.reports)).toEqual(["j.0", "j.1", "j.2"]);
    expect(bed.reports.map((report) => report.attempt)).toEqual([1, 1, 2]);
    expect(bed.worker.metrics()).toMatchObject({ rollouts: 3, retries: 1 });
  });

  it("reports the failure, with its class, once the attempts are spent", async () => {
    const bed = await openBed();
    bed.server.misbehave({ kind: "body", type: "text/html", body: "<html>" }, 99);
    await bed.add(rolloutJob("j", [bed.keep(PROMPT)], 1));
    await bed.idle();
    expect(bed.reports).toHaveLength(1);
    expect(bed.reports[0]).toMatchObject({ attempt: 3, result: { kind: "failure", reason: "host_rubbish" } });
    expect(bed.reports[0]?.result).toHaveProperty(
      "message",
      expect.stringContaining("expected a stream of events, found <html>"),
    );
  });

  it("reports no failure for a coordinator that is away, not even on the last attempt", async () => {
    const segments = (): never => {
      throw new CoppiceError("unavailable", "coordinator:7070 is not there");
    };
    const bed = await openBed({ segments });
    await bed.add(rolloutJob("j", [bed.keep(PROMPT)], 1));
    await bed.idle();
    expect(bed.reports).toEqual([]);
    expect(bed.worker.metrics().retries).toBeGreaterThan(1);
  });

  it("does not retry what retrying cannot mend, nor let it cost the siblings", async () => {
    const bed = await openBed({ concurrency: 1 });
    const body = JSON.stringify({
      error: { message: "This model's maximum context length is 4096 tokens", code: 400 },
    });
    bed.server.misbehave({ kind: "status", status: 400, body }, 1);
    await bed.add(rolloutJob("j", [bed.keep(PROMPT)], 2));
    await bed.idle();
    expect(bed.reports.map((report) => report.result.kind).toSorted()).toEqual(["failure", "rollout"]);
    expect(bed.reports.find((report) => report.result.kind === "failure")).toMatchObject({
      attempt: 1,
      result: { reason: "context_overflow" },
    });
  });

  it("waits for a host that goes down, gives no job back to its lane, and goes on when it is back", async () => {
    const bed = await openBed();
    bed.server.setUp(false);
    const root = bed.keep(PROMPT);
    await bed.add(...Array.from({ length: 30 }, (_, n) => rolloutJob(`j${n}`, [root], 1)));
    await expect.poll(() => bed.worker.metrics().hostUp).toBe(0);
    expect(bed.events).toContain("host_down");
    expect(bed.worker.metrics().jobsInHand).toBe(6);
    expect(bed.reports).toEqual([]);
    bed.server.setUp(true);
    await bed.idle();
    expect(bed.reports).toHaveLength(30);
    expect(bed.reports.every((report) => report.result.kind === "rollout")).toBe(true);
    // Those that it held were begun again, and no lane delivered any of them twice.
    expect(bed.reports.filter(({ attempt }) => attempt === 2)).toHaveLength(6);
    expect(bed.reports.filter(({ attempt }) => attempt === 1)).toHaveLength(24);
    expect(bed.worker.metrics().retries).toBe(0);
    expect(bed.events).toContain("host_up");
  });

  it("leaves when its host stays down, and reports nothing of what it held", async () => {
    const bed = await openBed({ limits: { downMaxMs: 30 } });
    bed.server.setUp(false);
    await bed.add(rolloutJob("j", [bed.keep(PROMPT)], 2));
    expect(await bed.worker.ended).toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("the host was down for"),
    });
    expect(bed.left).toEqual(["w1"]);
    expect(bed.reports).toEqual([]);
    expect(bed.events).toContain("host_lost");
  });

  it("reports nothing of a job that was taken from it, and stops it on the host", async () => {
    const bed = await openBed();
    await bed.add(rolloutJob("j", [bed.keep(HOLD)], 2));
    await expect.poll(() => bed.server.open()).toBe(2);
    await bed.lanes.lane(LANE).evacuate();
    await expect.poll(() => bed.server.aborted()).toBe(2);
    await expect.poll(() => bed.worker.metrics().jobsInHand).toBe(0);
    expect(bed.reports).toEqual([]);
  });

  it("does not start on a host that is not there, and says why", async () => {
    const lanes = createMemoryLanes({ clock: systemClock, random: createRandom(2) });
    const driver = createOpenaiDriver({
      url: "http://127.0.0.1:1",
      model: null,
      apiKey: null,
      concurrency: 1,
      clock: systemClock,
      random: createRandom(1),
    });
    // The link is never used: the probe comes first.
    const link = createLocalLink({} as WorkerDesk, { clock: systemClock, random: createRandom(3) });
    const start = startRolloutWorker({ id: "w", hostId: "h", driver, lanes, link, clock: systemClock });
    await expect(start).rejects.toThrow(
      /found no connection \(ECONNREFUSED.*from http:\/\/127\.0\.0\.1:1\/health/,
    );
  });

  it("waits at the start for a host that is loading, where it may", async () => {
    let refusals = 3;
    const bed = await openBed({
      limits: { startWaitMs: 10_000 },
      wrap: (driver) => ({
        ...driver,
        async probe(signal) {
          refusals -= 1;
          if (refusals >= 0) throw new CoppiceError("unavailable", "loading");
          return driver.probe(signal);
        },
      }),
    });
    expect(bed.events.filter((event) => event === "host_not_up_yet")).toHaveLength(3);
  });
});

describe("rollout worker: leaving", () => {
  it("finishes what it holds, takes no more, and says goodbye", async () => {
    const bed = await openBed({ concurrency: 2 });
    const root = bed.keep(PROMPT);
    await bed.add(...Array.from({ length: 12 }, (_, n) => rolloutJob(`j${n}`, [root], 1)));
    await expect.poll(() => bed.worker.metrics().jobsInHand).toBeGreaterThan(0);
    await bed.worker.drain(10_000);
    expect(await bed.worker.ended).toBeNull();
    const { waiting } = await bed.lanes.lane(LANE).depth();
    expect(bed.reports.length + waiting).toBe(12);
    expect(bed.left).toEqual(["w1"]);
  });

  it("gives back what it cannot finish within its grace, and reports nothing of it", async () => {
    const bed = await openBed();
    await bed.add(rolloutJob("j", [bed.keep(HOLD)], 1));
    await expect.poll(() => bed.server.open()).toBe(1);
    await bed.worker.drain(0);
    await expect.poll(() => bed.server.aborted()).toBe(1);
    expect(bed.reports).toEqual([]);
    expect(await bed.lanes.lane(LANE).depth()).toMatchObject({ waiting: 1 });
  });
});
