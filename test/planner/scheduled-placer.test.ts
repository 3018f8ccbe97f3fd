/** The production scheduler on the virtual cluster. */
import { describe, expect, test } from "vitest";
import { around } from "../../services/planner/lengths.ts";
import { ScheduledPlacer } from "../../services/planner/scheduled-placer.ts";
import type { TaskShape } from "../../services/planner/synthetic-task.ts";
import { runVirtualCluster } from "../../services/planner/virtual-cluster.ts";
import { beamSearch } from "../../services/search/strategies/beam-search.ts";
import { mcts } from "../../services/search/strategies/mcts.ts";
import { engineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { bestOf, pusher, shapeOf, tasksOf } from "./tasks.ts";

function run(
  shape: TaskShape,
  { hosts, tasks, kvCapacityTokens = 400_000 }: Readonly<Record<string, number>>,
) {
  const profile = engineProfile("8b-h100", { kvCapacityTokens: kvCapacityTokens ?? 400_000 });
  return runVirtualCluster({
    hosts: hosts ?? 1,
    profile,
    engine: { sharesColdPrefixes: true, schedulesByPriority: false },
    concurrency: profile.sequencesMax,
    networkMs: 0,
    seed: 1,
    tasks: tasksOf(shape, tasks ?? 1),
    placer: (cluster) =>
      new ScheduledPlacer(cluster, { profile, sharesColdPrefixes: true, kinds: [shape.kind] }),
  });
}

describe("the scheduler on the virtual cluster", () => {
  const beam = shapeOf(
    beamSearch,
    { width: 8, expand: 4, max_steps: 10 },
    { rootTokens: 200, step: around(60), depth: around(5) },
  );

  test("brings every task to its end, the same way each time", () => {
    const once = (): ReturnType<typeof run> => run(beam, { hosts: 3, tasks: 40 });
    expect(once()).toMatchObject({ tasks: 40 });
    expect(once()).toEqual(once());
  });

  test("computes little more than one host has to, where a push to any host computes many times that", () => {
    const ours = run(beam, { hosts: 4, tasks: 200 });
    const scattered = runVirtualCluster({
      hosts: 4,
      profile: engineProfile("8b-h100"),
      engine: { sharesColdPrefixes: true, schedulesByPriority: false },
      concurrency: Infinity,
      networkMs: 0,
      seed: 1,
      tasks: tasksOf(beam, 200),
      placer: pusher(({ id }) => id % 4),
    });
    expect(ours.prefillTokens / ours.bounds.prefillTokens).toBeLessThan(2);
    expect(scattered.prefillTokens).toBeGreaterThan(2 * ours.prefillTokens);
  });

  test("opens no more than hosts have use for", () => {
    const result = run(bestOf(64, { answer: around(100) }), { hosts: 2, tasks: 100 });
    expect(result.openMax).toBeLessThan(25);
    expect(result.runningMean).toBeGreaterThan(100);
  });

  test("gets over asks that are withdrawn on their way", () => {
    const shape = shapeOf(
      mcts,
      { simulations: 64, parallel: 16, max_steps: 3, stop_when: "correct" },
      { passRate: 0.3, step: around(100), depth: around(2) },
    );
    expect(run(shape, { hosts: 2, tasks: 60 })).toMatchObject({ tasks: 60 });
  });

  test("finishes what a host's KV memory can hardly hold", () => {
    const result = run(beam, { hosts: 2, tasks: 30, kvCapacityTokens: 3_000 });
    expect(result).toMatchObject({ tasks: 30 });
  });
});
