/** What a run works with, and its limits. */
import type { Clock } from "../runtime/clock.ts";
import type { Disk } from "../runtime/disk.ts";
import type { Log } from "../runtime/log.ts";
import type { DecisionLogLimits } from "./decision-log.ts";
import { DEFAULT_HEDGE_LIMITS, type HedgeLimits } from "./hedges.ts";
import type { Dispatcher } from "./scheduler/dispatcher.ts";
import type { RunLock } from "./run-lock.ts";
import type { SegmentStore } from "./segment-store.ts";

export interface RunLimits {
  /** Sibling asks in one job. */
  readonly siblingsMax: number;
  /** Tasks open at once, however much room there is. */
  readonly openTasksMax: number;
  /** Tasks among which a budget is divided at once. */
  readonly cohortTasksMax: number;
  /** Verifications that may wait before no further task is opened. */
  readonly waitingVerificationsMax: number;
  /** A worker that does not confirm a withdrawal within this time is not waited for. */
  readonly withdrawalMs: number;
  /** How often watchers are told, and how often a line goes to `metrics.jsonl`. */
  readonly statusMs: number;
  readonly metricsMs: number;
  /** Placements that watchers are told of in a second. */
  readonly placedPerSecondMax: number;
  /** Of asks that are sent a second time, where the sweep says so. */
  readonly hedges: HedgeLimits;
  /** Of `decisions.jsonl`. */
  readonly decisions: Partial<DecisionLogLimits>;
}

export const DEFAULT_RUN_LIMITS: RunLimits = {
  siblingsMax: 16,
  openTasksMax: 4_096,
  cohortTasksMax: 1_024,
  waitingVerificationsMax: 1_024,
  withdrawalMs: 30_000,
  statusMs: 500,
  metricsMs: 5_000,
  placedPerSecondMax: 16,
  hedges: DEFAULT_HEDGE_LIMITS,
  decisions: {},
};

export interface RunParts {
  readonly dispatcher: Dispatcher;
  readonly segments: SegmentStore;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly lock?: RunLock | undefined;
  readonly log: Log;
  readonly limits: RunLimits;
  readonly version: string;
  /** A line for whoever starts the run: what keeps it from beginning at once. */
  readonly say?: ((line: string) => void) | undefined;
  /** Tells whoever may hold the job that these asks are not wanted any more. */
  readonly withdraw: (job: string, asks: readonly string[]) => void;
}
