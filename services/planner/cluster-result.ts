/** What a run of the virtual cluster came to. */
import type { EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { type Bounds, LowerBound } from "./lower-bound.ts";
import type { SyntheticTask, VirtualRequest } from "./synthetic-task.ts";
import type { VirtualHost } from "./virtual-host.ts";

export interface Quantiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

export interface ClusterResult {
  readonly tasks: number;
  /** Asks that hosts answered. */
  readonly requests: number;
  readonly makespanMs: number;
  /** Prompt tokens that hosts computed, and those that they had. */
  readonly prefillTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly preemptions: number;
  /** From a task's first request to a host until it settled, and from the start of the run. Milliseconds. */
  readonly taskMs: Quantiles;
  readonly settledMs: Quantiles;
  /** The busiest host's prefill and completion tokens over the mean. */
  readonly loadMaxToMean: number;
  /** Sequences that a host ran, over the whole time; and the share of the time in which it ran any. */
  readonly runningMean: number;
  readonly busyShare: number;
  /**
   * Share of the KV cache that running sequences held, over the whole time and all hosts, and the most of any
   * host.
   */
  readonly kvUsageMean: number;
  readonly kvUsageMax: number;
  /**
   * Tasks that were open (their first request sent, not settled) per host: at most, and over the whole time.
   */
  readonly openMax: number;
  readonly openMean: number;
  readonly bounds: Bounds;
}

interface TaskTimes {
  firstSentMs: number | null;
}

/** Keeps what the result needs while a run goes on. */
export class ResultBook {
  readonly #bound: LowerBound;
  readonly #open = new Map<SyntheticTask, TaskTimes>();
  readonly #taskMs: number[] = [];
  readonly #settledMs: number[] = [];
  readonly #hosts: number;
  #requests = 0;
  #rootTokens = 0;
  #trees = 0;
  #treesMax = 0;
  #treeMs = 0;
  #sinceMs = 0;

  constructor(profile: EngineProfile, hosts: number) {
    this.#bound = new LowerBound(profile);
    this.#hosts = hosts;
  }

  leastMs(request: VirtualRequest): number {
    return this.#bound.leastMs(request);
  }

  opened(task: SyntheticTask): void {
    this.#open.set(task, { firstSentMs: null });
    this.#rootTokens = task.shape.rootTokens;
  }

  sent({ task }: VirtualRequest, nowMs: number): void {
    const times = this.#open.get(task);
    if (times === undefined || times.firstSentMs !== null) return;
    times.firstSentMs = nowMs;
    this.#count(1, nowMs);
  }

  answered(request: VirtualRequest): void {
    this.#bound.chain(request.chainMs);
    if (request.elsewhereMs !== null) return;
    this.#requests += 1;
    this.#bound.answered(request);
  }

  settled(task: SyntheticTask, nowMs: number): void {
    const from = this.#open.get(task)?.firstSentMs ?? null;
    this.#open.delete(task);
    this.#taskMs.push(nowMs - (from ?? nowMs));
    this.#settledMs.push(nowMs);
    if (from !== null) this.#count(-1, nowMs);
  }

  result(hosts: readonly VirtualHost[], nowMs: number): ClusterResult {
    const signals = hosts.map((host) => host.signals);
    const sum = (pick: (signal: VirtualHost["signals"]) => number): number =>
      signals.reduce((total, signal) => total + pick(signal), 0);
    const loads = signals.map((signal) => signal.promptTokensComputed + signal.completionTokens);
    const meanLoad = loads.reduce((total, load) => total + load, 0) / loads.length;
    const hostMs = Math.max(nowMs, 1e-9) * hosts.length;
    const tasks = this.#settledMs.length;
    return {
      tasks,
      requests: this.#requests,
      makespanMs: Math.max(0, this.#settledMs.at(-1) ?? 0),
      prefillTokens: sum((signal) => signal.promptTokensComputed),
      cachedTokens: sum((signal) => signal.promptTokensCached),
      completionTokens: sum((signal) => signal.completionTokens),
      preemptions: sum((signal) => signal.preemptions),
      taskMs: quantilesOf(this.#taskMs),
      settledMs: quantilesOf(this.#settledMs),
      loadMaxToMean: meanLoad === 0 ? 1 : loads.reduce((a, b) => Math.max(a, b), 0) / meanLoad,
      runningMean: hosts.reduce((total, { past }) => total + past.sequenceMs, 0) / hostMs,
      busyShare: hosts.reduce((total, { past }) => total + past.busyMs, 0) / hostMs,
      kvUsageMean: hosts.reduce((total, { past }) => total + past.kvUsageMs, 0) / hostMs,
      kvUsageMax: hosts.reduce((most, { past }) => Math.max(most, past.kvUsageMax), 0),
      openMax: this.#treesMax / this.#hosts,
      openMean: this.#treeMs / hostMs,
      bounds: this.#bound.bounds({
        rootTokens: this.#rootTokens,
        hosts: this.#hosts,
        hostsWorking: Math.max(1, Math.min(this.#hosts, tasks)),
      }),
    };
  }

  #count(change: 1 | -1, nowMs: number): void {
    this.#treeMs += this.#trees * (nowMs - this.#sinceMs);
    this.#sinceMs = nowMs;
    this.#trees += change;
    this.#treesMax = Math.max(this.#treesMax, this.#trees);
  }
}

/** By nearest rank; zeros where there is nothing. */
export function quantilesOf(values: readonly number[]): Quantiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}
