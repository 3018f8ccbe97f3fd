/** A snapshot of a sweep that runs, put together from the parts that know. */
import type { Dispatcher } from "./scheduler/dispatcher.ts";
import type { Amount } from "./amount.ts";
import { amountsIn } from "./unit-keys.ts";
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
    readonly elapsedMs: number;
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
    budget: budgetOf(run.sweep.budget, ledger.charged, run.elapsedMs),
    in_flight: open.reduce((sum, task) => sum + inFlight(task), 0),
    failures: totals.losses,
    hosts: dispatcher.scheduler.hosts.map(({ facts, openTrees, concurrency, inFlight: asks }) => {
      const running = Math.min(concurrency, asks);
      const waiting = asks - running;
      return { id: facts.id, engine: facts.engine, open_tasks: openTrees, waiting, running };
    }),
    elapsed_ms: Math.round(run.elapsedMs),
    output: run.sweep.output,
  };
}

export function budgetOf(budget: Budget, charged: Amount, elapsedMs: number): SweepStatus["budget"] {
  return {
    given: { ...amountsIn(budget), wall_ms: budget.wallMs },
    spent: { ...amountsIn(charged), wall_ms: Math.round(elapsedMs) },
  };
}

function inFlight(task: TaskRun): number {
  let count = 0;
  for (const open of task.asks.values()) if (open.job !== null) count += 1;
  return count;
}
