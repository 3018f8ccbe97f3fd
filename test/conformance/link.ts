/** What every link promises, whatever carries it. Called by test/link/{local,grpc}-link.test.ts. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { Report, Segment, SegmentId } from "../../services/queue/job.ts";
import type {
  CoordinatorLink,
  HostSignals,
  Registration,
  Withdrawal,
  WorkerDesk,
  WorkerFacts,
} from "../../services/link/link.ts";

/** A desk in memory that records what it was told; `accept` waits while it is held. */
export class TestDesk implements WorkerDesk {
  readonly accepted: Report[] = [];
  readonly events: string[] = [];
  readonly held = new Map<SegmentId, string>();
  readonly tokens = new Map<SegmentId, readonly number[]>();
  heardCount = 0;
  leaseMs = 10_000;
  /** Called before a report is accepted; may wait or throw. */
  beforeAccept: (report: Report) => Promise<void> | void = () => {};
  readonly lines = new Map<string, (withdrawal: Withdrawal) => void>();

  register(facts: WorkerFacts): Registration {
    this.events.push(`register ${facts.id}`);
    this.facts = facts;
    const lanes =
      facts.offers.kind === "rollout"
        ? [`host-${facts.offers.host.id}`]
        : facts.offers.verifiers.map((kind) => `verify-${kind}`);
    return { lanes, leaseMs: this.leaseMs };
  }
  facts: WorkerFacts | null = null;

  connected(workerId: string, withdraw: (withdrawal: Withdrawal) => void): () => void {
    this.events.push(`connected ${workerId}`);
    this.lines.set(workerId, withdraw);
    return () => {
      this.events.push(`lost ${workerId}`);
      if (this.lines.get(workerId) === withdraw) this.lines.delete(workerId);
    };
  }

  heard(): void {
    this.heardCount += 1;
  }

  readonly signals: HostSignals[] = [];
  signalled(workerId: string, signals: HostSignals): void {
    this.events.push(`signalled ${workerId}`);
    this.signals.push(signals);
  }

  async accept(report: Report): Promise<void> {
    await this.beforeAccept(report);
    this.accepted.push(report);
  }

  segments(ids: readonly SegmentId[]): readonly Segment[] {
    return ids.map((id) => {
      const text = this.held.get(id);
      if (text === undefined) throw new CoppiceError("not_found", `segment ${id} is not held`);
      return this.tokens.has(id) ? { id, text, tokens: this.tokens.get(id) ?? [] } : { id, text };
    });
  }

  left(workerId: string): void {
    this.events.push(`left ${workerId}`);
  }
}

/** A desk, and links to it. */
export interface LinkSite {
  readonly desk: TestDesk;
  createLink(): CoordinatorLink;
  close(): Promise<void>;
}

export const ROLLOUT_WORKER: WorkerFacts = {
  id: "worker-1",
  offers: {
    kind: "rollout",
    host: {
      id: "host-a",
      engine: "replay",
      model: "*",
      concurrency: 8,
      kvCapacityTokens: null,
      contextTokens: 4096,
      reportsCachedTokens: false,
      concurrencyMax: 64,
      blockTokens: 16,
      sharesColdPrefixes: true,
      stepFloorMs: 6.75,
      can: ["score", "tokens"],
    },
  },
};

export const VERIFICATION_WORKER: WorkerFacts = {
  id: "worker-2",
  offers: { kind: "verification", verifiers: ["game24", "exact"], concurrency: 4 },
};

export function rolloutReport(ask: string, text = "10 - 4 = 6"): Report {
  return {
    sweep: "sweep-1",
    task: "best-of-n/p1",
    ask,
    job: `job-${ask}`,
    attempt: 1,
    worker: "worker-1",
    host: "host-a",
    result: { kind: "rollout", text, finishReason: "stop", stopString: "\n\n", meanLogprob: -0.25 },
    usage: { promptTokens: 31, cachedTokens: null, completionTokens: 0 },
    startedMs: 1_700_000_000_000.5,
    firstTokenMs: 1_700_000_000_100,
    endedMs: 1_700_000_000_900,
  };
}

const EVERY_RESULT: readonly Report["result"][] = [
  { kind: "rollout", text: "", finishReason: "length", stopString: null, meanLogprob: null },
  { kind: "rollout", text: "é 漢字 \u0000 \u{1f333}", finishReason: "stop", stopString: "", meanLogprob: 0 },
  {
    kind: "rollout",
    text: "10 -",
    finishReason: "length",
    stopString: null,
    meanLogprob: -1.5,
    tokens: [0, 11, 0xffff_ffff],
  },
  { kind: "rollout", text: "", finishReason: "stop", stopString: null, meanLogprob: null, tokens: [] },
  { kind: "verdict", verdict: "correct", score: 1, answer: "24", reason: null },
  { kind: "verdict", verdict: "incorrect", score: 0, answer: "", reason: "value 23" },
  { kind: "verdict", verdict: "undecided", score: null, answer: null, reason: "no expression" },
  { kind: "cancelled" },
  { kind: "failure", reason: "no_record", message: "no record of sample 3" },
];

export function linkConformance(name: string, open: () => Promise<LinkSite>): void {
  describe(`${name} keeps the promises of a link`, () => {
    let site: LinkSite;
    let link: CoordinatorLink;
    beforeEach(async () => {
      site = await open();
      link = site.createLink();
    });
    afterEach(async () => {
      await link.close();
      await site.close();
    });

    it("registers what the worker offers and returns its lanes and its lease", async () => {
      await expect(link.connect(ROLLOUT_WORKER)).resolves.toEqual({
        lanes: ["host-host-a"],
        leaseMs: 10_000,
      });
      expect(site.desk.facts).toEqual(ROLLOUT_WORKER);
      expect(site.desk.events).toEqual(["register worker-1", "connected worker-1"]);
      const other = site.createLink();
      await expect(other.connect(VERIFICATION_WORKER)).resolves.toEqual({
        lanes: ["verify-game24", "verify-exact"],
        leaseMs: 10_000,
      });
      expect(site.desk.facts).toEqual(VERIFICATION_WORKER);
      await other.close();
    });

    it("resolves a report only after the desk made it durable", async () => {
      await link.connect(ROLLOUT_WORKER);
      const gate = Promise.withResolvers<void>();
      site.desk.beforeAccept = () => gate.promise;
      let isResolved = false;
      const reported = link.report(rolloutReport("0")).then(() => (isResolved = true));
      // A call that goes there and back on the same link shows that the report had time to arrive.
      site.desk.held.set("a".repeat(32), "text");
      await link.segments(["a".repeat(32)]);
      expect(isResolved).toBe(false);
      gate.resolve();
      await reported;
      expect(site.desk.accepted).toEqual([rolloutReport("0")]);
    });

    it("carries every kind of result unchanged, unknown numbers included", async () => {
      await link.connect(ROLLOUT_WORKER);
      const reports = EVERY_RESULT.map((result, index) => ({
        ...rolloutReport(String(index)),
        host: index % 2 === 0 ? null : "host-a",
        result,
      }));
      await Promise.all(reports.map((report) => link.report(report)));
      expect(site.desk.accepted).toEqual(reports);
    });

    it("passes duplicates on: telling them apart is the desk's work", async () => {
      await link.connect(ROLLOUT_WORKER);
      await Promise.all([link.report(rolloutReport("0")), link.report(rolloutReport("0"))]);
      expect(site.desk.accepted).toHaveLength(2);
    });

    it("brings withdrawals to the worker's latest listener", async () => {
      const withdrawn: Withdrawal[] = [];
      link.onWithdraw(() => expect.unreachable("a listener that was replaced"));
      link.onWithdraw((withdrawal) => withdrawn.push(withdrawal));
      await link.connect(ROLLOUT_WORKER);
      site.desk.lines.get("worker-1")?.({ job: "job-1", asks: ["0", "1"] });
      site.desk.lines.get("worker-1")?.({ job: "job-2", asks: ["2"] });
      await vi.waitFor(
        () =>
          expect(withdrawn).toEqual([
            { job: "job-1", asks: ["0", "1"] },
            { job: "job-2", asks: ["2"] },
          ]),
        10_000,
      );
    });

    it("tells the desk how the host is doing, unknown numbers included", async () => {
      await link.connect(ROLLOUT_WORKER);
      const quiet = {
        isUp: true,
        running: null,
        waiting: null,
        kvUsage: null,
        preemptions: null,
        cacheLosses: 0,
      };
      link.signal({ concurrency: 1, ...quiet });
      const busy = { isUp: false, running: 40, waiting: 2, kvUsage: 0.75, preemptions: 3, cacheLosses: 1 };
      link.signal({ concurrency: 48, ...busy });
      await vi.waitFor(() => expect(site.desk.signals.at(-1)).toEqual({ concurrency: 48, ...busy }));
    });

    it("fetches segments in the order asked for", async () => {
      await link.connect(ROLLOUT_WORKER);
      const ids = Array.from({ length: 3_000 }, (_, index) => index.toString(16).padStart(32, "0"));
      for (const id of ids) site.desk.held.set(id, `text of ${id}`);
      const wanted = ids.toReversed();
      const found = await link.segments(wanted);
      expect(found.map(({ id }) => id)).toEqual(wanted);
      expect(found[0]).toEqual({ id: wanted[0], text: `text of ${wanted[0]}` });
      await expect(link.segments([])).resolves.toEqual([]);
    });

    it("carries the token ids of a segment that has some", async () => {
      await link.connect(ROLLOUT_WORKER);
      const [sampled, written] = ["a".repeat(32), "b".repeat(32)];
      site.desk.held.set(sampled, "10 -").set(written, "?");
      site.desk.tokens.set(sampled, [7, 0, 4_000_000_000]);
      await expect(link.segments([sampled, written])).resolves.toEqual([
        { id: sampled, text: "10 -", tokens: [7, 0, 4_000_000_000] },
        { id: written, text: "?" },
      ]);
    });

    it("rejects with not_found naming the first segment that is not held", async () => {
      await link.connect(ROLLOUT_WORKER);
      site.desk.held.set("a".repeat(32), "text");
      const wanted = ["a".repeat(32), "b".repeat(32), "c".repeat(32)];
      await expect(link.segments(wanted)).rejects.toMatchObject({
        code: "not_found",
        message: expect.stringContaining("b".repeat(32)),
      });
    });

    it("rejects a report that the desk refuses for good, and no other", async () => {
      await link.connect(ROLLOUT_WORKER);
      site.desk.beforeAccept = (report) => {
        if (report.ask === "1") throw new CoppiceError("invalid_argument", "ask 1 is wrong");
      };
      const [first, second, third] = await Promise.allSettled(
        ["0", "1", "2"].map((ask) => link.report(rolloutReport(ask))),
      );
      expect(first?.status).toBe("fulfilled");
      expect(second).toMatchObject({
        status: "rejected",
        reason: { code: "invalid_argument", message: "ask 1 is wrong" },
      });
      expect(third?.status).toBe("fulfilled");
    });

    it("sends a report again that the desk could not take just now", async () => {
      await link.connect(ROLLOUT_WORKER);
      let tries = 0;
      site.desk.beforeAccept = () => {
        tries += 1;
        if (tries < 3) throw new CoppiceError("unavailable", "the disk is busy");
      };
      await link.report(rolloutReport("0"));
      expect(tries).toBe(3);
      expect(site.desk.accepted).toHaveLength(1);
    });

    it("rejects what is unacknowledged when it closes, and tells the desk that the worker left", async () => {
      await link.connect(ROLLOUT_WORKER);
      const arrived = Promise.withResolvers<void>();
      site.desk.beforeAccept = () => {
        arrived.resolve();
        return new Promise(() => {});
      };
      const reported = link.report(rolloutReport("0"));
      const rejected = expect(reported).rejects.toMatchObject({
        code: "cancelled",
        message: expect.stringContaining("ask 0"),
      });
      await arrived.promise;
      await link.close();
      await rejected;
      await expect(link.report(rolloutReport("1"))).rejects.toMatchObject({ code: "cancelled" });
      await expect(link.segments(["a".repeat(32)])).rejects.toMatchObject({ code: "cancelled" });
      await vi.waitFor(
        () =>
          expect(site.desk.events).toEqual([
            "register worker-1",
            "connected worker-1",
            "lost worker-1",
            "left worker-1",
          ]),
        10_000,
      );
    });

    it("is heard by the desk while it has nothing to say", async () => {
      site.desk.leaseMs = 150;
      await link.connect(ROLLOUT_WORKER);
      const before = site.desk.heardCount;
      await vi.waitFor(() => expect(site.desk.heardCount).toBeGreaterThan(before + 4), 10_000);
      expect(site.desk.events).not.toContain("lost worker-1");
    });

    it("stops connecting when its signal aborts", async () => {
      site.desk.register = () => {
        throw new CoppiceError("unavailable", "still starting");
      };
      const stop = new AbortController();
      const connecting = link.connect(ROLLOUT_WORKER, stop.signal);
      stop.abort(new CoppiceError("cancelled", "stopped by the test"));
      await expect(connecting).rejects.toMatchObject({ message: "stopped by the test" });
    });
  });
}
