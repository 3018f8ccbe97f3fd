/**
 * The dispatcher: hosts and verifiers, their lanes, and the jobs in them. Lanes are filled just ahead of need, so a decision
 * is late and the store stays small (I6); the lane owns delivery and retries, the scheduler what goes to which host. Shared by all
 * sweeps of a coordinator.
 *
 * Invariants: (1) a job is in `#jobs` from `dispatch` until each of its asks is settled or it is given back to its owner;
 * (2) a job that its lane has lost (a store that came back empty) is added again by the rescuer, at most
 * `rescuesMax` times; (3) when a host is gone, its lane is emptied and its jobs go back to their owners.
 */
import type { Clock, Timer } from "../../runtime/clock.ts";
import { messageOf } from "../../runtime/errors.ts";
import type { Log } from "../../runtime/log.ts";
import type { HostSignals, WorkerFacts } from "../../link/link.ts";
import type { Job } from "../../queue/job.ts";
import type { Lane, Lanes } from "../../queue/lanes.ts";
import { GPUS_DEFAULT, GpuMeter } from "../gpu-meter.ts";
import { LaneFeeder, type FeederLimits } from "./lane-feeder.ts";
import type { PathPiece } from "./prefix-tree.ts";
import { DEFAULT_SCHEDULER_LIMITS, Scheduler, type SchedulerLimits } from "./scheduler.ts";
import type { LeafOutcome } from "./tree.ts";

export interface DispatchLimits extends FeederLimits, SchedulerLimits {
  /** Asks in the lane of one kind of verifier, as a multiple of its workers' concurrency. */
  readonly verifierDepthFactor: number;
  /** How often lanes are asked for jobs that they lost, and how old a job must be to be asked for. */
  readonly rescueMs: number;
  /** How often one job is added again before its asks are lost. */
  readonly rescuesMax: number;
  /** A host that does not answer for so long is drained: what it holds goes elsewhere, and its trees with it. */
  readonly downMs: number;
  /** Worker is forgotten when it was not heard from for so long. */
  readonly leaseMs: number;
}

export const DEFAULT_DISPATCH_LIMITS: DispatchLimits = {
  feedBatchMax: 256,
  feedBackoffMs: 200,
  feedBackoffMaxMs: 5_000,
  ...DEFAULT_SCHEDULER_LIMITS,
  verifierDepthFactor: 8,
  rescueMs: 5_000,
  rescuesMax: 8,
  downMs: 5_000,
  leaseMs: 15_000,
};

/** Whoever dispatched a job. */
export interface JobOwner {
  /** These asks of the job are in no lane any more: ask again, elsewhere. `isLost`: nobody knows what became of its host or worker. */
  returned(job: Job, asks: readonly string[], isLost: boolean): void;
  /** The lane lost the job more often than anybody would believe. */
  givenUp(job: Job, asks: readonly string[], why: string): void;
}

interface JobInLane {
  readonly job: Job;
  readonly lane: LaneState;
  readonly owner: JobOwner;
  readonly outstanding: Set<string>;
  addedMs: number;
  rescues: number;
}

/** A lane and who serves it. */
interface LaneState {
  readonly name: string;
  readonly lane: Lane;
  readonly feeder: LaneFeeder;
  /** Of the lane of a host: its id. */
  readonly host: string | null;
  /** Workers by id, with how many asks each handles at once. */
  readonly workers: Map<string, number>;
  readonly jobs: Set<string>;
  outstanding: number;
  isReady: boolean;
  /** Runs while its host does not answer. */
  down: Timer | null;
}

export class Dispatcher {
  readonly scheduler: Scheduler;
  readonly gpus: GpuMeter;
  readonly #lanes: Lanes;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #limits: DispatchLimits;
  readonly #states = new Map<string, LaneState>();
  readonly #jobs = new Map<string, JobInLane>();
  /** Called whenever there may be more room. */
  #onRoom: () => void = () => undefined;
  readonly #onTrouble: (message: string) => void;
  #rescue: Timer | null = null;
  #isClosed = false;

  constructor(options: {
    readonly lanes: Lanes;
    readonly clock: Clock;
    readonly log: Log;
    readonly limits: DispatchLimits;
    /** Told what delays every sweep: a store that is away, a host that is gone. */
    readonly onTrouble: (message: string) => void;
  }) {
    this.#lanes = options.lanes;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#limits = options.limits;
    this.scheduler = new Scheduler(options.limits);
    this.gpus = new GpuMeter(options.clock);
    this.#onTrouble = options.onTrouble;
    this.#scheduleRescue();
  }

  onRoom(listener: () => void): void {
    this.#onRoom = listener;
  }

  /** Whether a worker serves this lane. */
  has(laneName: string): boolean {
    return (this.#states.get(laneName)?.workers.size ?? 0) > 0;
  }

  /** A worker offers itself. Again is safe. @returns The lanes that it shall consume. */
  join(worker: WorkerFacts): readonly string[] {
    if (worker.offers.kind === "verification") {
      const { verifiers, concurrency } = worker.offers;
      return verifiers.map((kind) => this.#joinLane(verifierLane(kind), worker.id, concurrency, null));
    }
    const { host } = worker.offers;
    this.scheduler.join(host);
    this.gpus.join(host.id, host.gpus ?? GPUS_DEFAULT);
    return [this.#joinLane(hostLane(host.id), worker.id, host.concurrency, host.id)];
  }

  /** How a worker's host is doing. */
  signalled(workerId: string, signals: HostSignals): void {
    for (const state of this.#states.values()) {
      if (state.host === null || !state.workers.has(workerId)) continue;
      const wasUp = this.scheduler.host(state.host)?.isUp ?? true;
      this.scheduler.signalled(state.host, signals);
      if (wasUp !== signals.isUp)
        this.#onTrouble(`host ${state.host} ${signals.isUp ? "answers again" : "does not answer"}`);
      if (signals.isUp) {
        state.down?.cancel();
        state.down = null;
      } else {
        // In a cluster of one process what the host holds may be all that is left to wait for.
        const drain = (): void => this.#drain(state);
        state.down ??= this.#clock.after(this.#limits.downMs, drain, { keepAlive: true });
      }
      this.#onRoom();
    }
  }

  /** A worker is gone. A host without a worker is gone too: its lane is emptied and its jobs go back. @param isLost It said no goodbye. */
  leave(workerId: string, isLost: boolean): void {
    for (const state of this.#states.values()) {
      if (!state.workers.delete(workerId) || state.workers.size > 0 || state.host === null) continue;
      this.#log.warn({ host: state.host, jobs: state.jobs.size }, "host_gone");
      if (state.jobs.size > 0) this.#onTrouble(`host ${state.host} is gone; ${goElsewhere(state.jobs.size)}`);
      state.isReady = false;
      state.down?.cancel();
      this.#states.delete(state.name);
      this.scheduler.leave(state.host);
      this.gpus.leave(state.host);
      state.feeder.clear();
      void state.feeder.close();
      void this.#evacuate(state);
      this.#giveBack(state, isLost);
    }
    this.#onRoom();
  }

  /** A host that does not answer, while its worker is there: what it held goes elsewhere; it is served again once it answers. */
  #drain(state: LaneState): void {
    if (state.host === null || this.#states.get(state.name) !== state) return;
    this.#log.warn({ host: state.host, jobs: state.jobs.size }, "host_drained");
    if (state.jobs.size > 0)
      this.#onTrouble(`host ${state.host} does not answer; ${goElsewhere(state.jobs.size)}`);
    state.isReady = false;
    this.scheduler.drained(state.host);
    state.feeder.clear();
    void this.#makeReady(state);
    this.#giveBack(state, true);
    this.#onRoom();
  }

  /** Asks that may still be put into the lane of a kind of verifier. */
  room(laneName: string): number {
    const state = this.#states.get(laneName);
    if (state === undefined || !state.isReady) return 0;
    const concurrency = [...state.workers.values()].reduce((sum, each) => sum + each, 0);
    return Math.max(0, Math.ceil(concurrency * this.#limits.verifierDepthFactor) - state.outstanding);
  }

  dispatch(laneName: string, job: Job, owner: JobOwner): void {
    const state = this.#states.get(laneName);
    if (state === undefined) throw new Error(`no lane ${laneName}`);
    const outstanding = new Set(job.asks.map((ask) => ask.id));
    this.#jobs.set(job.id, {
      job,
      lane: state,
      owner,
      outstanding,
      addedMs: this.#clock.monotonicMs(),
      rescues: 0,
    });
    state.jobs.add(job.id);
    state.outstanding += outstanding.size;
    state.feeder.push(job);
  }

  /**
   * An ask of this job has its answer, or nobody waits for one any more. Again is safe.
   * @param outcome How it went at its host, where it went well. @param output What the host holds behind its path now.
   */
  settled(
    jobId: string,
    askId: string,
    outcome: LeafOutcome | null = null,
    output: PathPiece | null = null,
  ): void {
    const entry = this.#jobs.get(jobId);
    if (entry === undefined || !entry.outstanding.delete(askId)) return;
    if (entry.lane.host !== null) this.scheduler.settled(leafKey(jobId, askId), outcome, output);
    entry.lane.outstanding -= 1;
    if (entry.outstanding.size > 0) return;
    this.#jobs.delete(jobId);
    entry.lane.jobs.delete(jobId);
  }

  /** Workers that may hold this job: whom to tell of a withdrawal. */
  workersOf(jobId: string): readonly string[] {
    const entry = this.#jobs.get(jobId);
    return entry === undefined ? [] : [...entry.lane.workers.keys()];
  }

  /** Jobs and asks in the lane of a host or kind of verifier, as the coordinator counts them. */
  depths(): readonly {
    readonly lane: string;
    readonly host: string | null;
    readonly jobs: number;
    readonly asks: number;
  }[] {
    return [...this.#states.values()].map((state) => ({
      lane: state.name,
      host: state.host,
      jobs: state.jobs.size,
      asks: state.outstanding,
    }));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#rescue?.cancel();
    for (const state of this.#states.values()) state.down?.cancel();
    await Promise.all([...this.#states.values()].map((state) => state.feeder.close()));
  }

  #joinLane(name: string, workerId: string, concurrency: number, host: string | null): string {
    let state = this.#states.get(name);
    if (state === undefined) {
      const lane = this.#lanes.lane(name);
      const feeder = new LaneFeeder(lane, {
        clock: this.#clock,
        limits: this.#limits,
        onTrouble: (message) => {
          this.#log.warn({ lane: name, message }, "lane_trouble");
          this.#onTrouble(message);
        },
      });
      state = {
        name,
        lane,
        feeder,
        host,
        workers: new Map(),
        jobs: new Set(),
        outstanding: 0,
        isReady: false,
        down: null,
      };
      this.#states.set(name, state);
      void this.#makeReady(state);
    }
    state.workers.set(workerId, concurrency);
    if (state.isReady) this.#onRoom();
    return name;
  }

  /** What an earlier life of the coordinator left in the lane is garbage: the journal knows what is still wanted. */
  async #makeReady(state: LaneState): Promise<void> {
    let backoffMs = this.#limits.feedBackoffMs;
    while (!this.#isClosed && this.#states.get(state.name) === state) {
      try {
        await state.lane.evacuate();
        break;
      } catch (error) {
        this.#log.warn({ lane: state.name, message: messageOf(error) }, "lane_trouble");
        await new Promise<void>((resolve) => this.#clock.after(backoffMs, resolve));
        backoffMs = Math.min(backoffMs * 2, this.#limits.feedBackoffMaxMs);
      }
    }
    if (this.#isClosed || this.#states.get(state.name) !== state) return;
    state.isReady = true;
    if (state.host !== null) this.scheduler.ready(state.host);
    this.#log.info({ lane: state.name }, "lane_ready");
    this.#onRoom();
  }

  async #evacuate(state: LaneState): Promise<void> {
    try {
      await state.lane.evacuate();
    } catch (error) {
      // Harmless: what is left there will be evacuated when the host comes back, and answered asks are ignored (I1).
      this.#log.warn({ lane: state.name, message: messageOf(error) }, "evacuation_failed");
    }
  }

  #giveBack(state: LaneState, isLost: boolean): void {
    for (const id of state.jobs) {
      const entry = this.#jobs.get(id);
      this.#jobs.delete(id);
      if (entry !== undefined) entry.owner.returned(entry.job, [...entry.outstanding], isLost);
    }
    state.jobs.clear();
    state.outstanding = 0;
  }

  #scheduleRescue(): void {
    const rescue = (): void => {
      void this.#rescueAll().finally(() => {
        if (!this.#isClosed) this.#scheduleRescue();
      });
    };
    // In a cluster of one process a job that its lane gave up may be all that is left to wait for.
    this.#rescue = this.#clock.after(this.#limits.rescueMs, rescue, { keepAlive: true });
  }

  /** Asks every lane for the jobs that should be in it, and adds those again that are not. */
  async #rescueAll(): Promise<void> {
    const before = this.#clock.monotonicMs() - this.#limits.rescueMs;
    for (const state of this.#states.values()) {
      const old = [...state.jobs].filter((id) => (this.#jobs.get(id)?.addedMs ?? Infinity) < before);
      if (old.length === 0 || !state.isReady) continue;
      try {
        for (const id of await state.lane.missing(old)) this.#rescueJob(id);
      } catch (error) {
        this.#log.warn({ lane: state.name, message: messageOf(error) }, "lane_trouble");
      }
    }
  }

  #rescueJob(id: string): void {
    const entry = this.#jobs.get(id);
    if (entry === undefined) return;
    entry.rescues += 1;
    entry.addedMs = this.#clock.monotonicMs();
    if (entry.rescues <= this.#limits.rescuesMax) {
      this.#log.warn({ job: id, lane: entry.lane.name, rescues: entry.rescues }, "job_rescued");
      entry.lane.feeder.push(entry.job);
      return;
    }
    const asks = [...entry.outstanding];
    for (const ask of asks) this.settled(id, ask);
    entry.owner.givenUp(entry.job, asks, `its lane ${entry.lane.name} lost it ${entry.rescues} times`);
  }
}

function goElsewhere(jobs: number): string {
  return jobs === 1 ? "1 job goes elsewhere" : `${jobs} jobs go elsewhere`;
}

export function hostLane(hostId: string): string {
  return `host-${hostId}`;
}

/** What the scheduler knows an ask on its way by. */
export function leafKey(jobId: string, askId: string): string {
  return `${jobId}/${askId}`;
}

export function verifierLane(kind: string): string {
  return `verify-${kind}`;
}
