/** A coordinator with workers around it in this process, for tests of what they do together. */
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UNIFORM } from "../../services/coordinator/allocate/catalogue.ts";
import { createCoordinator } from "../../services/coordinator/coordinator.ts";
import type { Coordinator } from "../../services/coordinator/coordinator-api.ts";
import type { RunLimits } from "../../services/coordinator/run-parts.ts";
import type { DispatchLimits } from "../../services/coordinator/scheduler/dispatcher.ts";
import type { Arm, Problem, Sweep } from "../../services/coordinator/sweep.ts";
import { createLocalLink } from "../../services/link/local-link.ts";
import type { Lanes } from "../../services/queue/lanes.ts";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { silentLog } from "../../services/runtime/log.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { findStrategy } from "../../services/search/catalogue.ts";
import { createArm } from "../../services/coordinator/sweep-file/sweep-resolve.ts";
import { type Strategy, withDefaults } from "../../services/search/strategy.ts";
import type { Driver } from "../../workers/rollout/driver.ts";
import {
  startRolloutWorker,
  type RolloutWorker,
  type RolloutWorkerLimits,
} from "../../workers/rollout/rollout-worker.ts";
import { createVerifierPool } from "../../workers/verify/pool.ts";
import { startVerificationWorker } from "../../workers/verify/verification-worker.ts";
import { NO_ARM_BUDGET, NO_BUDGET } from "./budget.ts";

export { NO_BUDGET } from "./budget.ts";

const clock = systemClock;

export interface InProcess {
  readonly coordinator: Coordinator;
  /** @param options `gpus`: that it says it runs on. */
  addHost(
    id: string,
    driver: Driver,
    options?: { readonly gpus?: number; readonly limits?: Partial<RolloutWorkerLimits> },
  ): Promise<RolloutWorker>;
  close(): Promise<void>;
}

export async function startInProcess(
  options: {
    readonly run?: Partial<RunLimits>;
    readonly dispatch?: Partial<DispatchLimits>;
    /** Lanes to use instead, made of those in memory. */
    readonly around?: (lanes: Lanes) => Lanes;
  } = {},
): Promise<InProcess> {
  const random = createRandom(1);
  const { around = (inner) => inner } = options;
  const lanes = around(createMemoryLanes({ clock, random }));
  const coordinator = createCoordinator({ lanes, clock, log: silentLog, version: "test", ...options });
  const pool = await createVerifierPool({ clock, threads: 1 });
  const verifierLink = createLocalLink(coordinator.desk, { clock, random });
  const verifier = await startVerificationWorker({
    id: "v",
    lanes,
    link: verifierLink,
    clock,
    pool,
    concurrency: 8,
  });
  const workers: RolloutWorker[] = [];
  return {
    coordinator,
    async addHost(id, driver, { gpus = 0, limits = {} } = {}) {
      const link = createLocalLink(coordinator.desk, { clock, random });
      const worker = await startRolloutWorker({
        id: `w-${id}`,
        hostId: id,
        gpus,
        driver,
        lanes,
        link,
        clock,
        limits,
      });
      workers.push(worker);
      return worker;
    },
    async close() {
      await coordinator.close();
      await Promise.all([...workers.map((worker) => worker.drain(0)), verifier.drain(0)]);
      await Promise.allSettled([pool.close(), verifierLink.close(), lanes.close()]);
    },
  };
}

/** @param strategy Its name, or a strategy of the test's own. */
export function arm(strategy: string | Strategy, parameters: Readonly<Record<string, unknown>> = {}): Arm {
  const found = typeof strategy === "string" ? findStrategy(strategy) : strategy;
  if (found === null) throw new Error("no strategy of that name");
  const sampling = { temperature: 0.8, topP: 1, topK: 0, minP: 0, maxTokens: 48, stop: [] };
  // Tests give parameters of the strategy that they name.
  const complete = withDefaults(found.parameters, parameters as never);
  return createArm({
    id: found.name,
    strategy: found,
    parameters: complete,
    sampling,
    budget: NO_ARM_BUDGET,
  });
}

export async function newSweep(given: Partial<Sweep> & Pick<Sweep, "arms">): Promise<Sweep> {
  return {
    name: "test",
    model: "seeded",
    hosts: [],
    promptTemplate: "{prompt}\n",
    sampling: given.arms[0]?.sampling ?? arm("best-of-n").sampling,
    verifier: { kind: "game24" },
    processVerifier: {
      kind: "process-reward",
      prompt: "{prompt}{text}?",
      positive: " good",
      negative: " bad",
    },
    budget: NO_BUDGET,
    prices: null,
    allocate: UNIFORM,
    modelParameters: null,
    seed: 7,
    deterministic: false,
    hedge: null,
    ...given,
    output: given.output ?? join(await mkdtemp(join(tmpdir(), "sweep-")), "run"),
  };
}

/** Puzzles of four numbers from 1 to 13; most can be solved. */
export function puzzles(count: number): Problem[] {
  const random = createRandom(99);
  return Array.from({ length: count }, (_, n) => {
    const numbers = Array.from({ length: 4 }, () => 1 + Math.floor(random.next() * 13)).toSorted(
      (a, b) => a - b,
    );
    return { id: `p${n}`, prompt: numbers.join(" "), reference: null, tests: null, metadata: {} };
  });
}

export const RAW = { given: "given", resolved: "resolved" };

/** Rows without what may differ between two runs (I4), in an order of their own. */
export async function rowsOf(
  output: string,
): Promise<{ readonly rollouts: string[]; readonly results: string[] }> {
  const read = async (file: string, drop: readonly string[]): Promise<string[]> => {
    const text = await readFile(join(output, file), "utf8");
    const rows = text.split("\n").filter((line) => line !== "");
    return rows
      .map((line) =>
        JSON.stringify(JSON.parse(line, (key, value) => (drop.includes(key) ? undefined : value))),
      )
      .toSorted();
  };
  const times = ["host", "attempt", "started_ms", "ended_ms", "wall_ms", "gpu_seconds"];
  const cached = ["cached_tokens", "computed_tokens", "flops"];
  return {
    rollouts: await read("rollouts.jsonl", [...times, ...cached]),
    results: await read("results.jsonl", [
      ...times,
      ...cached,
      "cancelled_tokens",
      "charged",
      "retried_tokens",
    ]),
  };
}
