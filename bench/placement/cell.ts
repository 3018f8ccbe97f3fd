/**
 * One run of the benchmark: a workload under a policy on so many hosts, for one seed. Plain data in and out.
 */
import type { ClusterResult } from "../../services/planner/cluster-result.ts";
import { SyntheticTask } from "../../services/planner/synthetic-task.ts";
import { runVirtualCluster } from "../../services/planner/virtual-cluster.ts";
import { engineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import type { ClientOrder } from "./client.ts";
import { createPlacer, OURS } from "./policies.ts";
import { WORKLOADS } from "./workloads.ts";

export interface Cell {
  readonly workload: string;
  readonly policy: string;
  readonly client: ClientOrder | null;
  readonly hosts: number;
  readonly problems: number;
  readonly seed: number;
}

export interface CellResult {
  readonly cell: Cell;
  readonly result: ClusterResult;
}

export function runCell(cell: Cell): CellResult {
  const workload = WORKLOADS.find(({ name }) => name === cell.workload);
  if (workload === undefined) throw new Error(`expected a workload, found ${cell.workload}`);
  const { shapes, kvCapacityTokens } = workload;
  const profile = engineProfile("8b-h100", { kvCapacityTokens });
  const { policy: name, client, hosts, problems, seed } = cell;
  const result = runVirtualCluster({
    hosts,
    profile,
    engine: { sharesColdPrefixes: true, schedulesByPriority: false },
    // A worker gives its engine what that can run; behind a router the engine itself holds the queue.
    concurrency: name === OURS ? profile.sequencesMax : Infinity,
    networkMs: 0,
    seed,
    tasks: tasksOf(shapes, { problems, seed }),
    placer: createPlacer({ name, client, profile, kinds: shapes.map(({ kind }) => kind) }),
  });
  return { cell, result };
}

function* tasksOf(
  shapes: readonly SyntheticTask["shape"][],
  { problems, seed }: { readonly problems: number; readonly seed: number },
): Generator<SyntheticTask, void> {
  let requests = 0;
  for (let ordinal = 0; ordinal < problems; ordinal++) {
    const shape = shapes[ordinal % shapes.length];
    if (shape !== undefined) yield new SyntheticTask(shape, { ordinal, seed }, () => requests++);
  }
}
