/** A rollout worker on a seeded host, with real lanes and a real link under a virtual clock; the desk is the test's. */
import { expect } from "vitest";
import { segmentId, SegmentStore } from "../../services/coordinator/segment-store.ts";
import type { HostSignals, Withdrawal, WorkerDesk } from "../../services/link/link.ts";
import { createLocalLink } from "../../services/link/local-link.ts";
import type { Job, Report, RolloutJob, SegmentId } from "../../services/queue/job.ts";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { SampleRequest } from "../../workers/rollout/driver.ts";
import {
  startRolloutWorker,
  type RolloutWorker,
  type RolloutWorkerLimits,
} from "../../workers/rollout/rollout-worker.ts";
import { createSeededDriver, type SeededDriverOptions } from "./seeded-driver.ts";
import { createVirtualClock } from "./virtual-clock.ts";

const LANE = "host-h1";

/** A request that the host holds back at some point until it is let go. */
export interface Held {
  readonly request: SampleRequest;
  /** Ends what holds it: with an error, or so that it goes on. */
  letGo(error?: Error): void;
}

export interface HostBed {
  readonly worker: RolloutWorker;
  readonly reports: Report[];
  readonly signalled: HostSignals[];
  /** Requests that the host has and has no first token of yet, when `holds` says so; oldest first. */
  readonly prefilling: Held[];
  /** Requests that have their first token and are held there. */
  readonly decoding: Held[];
  keep(text: string, parent?: SegmentId | null): SegmentId;
  add(...jobs: readonly Job[]): Promise<void>;
  withdraw(withdrawal: Withdrawal): void;
  /** Moves the clock on second by second, with everything that follows from it. */
  seconds(count: number): Promise<void>;
  /** Resolves when the lane holds nothing more. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

export interface HostBedOptions extends SeededDriverOptions {
  readonly holds?: readonly ("prefill" | "decode")[];
  readonly limits?: Partial<RolloutWorkerLimits>;
}

export async function openHostBed(options: HostBedOptions = {}): Promise<HostBed> {
  const clock = createVirtualClock();
  const prefilling: Held[] = [];
  const decoding: Held[] = [];
  const holds = options.holds ?? [];
  const driver = createSeededDriver({
    ...options,
    onSample: async (request, signal) => {
      await options.onSample?.(request, signal);
      if (holds.includes("prefill")) await hold(prefilling, request, signal);
    },
    onDecode: async (request, signal) => {
      await options.onDecode?.(request, signal);
      if (holds.includes("decode")) await hold(decoding, request, signal);
    },
  });
  const lanes = createMemoryLanes({ clock, random: createRandom(2) });
  const store = new SegmentStore();
  const reports: Report[] = [];
  const signalled: HostSignals[] = [];
  const line: { withdraw: (withdrawal: Withdrawal) => void } = { withdraw: () => undefined };
  const desk: WorkerDesk = {
    register: () => ({ lanes: [LANE], leaseMs: 60_000 }),
    connected(_, withdraw) {
      line.withdraw = withdraw;
      return () => undefined;
    },
    heard: () => undefined,
    signalled: (_, signals) => void signalled.push(signals),
    async accept(report) {
      reports.push(report);
    },
    segments: (ids) => store.get(ids),
    left: () => undefined,
  };
  const worker = await startRolloutWorker({
    id: "w1",
    hostId: "h1",
    driver,
    lanes,
    clock,
    link: createLocalLink(desk, { clock, random: createRandom(3) }),
    limits: options.limits ?? {},
  });
  return {
    worker,
    reports,
    signalled,
    prefilling,
    decoding,
    keep(text, parent = null) {
      const id = segmentId(parent, { text });
      store.retain({ id, text });
      return id;
    },
    add: async (...jobs) => {
      await lanes.lane(LANE).add(jobs);
      await settled();
    },
    withdraw: (withdrawal) => line.withdraw(withdrawal),
    async seconds(count) {
      for (let second = 0; second < count; second += 1) {
        clock.advance(1_000);
        await settled();
      }
    },
    idle: () => expect.poll(() => lanes.lane(LANE).depth()).toEqual({ waiting: 0, running: 0 }),
    async close() {
      await worker.drain(0);
      await lanes.close();
    },
  };
}

/** Everything that can happen without time passing has happened. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
}

/** Sibling asks of one prefix. */
export function siblings(id: string, prefix: readonly SegmentId[], asks: number): RolloutJob {
  return {
    kind: "rollout",
    id,
    sweep: "s",
    task: "t",
    problem: "p",
    prefix,
    depth: prefix.length - 1,
    sampling: { temperature: 0.8, topP: 1, topK: 0, minP: 0, maxTokens: 8, stop: [] },
    asks: Array.from({ length: asks }, (_, sample) => ({ id: `${id}.${sample}`, sample, seed: 50 + sample })),
  };
}

function hold(held: Held[], request: SampleRequest, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => void held.splice(held.indexOf(one), 1);
    const onAbort = (): void => {
      end();
      reject(signal.reason);
    };
    const one: Held = {
      request,
      letGo(error) {
        signal.removeEventListener("abort", onAbort);
        end();
        if (error === undefined) resolve();
        else reject(error);
      },
    };
    held.push(one);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
