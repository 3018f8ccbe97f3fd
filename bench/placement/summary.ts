/**
 * What the runs of a workload came to, policy by policy, over the seeds; and which of the project's promises
 * hold.
 */
import type { ClusterResult } from "../../services/planner/cluster-result.ts";
import { median } from "../median.ts";
import type { CellResult } from "./cell.ts";
import type { ClientOrder } from "./client.ts";
import { OURS } from "./policies.ts";
import { isAskedAtOnce, type Workload } from "./workloads.ts";

/** A figure over seeds. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Row {
  readonly policy: string;
  readonly client: ClientOrder | null;
  /** Over the lower bound. */
  readonly makespan: Spread;
  readonly prefill: Spread;
  /** Prefill tokens over U + (H - 1) * root, which leaves out what no block covers. */
  readonly edges: Spread;
  readonly makespanS: Spread;
  readonly cachedShare: Spread;
  readonly taskP99S: Spread;
  readonly loadMaxToMean: Spread;
  readonly preemptions: Spread;
  /** By seed, for comparisons of like with like. */
  readonly makespansMs: ReadonlyMap<number, number>;
}

export interface WorkloadSummary {
  readonly workload: Workload;
  readonly rows: readonly Row[];
  /** The bound on the makespan, in seconds, of our own runs where there are any. */
  readonly boundS: Spread;
}

export function summarize(workload: Workload, results: readonly CellResult[]): WorkloadSummary {
  const own = results.filter(({ cell }) => cell.workload === workload.name);
  const groups = Map.groupBy(own, ({ cell }) => `${cell.policy} ${cell.client ?? ""}`);
  const run = [...groups.values()].flatMap((group) => rowOf(group) ?? []);
  const rows = isAskedAtOnce(workload) ? run.flatMap(forBothClients) : run;
  const bounds = own.filter(({ cell }) => cell.policy === own[0]?.cell.policy);
  return { workload, rows, boundS: spreadOf(bounds, ({ bounds: each }) => boundMs(each) / 1_000) };
}

/** One run stands for both clients. */
function forBothClients(row: Row): readonly Row[] {
  return row.client === null ? [row] : [row, { ...row, client: "depth-first" }];
}

function rowOf(group: readonly CellResult[]): Row | null {
  const [first] = group;
  if (first === undefined) return null;
  const of = (pick: (result: ClusterResult) => number): Spread => spreadOf(group, pick);
  return {
    policy: first.cell.policy,
    client: first.cell.client,
    makespan: of(({ makespanMs, bounds }) => makespanMs / boundMs(bounds)),
    prefill: of(({ prefillTokens, bounds }) => prefillTokens / bounds.prefillTokens),
    edges: of(({ prefillTokens, bounds }) => prefillTokens / bounds.edgeTokens),
    makespanS: of(({ makespanMs }) => makespanMs / 1_000),
    cachedShare: of(({ cachedTokens, prefillTokens }) => cachedTokens / (cachedTokens + prefillTokens)),
    taskP99S: of(({ taskMs }) => taskMs.p99 / 1_000),
    loadMaxToMean: of((result) => result.loadMaxToMean),
    preemptions: of((result) => result.preemptions),
    makespansMs: new Map(group.map(({ cell, result }) => [cell.seed, result.makespanMs])),
  };
}

function boundMs({ workMs, chainMs }: ClusterResult["bounds"]): number {
  return Math.max(workMs, chainMs);
}

function spreadOf(group: readonly CellResult[], pick: (result: ClusterResult) => number): Spread {
  const found = group.map(({ result }) => pick(result));
  return { median: median(found), min: Math.min(...found), max: Math.max(...found) };
}

/** A promise about one workload: what was found, and whether it holds. */
export interface Finding {
  readonly promise: string;
  readonly workload: string;
  readonly found: string;
  readonly holds: boolean;
}

const PREFILL_MAX = 1.05;
const MAKESPAN_TO_BEST_MAX = 1.02;
const SPEEDUP_MIN = 1.3;
const MAKESPAN_TO_BOUND_MAX = 1.15;

/**
 * The promises, each for the workloads that it is about. By the median over seeds; ratios are within one
 * seed.
 */
export function findings({ workload, rows }: WorkloadSummary): readonly Finding[] {
  const ours = rows.find(({ policy }) => policy === OURS);
  if (ours === undefined) return [];
  const found: Finding[] = [];
  const add = (promise: string, what: string, holds: boolean): void => {
    found.push({ promise, workload: workload.name, found: what, holds });
  };
  if (workload.holdsWorkingSet) {
    const prefill = ours.prefill.median;
    add(`prefill at most ${PREFILL_MAX} of the bound`, prefill.toFixed(3), prefill <= PREFILL_MAX);
  }
  const deep = best(
    ours,
    rows.filter(({ client }) => client === "depth-first"),
  );
  if (deep !== null) {
    const promise = `makespan at most ${MAKESPAN_TO_BEST_MAX} of the best depth-first baseline's`;
    add(promise, `${deep.ratio.toFixed(3)} of ${deep.policy}`, deep.ratio <= MAKESPAN_TO_BEST_MAX);
  }
  const arrival = best(
    ours,
    rows.filter(({ client }) => client === "arrival"),
  );
  if (arrival !== null && workload.limit === "kv") {
    const faster = 1 / arrival.ratio;
    const promise = `at least ${SPEEDUP_MIN} times as fast as the best baseline in order of arrival`;
    add(promise, `${faster.toFixed(2)} times ${arrival.policy}`, faster >= SPEEDUP_MIN);
  }
  if (workload.limit === "decode") {
    const makespan = ours.makespan.median;
    add(
      `makespan within ${MAKESPAN_TO_BOUND_MAX} of the bound`,
      makespan.toFixed(3),
      makespan <= MAKESPAN_TO_BOUND_MAX,
    );
  }
  return found;
}

/** Against the baseline with the shortest median: our makespan over its, seed by seed, the median of that. */
function best(
  ours: Row,
  baselines: readonly Row[],
): { readonly policy: string; readonly ratio: number } | null {
  const [first] = baselines.toSorted((a, b) => a.makespanS.median - b.makespanS.median);
  if (first === undefined) return null;
  const ratios = [...ours.makespansMs].map(([seed, ms]) => ms / (first.makespansMs.get(seed) ?? NaN));
  return { policy: first.policy, ratio: median(ratios) };
}
