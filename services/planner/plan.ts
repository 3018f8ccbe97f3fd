/**
 * How long a sweep will take on so many hosts, by running it on the virtual cluster with the production
 * scheduler: a model, not a measurement. A sweep that is too large to simulate is run smaller: fewer hosts
 * with as many problems each; where that is still too much, fewer problems, and the time per further problem
 * is the slope between half and all of those.
 */
import type { EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import type { ClusterResult } from "./cluster-result.ts";
import { type Limit, limitOf } from "./plan-limit.ts";
import { ScheduledPlacer } from "./scheduled-placer.ts";
import { SyntheticTask, type TaskShape } from "./synthetic-task.ts";
import { runVirtualCluster } from "./virtual-cluster.ts";

export interface PlanRequest {
  /** One for each arm: every problem runs under each. */
  readonly shapes: readonly TaskShape[];
  /** Problems of the whole sweep, and tokens of some of their prompts beside the root, for all in turn. */
  readonly problems: number;
  readonly promptTokens: readonly number[];
  readonly profile: EngineProfile;
  readonly hosts: number;
  /** Problems that are simulated at most; null: as many as `PLAN_REQUESTS_MAX` asks take. */
  readonly sample: number | null;
  readonly seed: number;
}

/** What is expected on so many hosts. */
export interface Estimate {
  readonly hosts: number;
  readonly durationMs: number;
  readonly gpuHours: number;
  /** No placement and no order is faster. */
  readonly leastMs: number;
  /** What was simulated in its place. */
  readonly simulatedHosts: number;
  readonly simulatedProblems: number;
}

export interface Plan extends Estimate {
  readonly problems: number;
  readonly tasks: number;
  readonly tasksPerHour: number;
  /** Of the whole sweep. */
  readonly prefillTokens: number;
  readonly prefillBound: number;
  readonly uniqueTokens: number;
  readonly completionTokens: number;
  /** From a task's first request to its end. */
  readonly taskMs: ClusterResult["taskMs"];
  readonly limit: Limit;
  readonly bottlenecks: ClusterResult;
  /** Trees that a host's KV cache holds at their widest, and those that were open on a host. */
  readonly treesByKv: number;
  readonly treesMean: number;
  readonly treesMax: number;
  /** With half and twice the hosts. */
  readonly others: readonly Estimate[];
}

/** Asks of one simulation at most: a few seconds. */
export const PLAN_REQUESTS_MAX = 40_000;
/** Hosts of one that stands for more, so that their balance shows. */
const HOSTS_MIN = 4;
const MS_PER_HOUR = 3_600_000;

export function planSweep(request: PlanRequest): Plan {
  const { shapes, problems, hosts, profile } = request;
  const alone = shapes.map((_, arm) => runAlone(request, arm));
  const asks = Math.max(
    1,
    alone.reduce((sum, { asks: each }) => sum + each, 0),
  );
  const { estimate, result } = estimateOn(request, hosts, asks);
  const tasks = problems * shapes.length;
  const scale = problems / estimate.simulatedProblems;
  const widest = alone.reduce((sum, { kvTokens }) => sum + kvTokens, 0) / alone.length;
  const treesByKv = Math.max(1, Math.floor(profile.kvCapacityTokens / Math.max(1, widest)));
  const hostCounts = [Math.floor(hosts / 2), hosts * 2].filter((count) => count >= 1);
  return {
    ...estimate,
    problems,
    tasks,
    tasksPerHour: (tasks / estimate.durationMs) * MS_PER_HOUR,
    prefillTokens: result.prefillTokens * scale,
    prefillBound: result.bounds.prefillTokens * scale,
    uniqueTokens: result.bounds.uniqueTokens * scale,
    completionTokens: result.completionTokens * scale,
    taskMs: result.taskMs,
    limit: limitOf(result, { ...profile, treesByKv }),
    bottlenecks: result,
    treesByKv,
    treesMean: result.openMean,
    treesMax: result.openMax,
    others: hostCounts.map((count) => estimateOn(request, count, asks).estimate),
  };
}

/** A task of an arm, with a host of its own. */
function runAlone(request: PlanRequest, arm: number): { readonly asks: number; readonly kvTokens: number } {
  const shapes = request.shapes.slice(arm, arm + 1);
  const { requests, kvUsageMax } = simulate({ ...request, shapes }, { hosts: 1, problems: 1 });
  return { asks: requests, kvTokens: kvUsageMax * request.profile.kvCapacityTokens };
}

function estimateOn(
  request: PlanRequest,
  hosts: number,
  asksPerProblem: number,
): { readonly estimate: Estimate; readonly result: ClusterResult } {
  const { problems, sample, profile } = request;
  const problemsMax = Math.max(2, sample ?? Math.floor(PLAN_REQUESTS_MAX / asksPerProblem));
  const share = Math.min(1, problemsMax / problems);
  const simulatedHosts =
    share === 1 ? hosts : Math.min(hosts, Math.max(HOSTS_MIN, Math.round(hosts * share)));
  // As many for each host as the sweep has.
  const whole = Math.max(1, Math.round((problems * simulatedHosts) / hosts));
  const simulatedProblems = Math.min(whole, problemsMax);
  const result = simulate(request, { hosts: simulatedHosts, problems: simulatedProblems });
  let durationMs = result.makespanMs;
  if (simulatedProblems < whole) {
    const half = Math.floor(simulatedProblems / 2);
    const before = simulate(request, { hosts: simulatedHosts, problems: half });
    const slopeMs = (result.makespanMs - before.makespanMs) / (simulatedProblems - half);
    // Hosts that are not full yet make the slope too small, and no problem takes less than its work.
    durationMs += Math.max(slopeMs, result.bounds.workMs / simulatedProblems) * (whole - simulatedProblems);
  }
  const gpuHours = (hosts * gpusOf(profile) * durationMs) / MS_PER_HOUR;
  const { workMs, chainMs } = result.bounds;
  const leastMs = Math.max((workMs * whole) / simulatedProblems, chainMs);
  return { estimate: { hosts, durationMs, gpuHours, leastMs, simulatedHosts, simulatedProblems }, result };
}

function simulate(
  { shapes, promptTokens, profile, seed }: PlanRequest,
  { hosts, problems }: { readonly hosts: number; readonly problems: number },
): ClusterResult {
  const kinds = shapes.map(({ kind }) => kind);
  return runVirtualCluster({
    hosts,
    profile,
    engine: { sharesColdPrefixes: true, schedulesByPriority: false },
    concurrency: profile.sequencesMax,
    networkMs: 0,
    seed,
    tasks: tasksOf({ shapes, promptTokens, problems, seed }),
    placer: (cluster) => new ScheduledPlacer(cluster, { profile, sharesColdPrefixes: true, kinds }),
  });
}

/** Problem by problem, every arm of one before the next. */
function* tasksOf({
  shapes,
  promptTokens,
  problems,
  seed,
}: Pick<PlanRequest, "shapes" | "promptTokens" | "problems" | "seed">): Generator<SyntheticTask, void> {
  let requests = 0;
  const nextId = (): number => requests++;
  for (let problem = 0; problem < problems; problem++) {
    for (const [arm, shape] of shapes.entries()) {
      const problemTokens = promptTokens[problem % promptTokens.length] ?? null;
      const ordinal = problem * shapes.length + arm;
      yield new SyntheticTask(shape, { ordinal, problem, seed, problemTokens }, nextId);
    }
  }
}

/** `4xH100` is four. */
export function gpusOf({ gpus }: Pick<EngineProfile, "gpus">): number {
  const count = Number(/^(\d+)x/.exec(gpus)?.[1] ?? 1);
  return count;
}
