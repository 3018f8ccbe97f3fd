/** What the processes of a cluster have in common: a log on standard error, signals, lanes on Redis, a metrics endpoint. */
import { randomInt } from "node:crypto";
import { createGrpcLink, type LinkState } from "../link/grpc-link.ts";
import type { CoordinatorLink } from "../link/link.ts";
import { createBullmqLanes } from "../queue/bullmq-lanes.ts";
import type { Lanes } from "../queue/lanes.ts";
import { drainLimitMs, type Lifecycle, createLifecycle } from "../runtime/lifecycle.ts";
import { type Log, createLog } from "../runtime/log.ts";
import { type Metrics, createMetrics, serveMetrics } from "../runtime/metrics.ts";
import { createRandom } from "../runtime/random.ts";
import { readToken } from "./options.ts";
import type { Shell } from "./shell.ts";

export interface Daemon {
  readonly log: Log;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
}

/**
 * Runs a process of a cluster until it is told to leave or `work` ends: starts it, waits, closes what it started.
 * @param work Starts the parts and says when it is over by itself; its parts belong to the lifecycle.
 * @returns The exit status that `work` gave.
 */
export async function runDaemon(
  shell: Shell,
  options: {
    readonly name: string;
    /** What runs may finish for so long when it is told to leave. */
    readonly drainSeconds?: number;
    readonly stream?: { write(line: string): void };
  },
  work: (daemon: Daemon) => Promise<number>,
): Promise<number> {
  const log = createLog(options);
  const { process, clock, say: tell } = shell;
  const limits = { drainMs: drainLimitMs(options.drainSeconds ?? 0) };
  const lifecycle = createLifecycle({ process, clock, tell, log, limits });
  try {
    return await work({ log, lifecycle, metrics: createMetrics({ hasProcessMetrics: true }) });
  } finally {
    await lifecycle.close();
  }
}

/**
 * Lanes on Redis, once Redis has answered.
 * @throws unavailable naming its address.
 */
export async function openLanes(
  daemon: Daemon,
  shell: Shell,
  at: { readonly redis: string; readonly prefix: string },
): Promise<Lanes> {
  const onWarning = (message: string): void => daemon.log.warn({ message }, "redis_warning");
  const lanes = createBullmqLanes({ redisUrl: at.redis, prefix: at.prefix, clock: shell.clock, onWarning });
  daemon.lifecycle.own("lanes", lanes, (part) => part.close());
  await lanes.ping();
  return lanes;
}

/** The line to the coordinator; says on standard error when it is lost and when it is back. */
export function createLink(
  daemon: Daemon,
  shell: Shell,
  to: { readonly coordinator: string; readonly tokenEnv: string },
): CoordinatorLink {
  const onState = (state: LinkState): void => {
    const { kind, address } = state;
    if (kind === "lost")
      daemon.log.warn({ address, message: state.error.message, retry_ms: state.retryInMs }, "line_lost");
    else daemon.log.info({ address }, `line_${kind}`);
  };
  const random = createRandom(randomInt(2 ** 31));
  const token = readToken(shell, to.tokenEnv);
  const link = createGrpcLink({ address: to.coordinator, token, clock: shell.clock, random, onState });
  return daemon.lifecycle.own("link", link, (part) => part.close());
}

/** Serves the daemon's metrics where `address` says; nothing where it says nothing. */
export async function exposeMetrics(
  daemon: Daemon,
  address: string | undefined,
  shell: Shell,
): Promise<void> {
  if (address === undefined) return;
  const server = await serveMetrics({ metrics: daemon.metrics, address });
  daemon.lifecycle.own("metrics", server, (part) => part.close());
  shell.say(`metrics on http://${server.address}/metrics`);
}

/** Resolves when the process is asked to leave. */
export function untilLeaving(leaving: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (leaving.aborted) resolve();
    else leaving.addEventListener("abort", () => resolve(), { once: true });
  });
}
