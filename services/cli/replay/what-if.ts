/**
 * What-if on records: the production coordinator, its scheduler, ledger, allocators and workers in this process, over recorded rollouts.
 * Each cell (an allocator, a budget, a seed) is a sweep of its own in a run directory that is thrown away.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AllocatorSpec } from "../../coordinator/allocate/catalogue.ts";
import { UNLIMITED } from "../../coordinator/amount.ts";
import { createCoordinator } from "../../coordinator/coordinator.ts";
import type { Coordinator } from "../../coordinator/coordinator-api.ts";
import type { Summary } from "../../coordinator/status.ts";
import { tryRenderPrompt } from "../../coordinator/sweep-file/prompt-template.ts";
import type { Problem, Sweep } from "../../coordinator/sweep.ts";
import { createLocalLink } from "../../link/local-link.ts";
import { createMemoryLanes } from "../../queue/memory-lanes.ts";
import type { VerdictResult } from "../../queue/job.ts";
import { type Disk, systemDisk } from "../../runtime/disk.ts";
import type { Lifecycle } from "../../runtime/lifecycle.ts";
import { silentLog } from "../../runtime/log.ts";
import { createRandom } from "../../runtime/random.ts";
import { startRolloutWorker } from "../../../workers/rollout/rollout-worker.ts";
import { createVerifierPool, type VerifierPool } from "../../../workers/verify/pool.ts";
import { startVerificationWorker } from "../../../workers/verify/verification-worker.ts";
import type { Shell } from "../shell.ts";
import { createRecordedDriver } from "./recorded-driver.ts";
import type { Recorded } from "./recorded.ts";

/** One sweep over the records. */
export interface Cell {
  /** What the allocator is called in the table. */
  readonly name: string;
  readonly allocate: AllocatorSpec;
  /** In rollouts. */
  readonly budget: number;
  /** Which record is which sample; 0: as they were recorded. */
  readonly seed: number;
}

export interface CellResult extends Cell {
  /** Without those that the allocator passed over in favour of another arm. */
  readonly tasks: number;
  readonly solved: number;
  readonly accurate: number;
  readonly rollouts: number;
  readonly tokens: number;
  /** Tasks that failed, which no budget explains. */
  readonly failed: number;
}

export interface WhatIf {
  run(cell: Cell): Promise<CellResult>;
}

export interface WhatIfOptions {
  readonly sweep: Sweep;
  readonly problems: readonly Problem[];
  readonly recorded: Recorded;
  /** Whether verdicts that the records carry are taken as they stand. */
  readonly reusesVerdicts: boolean;
  readonly lifecycle: Lifecycle;
  readonly shell: Shell;
  readonly threads: number;
  readonly version: string;
}

/** Never a status line, never a line of metrics: nobody looks. */
const NEVER_MS = 2 ** 30;

export async function startWhatIf(options: WhatIfOptions): Promise<WhatIf> {
  const { shell, lifecycle, recorded, version } = options;
  const { clock } = shell;
  const random = createRandom(1);
  const directory = await mkdtemp(join(tmpdir(), "coppice-replay-"));
  lifecycle.own("scratch", directory, (path) => rm(path, { recursive: true, force: true }));
  const lanes = lifecycle.own("lanes", createMemoryLanes({ clock, random }), (part) => part.close());
  const run = { statusMs: NEVER_MS, metricsMs: NEVER_MS };
  const parts = { lanes, clock, log: silentLog, version, disk: scratchDisk, run };
  const coordinator = lifecycle.own("coordinator", createCoordinator(parts), (part) => part.close());
  const { promptTemplate } = options.sweep;
  const prompts = new Map(
    options.problems.map((problem) => [problem.id, tryRenderPrompt(promptTemplate, problem).text]),
  );
  const driver = createRecordedDriver(recorded, (problem) => prompts.get(problem) ?? null);
  const link = lifecycle.own("link", createLocalLink(coordinator.desk, { clock, random }), (part) =>
    part.close(),
  );
  const host = await startRolloutWorker({ id: "replay", hostId: "replay", driver, lanes, link, clock });
  lifecycle.own("host", host, (part) => part.drain(0));
  await startVerification(options, { coordinator, lanes, random });
  return {
    async run(cell) {
      driver.shuffle(cell.seed);
      return runCell(cell, options, { coordinator, directory });
    },
  };
}

async function startVerification(
  { sweep, recorded, reusesVerdicts, lifecycle, shell, threads }: WhatIfOptions,
  {
    coordinator,
    lanes,
    random,
  }: {
    readonly coordinator: Coordinator;
    readonly lanes: ReturnType<typeof createMemoryLanes>;
    readonly random: ReturnType<typeof createRandom>;
  },
): Promise<void> {
  const { clock, env } = shell;
  const outside = { env, log: silentLog, allowsCommands: true, kinds: [sweep.verifier.kind] };
  const pool = lifecycle.own("verifiers", await createVerifierPool({ clock, threads, outside }), (part) =>
    part.close(),
  );
  pool.check(sweep.verifier);
  const link = createLocalLink(coordinator.desk, { clock, random });
  const remembering = rememberVerdicts(pool, reusesVerdicts ? recorded : null);
  const worker = await startVerificationWorker({
    id: "verifier",
    lanes,
    link,
    clock,
    pool: remembering,
    concurrency: 64,
  });
  lifecycle.own("verifier", worker, async (part) => {
    await part.drain(0);
    await link.close();
  });
}

/** Judges each text once, however many cells ask, and not at all what the run's verifier judged already. */
function rememberVerdicts(pool: VerifierPool, recorded: Recorded | null): VerifierPool {
  const known = new Map<string, Promise<VerdictResult>>();
  return {
    ...pool,
    kinds: pool.kinds,
    verify(spec, candidate, signal) {
      const said = recorded?.verdictOn(candidate.problem.id, candidate.text) ?? null;
      if (said !== null) return Promise.resolve(said);
      const key = `${candidate.problem.id}\0${candidate.text}`;
      let verdict = known.get(key);
      if (verdict === undefined) {
        verdict = pool.verify(spec, candidate, signal);
        known.set(key, verdict);
        verdict.catch(() => known.delete(key));
      }
      return verdict;
    },
    check: (spec) => pool.check(spec),
    metrics: () => pool.metrics(),
    close: () => pool.close(),
  };
}

async function runCell(
  cell: Cell,
  { sweep, problems }: WhatIfOptions,
  { coordinator, directory }: { readonly coordinator: Coordinator; readonly directory: string },
): Promise<CellResult> {
  const output = join(directory, "run");
  const budget = { ...UNLIMITED, rollouts: cell.budget, perTask: UNLIMITED, wallMs: null, gpuMs: null };
  // Told in the order of their asks, answers give the same frontier every time (I4).
  const changed = { ...sweep, output, budget, allocate: cell.allocate, deterministic: true, hedge: null };
  const started = await coordinator.submit(changed, problems, { given: "", resolved: "" });
  const summary = await started.ended;
  await rm(output, { recursive: true, force: true });
  return resultOf(cell, summary);
}

function resultOf(cell: Cell, summary: Summary): CellResult {
  const arms = Object.values(summary.strategies);
  return {
    ...cell,
    tasks: arms.reduce((sum, arm) => sum + arm.problems, 0),
    solved: arms.reduce((sum, arm) => sum + arm.solved, 0),
    accurate: arms.reduce((sum, arm) => sum + Math.round(arm.accuracy * arm.problems), 0),
    rollouts: summary.rollouts,
    tokens: summary.usage.completion_tokens ?? 0,
    failed: summary.tasks.failed,
  };
}

/** What is written is thrown away: nothing has to survive a loss of power. */
const scratchDisk: Disk = {
  ...systemDisk,
  async append(path, options) {
    const file = await systemDisk.append(path, options);
    return {
      size: () => file.size(),
      write: (chunks) => file.write(chunks),
      sync: () => Promise.resolve(),
      truncate: (bytes) => file.truncate(bytes),
      read: (at, length) => file.read(at, length),
      close: () => file.close(),
    };
  },
  syncDirectory: () => Promise.resolve(),
};
