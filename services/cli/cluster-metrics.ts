/** What the processes of a cluster tell Prometheus. Read at each scrape from what the parts count anyway. */
import type { Coordinator } from "../coordinator/coordinator-api.ts";
import type { SweepStatus } from "../coordinator/status.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { cachedShare } from "./progress-line.ts";

/** Series of the sweeps that a coordinator holds. Unknown numbers have no series (I8). */
export function exposeCoordinator(metrics: Metrics, coordinator: Coordinator): void {
  const gauge = (name: string, about: string, labels: readonly string[] = ["sweep"]) =>
    metrics.gauge({ name, about, labels });
  const tasks = gauge("coppice_tasks", "Tasks by state", ["sweep", "state"]);
  const solved = gauge("coppice_solved", "Tasks with a correct candidate");
  const counter = (name: string, about: string, labels: readonly string[] = ["sweep"]) =>
    metrics.counter({ name, about, labels });
  const rollouts = counter("coppice_rollouts_total", "Rollouts answered");
  const verifications = counter("coppice_verifications_total", "Verifications answered");
  const tokens = counter("coppice_tokens_total", "Tokens by kind", ["sweep", "kind"]);
  const share = gauge("coppice_cached_share", "Share of prompt tokens taken from a KV cache");
  const inFlight = gauge("coppice_in_flight", "Asks dispatched and not answered");
  const failures = counter("coppice_failures_total", "Rollouts lost for good");
  const elapsed = gauge("coppice_elapsed_seconds", "Time that the sweep has run");
  const lane = gauge("coppice_lane_depth", "Asks in the lane of a host", ["host", "state"]);
  const openTasks = gauge("coppice_host_open_tasks", "Tasks whose tree lives on a host", ["host"]);
  const families = [
    tasks,
    solved,
    rollouts,
    verifications,
    tokens,
    share,
    inFlight,
    failures,
    elapsed,
    lane,
    openTasks,
  ];

  function expose(status: SweepStatus): void {
    const sweep = status.id;
    for (const [state, n] of Object.entries(status.tasks))
      if (state !== "total") tasks.set(n, { sweep, state });
    solved.set(status.solved, { sweep });
    rollouts.add(status.rollouts, { sweep });
    verifications.add(status.verifications, { sweep });
    for (const [kind, n] of Object.entries(status.usage))
      if (n !== null) tokens.add(n, { sweep, kind: kind.replace(/_tokens$/, "") });
    const cached = cachedShare(status.usage);
    if (cached !== null) share.set(cached, { sweep });
    inFlight.set(status.in_flight, { sweep });
    failures.add(status.failures, { sweep });
    elapsed.set(status.elapsed_ms / 1_000, { sweep });
    for (const host of status.hosts) {
      lane.set(host.waiting, { host: host.id, state: "waiting" });
      lane.set(host.running, { host: host.id, state: "running" });
      openTasks.set(host.open_tasks, { host: host.id });
    }
  }
  metrics.beforeScrape(() => {
    for (const each of families) each.reset();
    for (const run of coordinator.list()) expose(run.status());
  });
}

/** A histogram as its owner counts it: `counts` has one more than `bounds`, for what is above them all. */
interface HistogramReading {
  readonly count: number;
  readonly sum: number;
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
}

/** What a worker counts up; its other numbers rise and fall. */
const COUNTED: ReadonlySet<string> = new Set(
  (
    "rollouts verifications failures cancelled retries jobs correct incorrect undecided memo_hits terminations crashes " +
    "prompt_tokens cached_tokens completion_tokens cached_tokens_unknown completion_tokens_unknown cache_losses " +
    "signal_failures engine_prompt_tokens_computed engine_prompt_tokens_cached"
  ).split(" "),
);

/**
 * Series of a worker, one per number that it keeps: `coppice_worker_in_flight`, `coppice_worker_rollouts_total`. Names in
 * camelCase and snake_case come out the same; histograms of milliseconds come out in seconds.
 */
export function exposeWorker<R extends object>(metrics: Metrics, worker: string, read: () => R): void {
  metrics.addText(() =>
    Object.entries(read())
      .flatMap(([key, value]) =>
        series(
          key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
          value,
          worker,
        ),
      )
      .join("\n"),
  );
}

function series(key: string, value: unknown, worker: string): readonly string[] {
  const labels = `worker=${JSON.stringify(worker)}`;
  const words = key.replaceAll("_", " ");
  if (typeof value === "number") {
    const isCounted = COUNTED.has(key);
    const name = `coppice_worker_${key}${isCounted ? "_total" : ""}`;
    const about = isCounted ? `${words} since the worker started` : `${words} now`;
    return [
      `# HELP ${name} ${about}`,
      `# TYPE ${name} ${isCounted ? "counter" : "gauge"}`,
      `${name}{${labels}} ${value}`,
      "",
    ];
  }
  if (!isHistogram(value)) return [];
  const name = `coppice_worker_${key.replace(/_ms$/, "_seconds")}`;
  const scale = key.endsWith("_ms") ? 1_000 : 1;
  let below = 0;
  const buckets = value.counts.map((count, i) => {
    below += count;
    const bound = value.bounds[i];
    return `${name}_bucket{${labels},le="${bound === undefined ? "+Inf" : bound / scale}"} ${below}`;
  });
  return [
    `# HELP ${name} ${words.replace(/ ms$/, "")} of a verification`,
    `# TYPE ${name} histogram`,
    ...buckets,
    `${name}_sum{${labels}} ${value.sum / scale}`,
    `${name}_count{${labels}} ${value.count}`,
    "",
  ];
}

function isHistogram(value: unknown): value is HistogramReading {
  return (
    typeof value === "object" && value !== null && "bounds" in value && "counts" in value && "sum" in value
  );
}
