/** A snapshot of a sweep that runs, put together from the parts that know. */
import type { Dispatcher } from "./scheduler/dispatcher.ts";
import { type Amount, sumOf } from "./amount.ts";
import { amountsIn, timesIn } from "./unit-keys.ts";
import type { TimeSpent } from "./time-spent.ts";
import type { Ledger } from "./ledger.ts";
import type { SweepState, SweepStatus } from "./status.ts";
import type { Budget, Sweep } from "./sweep.ts";
import type { Totals } from "./tally.ts";
import type { TaskRun } from "./task-run.ts";
import { addUsage } from "./usage.ts";

export interface StatusSources {
  /** Of the tasks that settled. */
  readonly totals: Totals;
  readonly ledger: Ledger;
  readonly open: readonly TaskRun[];
  readonly dispatcher: Dispatcher;
}

export function statusOf(
  run: {
    readonly id: string;
    readonly sweep: Sweep;
    readonly state: SweepState;
    readonly total: number;
    readonly time: TimeSpent;
  },
  { totals, ledger, open, dispatcher }: StatusSources,
): SweepStatus {
  return {
    id: run.id,
    name: run.sweep.name,
    state: run.state,
    tasks: {
      total: run.total,
      queued: run.total - totals.settled - open.length,
      running: open.length,
      ...totals.tasks,
    },
    solved: totals.solved,
    rollouts: open.reduce((sum, task) => sum + task.rollouts, totals.rollouts),
    verifications: open.reduce((sum, task) => sum + task.verifications, totals.verifications),
    usage: open.reduce((sum, task) => addUsage(sum, task.usage), totals.usage),
    budget: budgetOf(run.sweep.budget, ledger.charged, run.time),
    in_flight: open.reduce((sum, task) => sum + inFlight(task), 0),
    failures: totals.losses,
    failures_by_reason: { ...totals.lossesByReason },
    hosts: dispatcher.scheduler.hosts.map(({ facts, openTrees, concurrency, inFlight: asks }) => {
      const running = Math.min(concurrency, asks);
      const waiting = asks - running;
      return { id: facts.id, engine: facts.engine, open_tasks: openTrees, waiting, running };
    }),
    elapsed_ms: Math.round(run.time.elapsedMs),
    output: run.sweep.output,
  };
}

/** A point of the curve of accuracy against cost, which `SweepStatus.budget.spent` and `usage` say. */
export interface CurvePoint {
  /** Shares of the sweep's tasks, those not begun included: the answer so far is correct; there is a correct candidate so far. */
  readonly accuracy: number;
  readonly coverage: number;
}

export function curvePointOf(
  total: number,
  { totals, open }: Pick<StatusSources, "totals" | "open">,
): CurvePoint {
  const settled = totals.results;
  const tasks = Math.max(1, total - settled.passedOver);
  const accurate = open.filter((task) => task.selectedVerdict === "correct").length;
  const solved = open.filter((task) => task.progress.correct > 0).length;
  // One that is open yet and will be passed over may be solved too.
  const shareOf = (count: number): number => Math.min(1, count / tasks);
  return { accuracy: shareOf(settled.accurate + accurate), coverage: shareOf(settled.solved + solved) };
}

/** What a sweep may use and has used: its asks, and time. */
export function budgetOf(budget: Budget, charged: Amount, time: TimeSpent): SweepStatus["budget"] {
  const { elapsedMs, gpuMs } = time;
  return {
    given: { ...amountsIn(budget), ...timesIn(budget) },
    spent: { ...amountsIn(sumOf(charged, time.cost)), ...timesIn({ wallMs: Math.round(elapsedMs), gpuMs }) },
  };
}

function inFlight(task: TaskRun): number {
  let count = 0;
  for (const open of task.asks.values()) if (open.job !== null) count += 1;
  return count;
}
