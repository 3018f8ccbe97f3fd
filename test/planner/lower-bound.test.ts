import { describe, expect, test } from "vitest";
import { type BoundRequest, LowerBound } from "../../services/planner/lower-bound.ts";
import { around } from "../../services/planner/lengths.ts";
import { runVirtualCluster } from "../../services/planner/virtual-cluster.ts";
import { beamSearch } from "../../services/search/strategies/beam-search.ts";
import { engineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { bestOf, pusher, shapeOf, tasksOf } from "./tasks.ts";

const PROFILE = engineProfile("8b-h100");

function request(
  pieces: readonly (readonly [id: number, tokens: number, isGenerated?: boolean])[],
  completionTokens = 1,
): BoundRequest {
  return {
    elsewhereMs: null,
    pieces: pieces.map(([id, tokens, isGenerated = false]) => ({ id, tokens, isGenerated })),
    promptTokens: pieces.reduce((sum, [, tokens]) => sum + tokens, 0),
    completionTokens,
  };
}

function prefillOf(requests: readonly BoundRequest[], place = { rootTokens: 0, hosts: 1, hostsWorking: 1 }) {
  const bound = new LowerBound(PROFILE);
  for (const each of requests) bound.answered(each);
  return bound.bounds(place);
}

describe("the bound on prefill tokens", () => {
  test("is the whole prompt for one request", () => {
    expect(prefillOf([request([[1, 100]])]).prefillTokens).toBe(100);
    expect(prefillOf([request([[1, 96]])]).prefillTokens).toBe(96);
  });

  test("adds for a sibling what no whole block covers, and one block where all are covered", () => {
    expect(prefillOf([request([[1, 100]]), request([[1, 100]])]).prefillTokens).toBe(104);
    expect(prefillOf([request([[1, 96]]), request([[1, 96]])]).prefillTokens).toBe(112);
  });

  test("takes what was generated as there already", () => {
    const first = request([[1, 20]], 44);
    const second = request([
      [1, 20],
      [2, 44, true],
    ]);
    // The prompt's 20, and the last block of the second.
    expect(prefillOf([first, second])).toMatchObject({ prefillTokens: 36, uniqueTokens: 20 });
  });

  test("counts what was generated elsewhere as read once", () => {
    const path = [
      [1, 32],
      [2, 32],
    ] as const;
    expect(prefillOf([request([...path]), request([...path])])).toMatchObject({
      prefillTokens: 64 + 16,
      uniqueTokens: 64,
    });
  });

  test("has every further host compute the common root", () => {
    const requests = [
      request([
        [0, 100],
        [1, 60],
      ]),
      request([
        [0, 100],
        [2, 60],
      ]),
    ];
    const one = prefillOf(requests, { rootTokens: 100, hosts: 1, hostsWorking: 1 });
    const three = prefillOf(requests, { rootTokens: 100, hosts: 3, hostsWorking: 3 });
    expect(three.prefillTokens - one.prefillTokens).toBe(2 * 96);
    expect(three.edgeTokens).toBe(100 + 60 + 60 + 2 * 100);
  });

  test("is reached by one host that works on one problem after the other", () => {
    const shape = bestOf(8, { problem: { mean: 300, spread: 0.5, max: 1_000 }, rootTokens: 50 });
    const { prefillTokens, bounds } = runVirtualCluster({
      hosts: 1,
      profile: PROFILE,
      engine: { sharesColdPrefixes: true, schedulesByPriority: false },
      concurrency: Infinity,
      networkMs: 0,
      seed: 1,
      tasks: tasksOf(shape, 6),
      placer: pusher(() => 0),
    });
    expect(prefillTokens).toBe(bounds.prefillTokens);
  });

  test("is never passed downwards, on any placement of any tree", () => {
    const shape = shapeOf(
      beamSearch,
      { width: 6, expand: 3, max_steps: 10 },
      { rootTokens: 40, depth: around(6, { spread: 0 }) },
    );
    for (const hosts of [1, 2, 3]) {
      const { prefillTokens, bounds, makespanMs } = runVirtualCluster({
        hosts,
        profile: PROFILE,
        engine: { sharesColdPrefixes: true, schedulesByPriority: false },
        concurrency: Infinity,
        networkMs: 0,
        seed: 1,
        tasks: tasksOf(shape, 9),
        placer: pusher((each) => each.id % hosts),
      });
      expect(prefillTokens).toBeGreaterThanOrEqual(bounds.prefillTokens);
      expect(makespanMs).toBeGreaterThanOrEqual(Math.max(bounds.workMs, bounds.chainMs));
    }
  });
});

describe("the bound on the makespan", () => {
  const alone = {
    profile: PROFILE,
    engine: { sharesColdPrefixes: true, schedulesByPriority: false },
    concurrency: Infinity,
    networkMs: 0,
    seed: 1,
  } as const;

  test("is what one rollout alone takes, its verification included", () => {
    const { makespanMs, bounds } = runVirtualCluster({
      ...alone,
      hosts: 1,
      tasks: tasksOf(bestOf(1, { problem: { mean: 12, spread: 0, max: 12 } }), 1),
      placer: pusher(() => 0),
    });
    // A prompt below a block is all tail, so nothing of it could have been cached.
    expect(bounds.chainMs).toBeGreaterThan(0.999 * makespanMs);
    expect(bounds.chainMs).toBeLessThanOrEqual(makespanMs + 1e-6);
  });

  test("follows the longest chain of steps where there are hosts for all", () => {
    const shape = shapeOf(
      beamSearch,
      { width: 1, expand: 1, max_steps: 10 },
      { depth: around(5, { spread: 0 }) },
    );
    const { makespanMs, bounds } = runVirtualCluster({
      ...alone,
      hosts: 4,
      tasks: tasksOf(shape, 4),
      placer: pusher(({ task }) => task.ordinal),
    });
    expect(bounds.chainMs).toBeGreaterThan(bounds.workMs);
    expect(makespanMs / bounds.chainMs).toBeLessThan(1.02);
  });

  test("shares the work among all hosts, at the batch that sequences or KV memory allow", () => {
    const requests = Array.from({ length: 10 }, () => request([[1, 100]], 101));
    const { parts, isKvBound } = prefillOf(requests, { rootTokens: 0, hosts: 2, hostsWorking: 1 });
    // 1,000 decode steps of a sequence, 256 to a step, on two hosts.
    expect(parts.stepsMs).toBeCloseTo((6.8 * 1_000) / 256 / 2, 9);
    expect(isKvBound).toBe(false);
    const small = new LowerBound(engineProfile("8b-h100", { kvCapacityTokens: 160 }));
    for (const each of requests) small.answered(each);
    const tight = small.bounds({ rootTokens: 0, hosts: 1, hostsWorking: 1 });
    expect(tight.isKvBound).toBe(true);
    expect(tight.parts.stepsMs).toBeCloseTo((6.8 * 1_000 * 101) / 2 / 160, 9);
  });
});
