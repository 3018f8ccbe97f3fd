/**
 * The coordinator: the sweeps that it runs, and the desk at which workers report. It owns the dispatcher and the
 * segments; a run owns all that concerns one sweep.
 */
import { basename, join } from "node:path";
import type { Clock, Timer } from "../runtime/clock.ts";
import { type Disk, systemDisk } from "../runtime/disk.ts";
import { CoppiceError } from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";
import type { Registration, Withdrawal, WorkerDesk, WorkerFacts } from "../link/link.ts";
import type { Report } from "../queue/job.ts";
import type { Lanes } from "../queue/lanes.ts";
import type { Coordinator, SweepRun } from "./coordinator-api.ts";
import { DEFAULT_DISPATCH_LIMITS, Dispatcher, type DispatchLimits } from "./scheduler/dispatcher.ts";
import { Journal } from "./journal.ts";
import { createRunDirectory, type ProblemsFile, RUN_FILES } from "./run-directory.ts";
import type { RunLock } from "./run-lock.ts";
import { SegmentStore } from "./segment-store.ts";
import type { Problem, Sweep } from "./sweep.ts";
import { headerOf } from "./past.ts";
import { DEFAULT_RUN_LIMITS, type RunLimits } from "./run-parts.ts";
import { Run } from "./sweep-run.ts";

export interface CoordinatorOptions {
  readonly lanes: Lanes;
  readonly clock: Clock;
  readonly log: Log;
  /** The program's version, for `summary.json`. */
  readonly version: string;
  /** Where run directories are; the system's by default. */
  readonly disk?: Disk;
  readonly lock?: RunLock;
  readonly dispatch?: Partial<DispatchLimits>;
  readonly run?: Partial<RunLimits>;
  /** Told what keeps a run from beginning at once. */
  readonly say?: (line: string) => void;
}

/** The reports that a sweep which this coordinator does not hold would need: none, so they are acknowledged. */
const NOTHING_TO_DO = Promise.resolve();

interface WorkerState {
  readonly facts: WorkerFacts;
  /** Open lines; a worker that reconnects may have two for a moment. */
  readonly lines: Set<(withdrawal: Withdrawal) => void>;
  /** Thirds of the lease without a word of it: counted and not time, since a stall of this process is not its silence. */
  silentThirds: number;
  /** Whether it sends signs of life; a worker in this process does not need to. */
  hasHeartbeat: boolean;
}

export function createCoordinator(options: CoordinatorOptions): Coordinator {
  const { lanes, clock, log, version, lock, disk = systemDisk } = options;
  const limits: DispatchLimits = { ...DEFAULT_DISPATCH_LIMITS, ...options.dispatch };
  const runLimits: RunLimits = { ...DEFAULT_RUN_LIMITS, ...options.run };
  const segments = new SegmentStore();
  const workers = new Map<string, WorkerState>();
  const runs = new Map<string, Run>();
  const onTrouble = (message: string): void => {
    for (const run of runs.values()) run.notice(message);
  };
  const dispatcher = new Dispatcher({ lanes, clock, log, limits, onTrouble });
  let isClosed = false;
  let leaseTimer: Timer = clock.after(limits.leaseMs / 3, expireLeases);

  dispatcher.onRoom(() => {
    for (const run of runs.values()) run.pump();
  });

  function expireLeases(): void {
    for (const [id, worker] of workers) {
      // A silent line is ended by the link itself, after a lease and a third: it must be gone before its worker is
      // forgotten, so that one that wakes up again finds it closed and registers anew.
      worker.silentThirds += 1;
      const patience = worker.lines.size === 0 ? 3 : worker.hasHeartbeat ? 6 : Infinity;
      if (worker.silentThirds <= patience) continue;
      log.warn({ worker: id, lease_ms: limits.leaseMs }, "worker_lost");
      forget(id, true);
    }
    if (!isClosed) leaseTimer = clock.after(limits.leaseMs / 3, expireLeases);
  }

  function forget(workerId: string, isLost: boolean): void {
    workers.delete(workerId);
    dispatcher.leave(workerId, isLost);
  }

  function withdraw(job: string, asks: readonly string[]): void {
    for (const id of dispatcher.workersOf(job)) {
      for (const send of workers.get(id)?.lines ?? []) send({ job, asks });
    }
  }

  const desk: WorkerDesk = {
    register(facts): Registration {
      const known = workers.get(facts.id);
      const lines = known?.lines ?? new Set();
      workers.set(facts.id, { facts, lines, silentThirds: 0, hasHeartbeat: known?.hasHeartbeat ?? false });
      if (known === undefined) log.info({ worker: facts.id, offers: facts.offers }, "worker_joined");
      return { lanes: dispatcher.join(facts), leaseMs: limits.leaseMs };
    },
    connected(workerId, send) {
      const worker = workers.get(workerId);
      if (worker === undefined) {
        throw new CoppiceError(
          "failed_precondition",
          `worker ${workerId}: expected it to register before it opens its line`,
        );
      }
      worker.lines.add(send);
      worker.silentThirds = 0;
      return () => {
        worker.lines.delete(send);
        worker.silentThirds = 0;
      };
    },
    heard(workerId) {
      const worker = workers.get(workerId);
      if (worker === undefined) return;
      worker.silentThirds = 0;
      worker.hasHeartbeat = true;
    },
    signalled: (workerId, signals) => dispatcher.signalled(workerId, signals),
    accept(report: Report) {
      return runs.get(report.sweep)?.accept(report) ?? NOTHING_TO_DO;
    },
    segments: (ids) => segments.get(ids),
    left(workerId) {
      log.info({ worker: workerId }, "worker_left");
      forget(workerId, false);
    },
  };

  async function open(sweep: Sweep, resolved?: string): Promise<SweepRun> {
    const id = basename(sweep.output);
    const known = runs.get(id);
    if (known !== undefined && ["running", "paused"].includes(known.status().state)) {
      throw new CoppiceError("already_exists", `sweep ${id}: it already runs here`);
    }
    const { say } = options;
    const parts = { dispatcher, segments, clock, disk, lock, log, limits: runLimits, version, withdraw, say };
    const run = await Run.open(id, sweep, parts, resolved);
    runs.set(id, run);
    return run;
  }

  return {
    desk,
    async submit(sweep: Sweep, problems: Iterable<Problem> | AsyncIterable<Problem>, raw) {
      const begin = async (path: string, file: ProblemsFile): Promise<void> => {
        const journal = await Journal.create(join(path, RUN_FILES.journal), headerOf(sweep, file), disk);
        await journal.close();
      };
      await createRunDirectory(sweep.output, { ...raw, problems }, begin, disk);
      return open(sweep);
    },
    reopen: (sweep, resolved) => open(sweep, resolved),
    get: (id) => runs.get(id) ?? null,
    list: () => [...runs.values()],
    async drain(graceMs) {
      const going = [...runs.values()].filter((run) => ["running", "paused"].includes(run.status().state));
      await Promise.all(going.map((run) => run.interrupt(graceMs)));
      return going.length;
    },
    async close() {
      isClosed = true;
      leaseTimer.cancel();
      await Promise.all([...runs.values()].map((run) => run.interrupt()));
      await dispatcher.close();
    },
  };
}
