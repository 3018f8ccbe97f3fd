import { describe, expect, test } from "vitest";
import { EventQueue } from "../../services/planner/event-queue.ts";
import type { VirtualRequest } from "../../services/planner/synthetic-task.ts";
import { runVirtualCluster, type VirtualClusterOptions } from "../../services/planner/virtual-cluster.ts";
import { around } from "../../services/planner/lengths.ts";
import { mcts } from "../../services/search/strategies/mcts.ts";
import { engineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { bestOf, pusher, shapeOf, tasksOf } from "./tasks.ts";

const PROFILE = engineProfile("8b-h100");

function run(options: Partial<VirtualClusterOptions> & Pick<VirtualClusterOptions, "tasks">) {
  return runVirtualCluster({
    hosts: 2,
    profile: PROFILE,
    engine: { sharesColdPrefixes: true, schedulesByPriority: false },
    concurrency: Infinity,
    networkMs: 0,
    seed: 1,
    placer: pusher(({ task }) => task.ordinal % 2),
    ...options,
  });
}

describe("the virtual cluster", () => {
  test("runs every task to its end and counts what hosts did", () => {
    const result = run({ tasks: tasksOf(bestOf(4), 10) });
    expect(result).toMatchObject({ tasks: 10, requests: 40, completionTokens: 40 * 50, preemptions: 0 });
    expect(result.prefillTokens + result.cachedTokens).toBe(40 * 100);
    expect(result.loadMaxToMean).toBeCloseTo(1, 6);
    expect(result.openMax).toBe(5);
    expect(result.settledMs.p99).toBe(result.makespanMs);
  });

  test("gives the same run for the same options", () => {
    const shape = shapeOf(mcts, { simulations: 12, parallel: 4, max_steps: 4 }, { step: around(40) });
    const once = (): unknown => run({ tasks: tasksOf(shape, 8) });
    expect(once()).toEqual(once());
  });

  test("stops what is no longer wanted", () => {
    const shape = shapeOf(
      mcts,
      { simulations: 64, parallel: 16, max_steps: 1, stop_when: "correct" },
      { passRate: 1, step: around(200) },
    );
    const result = run({ tasks: tasksOf(shape, 6) });
    const whole = run({ tasks: tasksOf({ ...shape, passRate: 0 }, 6) });
    expect(result.tasks).toBe(6);
    expect(result.requests).toBeLessThan(whole.requests / 4);
  });

  test("takes the time of those who answer off the hosts, and of the network", () => {
    const elsewhere = { at: "elsewhere", ms: 1_000 } as const;
    const shape = bestOf(4, { sampling: elsewhere, outcome: elsewhere });
    const off = run({ tasks: tasksOf(shape, 3) });
    expect(off.makespanMs).toBe(2_000);
    expect(off.bounds.chainMs).toBe(2_000);
    const near = run({ tasks: tasksOf(bestOf(1), 2) });
    const far = run({ tasks: tasksOf(bestOf(1), 2), networkMs: 30 });
    expect(far.makespanMs - near.makespanMs).toBeCloseTo(60, 6);
  });

  test("keeps in the lane what a worker's concurrency does not let into the engine", () => {
    const options = { hosts: 1, placer: pusher(() => 0) };
    const all = run({ ...options, tasks: tasksOf(bestOf(8), 1) });
    const two = run({ ...options, tasks: tasksOf(bestOf(8), 1), concurrency: 2 });
    expect(all.runningMean).toBeGreaterThan(4);
    expect(two.runningMean).toBeLessThanOrEqual(2);
    expect(two.makespanMs).toBeGreaterThan(3 * all.makespanMs);
  });

  test("says so when a placer holds asks back for good", () => {
    const placer = (cluster: Parameters<VirtualClusterOptions["placer"]>[0]) => {
      const base = pusher(() => 0)(cluster);
      return { ...base, asked: (_: unknown, requests: readonly VirtualRequest[]) => void requests.length };
    };
    expect(() => run({ tasks: tasksOf(bestOf(2), 3), placer })).toThrow(
      "nothing happens any more at 0 ms, 3 tasks are open",
    );
  });
});

describe("the event queue", () => {
  test("gives events by time, and those of one time as they were pushed", () => {
    const queue = new EventQueue<string>();
    for (const [at, name] of [
      [3, "c"],
      [1, "a"],
      [2, "b"],
      [1, "a2"],
      [3, "c2"],
      [1, "a3"],
    ] as const)
      queue.push(at, name);
    const order = Array.from({ length: 7 }, () => queue.pop());
    expect(order).toEqual(["a", "a2", "a3", "b", "c", "c2", undefined]);
    expect(queue.nextMs).toBe(Infinity);
  });
});
