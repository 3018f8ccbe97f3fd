import { describe, expect, test } from "vitest";
import { limitOf } from "../../services/planner/plan-limit.ts";
import { planSweep, type PlanRequest } from "../../services/planner/plan.ts";
import { around } from "../../services/planner/lengths.ts";
import { beamSearch } from "../../services/search/strategies/beam-search.ts";
import { engineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { bestOf, shapeOf } from "./tasks.ts";

const PROFILE = engineProfile("8b-h100");

function request(rest: Partial<PlanRequest> = {}): PlanRequest {
  return {
    shapes: [bestOf(16, { answer: around(200) })],
    problems: 64,
    promptTokens: [120, 300],
    profile: PROFILE,
    hosts: 2,
    sample: null,
    seed: 1,
    ...rest,
  };
}

describe("a plan", () => {
  test("simulates a small sweep whole, and adds up", () => {
    const plan = planSweep(request());
    expect(plan).toMatchObject({
      hosts: 2,
      simulatedHosts: 2,
      simulatedProblems: 64,
      problems: 64,
      tasks: 64,
    });
    expect(plan.completionTokens / (64 * 16 * 200)).toBeCloseTo(1, 1);
    expect(plan.prefillTokens).toBeGreaterThanOrEqual(plan.prefillBound);
    expect(plan.durationMs).toBeGreaterThanOrEqual(plan.leastMs);
    expect(plan.gpuHours).toBeCloseTo((2 * plan.durationMs) / 3_600_000, 9);
    expect(plan.tasksPerHour).toBeCloseTo((64 / plan.durationMs) * 3_600_000, 6);
    expect(plan.others.map(({ hosts }) => hosts)).toEqual([1, 4]);
    const [half, twice] = plan.others;
    expect(half?.durationMs).toBeGreaterThan(1.4 * plan.durationMs);
    expect(twice?.durationMs).toBeLessThan(plan.durationMs);
  });

  test("counts the GPUs of a host, and plans nothing for half of one", () => {
    const plan = planSweep(request({ profile: engineProfile("70b-4xh100"), hosts: 1, problems: 8 }));
    expect(plan.gpuHours).toBeCloseTo((4 * plan.durationMs) / 3_600_000, 9);
    expect(plan.others.map(({ hosts }) => hosts)).toEqual([2]);
  });

  test("scales up what is too large to simulate to what the whole takes", () => {
    const shapes = [bestOf(8, { answer: around(100) })];
    const whole = planSweep(request({ shapes, problems: 600, hosts: 4, sample: 600 }));
    const sampled = planSweep(request({ shapes, problems: 600, hosts: 4, sample: 240 }));
    expect(whole.simulatedProblems).toBe(600);
    expect(sampled.simulatedProblems).toBe(240);
    expect(sampled.durationMs / whole.durationMs).toBeGreaterThan(0.9);
    expect(sampled.durationMs / whole.durationMs).toBeLessThan(1.1);
    expect(sampled.completionTokens / whole.completionTokens).toBeCloseTo(1, 1);
  });

  test("shows fewer hosts with as many problems each for a large cluster", () => {
    const whole = planSweep(request({ problems: 640, hosts: 16 }));
    const fewer = planSweep(request({ problems: 640, hosts: 16, sample: 160 }));
    expect(fewer).toMatchObject({ hosts: 16, simulatedHosts: 4, simulatedProblems: 160 });
    expect(fewer.durationMs / whole.durationMs).toBeCloseTo(1, 0.5);
  });

  test("finds how many trees KV memory holds", () => {
    const shapes = [
      shapeOf(
        beamSearch,
        { width: 8, expand: 4, max_steps: 10 },
        { step: around(100), depth: around(5, { spread: 0 }) },
      ),
    ];
    const ample = planSweep(request({ shapes, problems: 16 }));
    const tight = planSweep(
      request({ shapes, problems: 64, profile: engineProfile("8b-h100", { kvCapacityTokens: 8_000 }) }),
    );
    // A prompt, and eight paths of five steps that share some: between one and three thousand tokens.
    expect(ample.treesByKv).toBeGreaterThan(100);
    expect(tight.treesByKv).toBeLessThan(10);
    expect(tight.limit).toBe("kv");
  });
});

describe("what limits a sweep", () => {
  const base = {
    makespanMs: 1_000,
    runningMean: 10,
    kvUsageMean: 0.1,
    openMean: 2,
    bounds: {
      uniqueTokens: 0,
      edgeTokens: 0,
      prefillTokens: 0,
      workMs: 100,
      chainMs: 100,
      parts: { stepsMs: 50, sequencesMs: 20, prefillMs: 30 },
      isKvBound: false,
    },
  };
  const limit = (change: Partial<typeof base>) =>
    limitOf({ ...base, ...change }, { sequencesMax: 256, treesByKv: 20 });
  const bounds = (change: Partial<(typeof base)["bounds"]>) => ({ bounds: { ...base.bounds, ...change } });

  test("is what is used most", () => {
    expect(limit(bounds({ chainMs: 900 }))).toBe("chain");
    expect(limit(bounds({ parts: { stepsMs: 50, sequencesMs: 20, prefillMs: 600 } }))).toBe("prefill");
    expect(limit({ runningMean: 200 })).toBe("decode");
    expect(limit({ kvUsageMean: 0.8 })).toBe("kv");
    expect(limit({ openMean: 15 })).toBe("kv");
    expect(limit({})).toBe("tasks");
  });
});
