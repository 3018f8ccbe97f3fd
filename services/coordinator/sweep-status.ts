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
