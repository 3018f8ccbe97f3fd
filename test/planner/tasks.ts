/** Synthetic tasks for tests: small, with lengths that do not vary unless a test says so. */
import { around } from "../../services/planner/lengths.ts";
import type { Placer, PlacerCluster } from "../../services/planner/placer.ts";
import { SyntheticTask, type TaskShape, type VirtualRequest } from "../../services/planner/synthetic-task.ts";
import { bestOfN } from "../../services/search/strategies/best-of-n.ts";
import { type Strategy, withDefaults } from "../../services/search/strategy.ts";

export function shapeOf(
  strategy: unknown,
  parameters: Readonly<Record<string, unknown>>,
  rest: Partial<TaskShape> = {},
): TaskShape {
  // Tests name real strategies with parameters that those declare.
  const known = strategy as Strategy;
  return {
    kind: known.name,
    strategy: known,
    parameters: withDefaults(known.parameters, parameters as never),
    rootTokens: 0,
    problem: around(100, { spread: 0 }),
    answer: around(50, { spread: 0 }),
    step: around(30, { spread: 0 }),
    depth: around(4, { spread: 0 }),
    sampling: { at: "hosts", completionTokens: 0 },
    outcome: { at: "elsewhere", ms: 10 },
    process: { at: "elsewhere", ms: 10 },
    passRate: 0,
    hasFullTexts: false,
    ...rest,
  };
}

export const bestOf = (n: number, rest: Partial<TaskShape> = {}): TaskShape => shapeOf(bestOfN, { n }, rest);

export function* tasksOf(shape: TaskShape, count: number, seed = 1): Generator<SyntheticTask, void> {
  let requests = 0;
  for (let ordinal = 0; ordinal < count; ordinal++)
    yield new SyntheticTask(shape, { ordinal, seed }, () => requests++);
}

/** Opens everything and sends each ask at once to the host that the rule says. */
export function pusher(rule: (request: VirtualRequest) => number) {
  return (cluster: PlacerCluster): Placer => {
    const waiting: VirtualRequest[] = [];
    return {
      wants: () => Infinity,
      opened: () => undefined,
      allOpened: () => undefined,
      asked: (_, requests) => void waiting.push(...requests),
      withdrawn: (request) => {
        const at = waiting.indexOf(request);
        if (at >= 0) waiting.splice(at, 1);
      },
      begun: () => undefined,
      settled: () => undefined,
      ended: () => undefined,
      run: () => {
        for (const request of waiting.splice(0)) cluster.send(request, rule(request), 0);
      },
    };
  };
}
