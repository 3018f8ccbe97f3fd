/**
 * A whole cluster in one process, for `coppice run`: lanes in memory, a link that is a call, a rollout worker per host and
 * one verification worker around the coordinator. The same parts as on many machines; only what joins them differs.
 */
import { randomInt } from "node:crypto";
import { createCoordinator } from "../coordinator/coordinator.ts";
import type { Coordinator } from "../coordinator/coordinator-api.ts";
import type { HostSpec } from "../coordinator/sweep.ts";
import { createLocalLink } from "../link/local-link.ts";
import type { HostFacts } from "../link/link.ts";
import { createMemoryLanes } from "../queue/memory-lanes.ts";
import type { VerifierSpec } from "../queue/job.ts";
import type { Clock } from "../runtime/clock.ts";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import type { Lifecycle } from "../runtime/lifecycle.ts";
import type { Log } from "../runtime/log.ts";
import { createRandom, type Random } from "../runtime/random.ts";
import { gpusOf } from "./host-gpus.ts";
import { createDriver } from "../../workers/rollout/create-driver.ts";
import { startRolloutWorker, type RolloutWorker } from "../../workers/rollout/rollout-worker.ts";
import { createVerifierPool } from "../../workers/verify/pool.ts";
import { startVerificationWorker } from "../../workers/verify/verification-worker.ts";

export interface EmbeddedClusterOptions {
  readonly hosts: readonly HostSpec[];
  /** The model that the sweep asks for: what a host that serves several is asked for. */
  readonly model: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly lifecycle: Lifecycle;
  /** The program's version. */
  readonly version: string;
  /** Where hosts' keys are read. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What verification workers are asked for; of the kinds that judge outside of this process no other is looked at. */
  readonly verifiers: readonly VerifierSpec[];
  /** Threads that verify. */
  readonly verifierThreads: number;
  /** Told of a host that cannot be used while others can, and of a verifier that fails. */
  readonly warn: (line: string) => void;
}

export interface EmbeddedCluster {
  readonly coordinator: Coordinator;
  readonly hosts: readonly HostFacts[];
  /** Workers take no more and finish what they hold, within `graceMs`. */
  drain(graceMs: number): Promise<void>;
}

/** Verification jobs in hand for each thread: enough that a thread does not idle while a report is on its way. */
const VERIFICATIONS_PER_THREAD = 8;
/** For closing, once nothing that is left matters. */
const CLOSE_GRACE_MS = 250;

/**
 * Starts every part; `lifecycle` owns them.
 * @throws what the hosts' probes said, when not one of them can be used; "failed_precondition" when the verifier cannot.
 */
export async function startEmbeddedCluster(options: EmbeddedClusterOptions): Promise<EmbeddedCluster> {
  const { clock, log, lifecycle, version } = options;
  const random = createRandom(randomInt(2 ** 31));
  const lanes = lifecycle.own("lanes", createMemoryLanes({ clock, random }), (part) => part.close());
  const parts = { lanes, clock, log: log.child({ part: "coordinator" }), version, say: options.warn };
  const coordinator = lifecycle.own("coordinator", createCoordinator(parts), (part) => part.close());
  const joined = { ...options, random, lanes, coordinator };
  const workers = await startHosts(joined);
  const verification = await startVerification(joined);
  return {
    coordinator,
    hosts: workers.map((worker) => worker.host),
    drain: async (graceMs) => {
      await Promise.all([...workers, verification].map((worker) => worker.drain(graceMs)));
    },
  };
}

interface Joined extends EmbeddedClusterOptions {
  readonly random: Random;
  readonly lanes: ReturnType<typeof createMemoryLanes>;
  readonly coordinator: Coordinator;
}

async function startHosts(joined: Joined): Promise<readonly RolloutWorker[]> {
  const started = await Promise.allSettled(joined.hosts.map((spec) => startHost(spec, joined)));
  joined.lifecycle.leaving.throwIfAborted();
  const failures = started.flatMap((outcome, i) => {
    return outcome.status === "rejected" ? [`host ${joined.hosts[i]?.id}: ${messageOf(outcome.reason)}`] : [];
  });
  const workers = started.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
  if (workers.length === 0) throw new CoppiceError("failed_precondition", failures.join("\n"));
  for (const failure of failures) joined.warn(`warning: ${failure}; the sweep goes on without it`);
  return workers;
}

async function startHost(spec: HostSpec, joined: Joined): Promise<RolloutWorker> {
  const { clock, log, lifecycle, lanes, random, coordinator, env, model } = joined;
  const driver = await createDriver(spec, { clock, random, env, model, log });
  const link = createLocalLink(coordinator.desk, { clock, random });
  const id = `worker-${spec.id}`;
  const signal = lifecycle.leaving;
  try {
    const worker = await startRolloutWorker({
      id,
      hostId: spec.id,
      gpus: gpusOf(spec),
      driver,
      lanes,
      link,
      clock,
      signal,
      log: log.child({ part: id }),
    });
    return lifecycle.own(id, worker, (part) => part.drain(CLOSE_GRACE_MS));
  } catch (error) {
    await Promise.allSettled([link.close(), driver.close()]);
    throw error;
  }
}

async function startVerification(joined: Joined) {
  const { clock, log, lifecycle, lanes, random, coordinator, env, verifiers, verifierThreads } = joined;
  const id = "worker-verification";
  // The sweep is by the owner of this machine: it may run commands here.
  const outside = {
    env,
    log: log.child({ part: id }),
    allowsCommands: true,
    kinds: verifiers.map(({ kind }) => kind),
  };
  const created = await createVerifierPool({ clock, threads: verifierThreads, outside });
  const pool = lifecycle.own("verifiers", created, (part) => part.close());
  for (const verifier of verifiers) pool.check(verifier);
  const link = lifecycle.own("link", createLocalLink(coordinator.desk, { clock, random }), (part) =>
    part.close(),
  );
  const concurrency = verifierThreads * VERIFICATIONS_PER_THREAD;
  const worker = await startVerificationWorker({
    id,
    lanes,
    link,
    clock,
    pool,
    concurrency,
    log: log.child({ part: id }),
    onTrouble: (message) => joined.warn(`warning: ${message}`),
  });
  return lifecycle.own(id, worker, (part) => part.drain(CLOSE_GRACE_MS));
}
