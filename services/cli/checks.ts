/** The checks of `coppice doctor`. Each one looks at one thing, changes nothing and ends within a deadline. */
import { randomInt } from "node:crypto";
import type { HostSpec } from "../coordinator/sweep.ts";
import { HOST_DEFAULTS } from "../coordinator/sweep-file/sweep-schema.ts";
import { createBullmqLanes } from "../queue/bullmq-lanes.ts";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import { createRandom } from "../runtime/random.ts";
import { createDriver, createHttpHostDriver } from "../../workers/rollout/create-driver.ts";
import type { Driver, ProbedFacts } from "../../workers/rollout/driver.ts";
import type { ProbeReport } from "../../workers/rollout/drivers/http-host/probe-report.ts";
import { provenTools } from "../../workers/verify/sandbox/probe.ts";
import { loadSweep } from "./load-sweep.ts";
import type { Shell } from "./shell.ts";
import { type ClientOptions, withSweeps } from "./sweeps.ts";
import { SHIPPED_MODEL_PATH, programVersion } from "./version.ts";

export interface Check {
  readonly name: string;
  /** Whether the person cannot do what they asked about without it. */
  readonly isNeeded: boolean;
  /** What was found. Throws what is missing. */
  readonly look: (signal: AbortSignal) => Promise<string | Seen>;
}

/** What was found of a host, with all that its probe says. */
export interface Seen {
  readonly message: string;
  readonly report: ProbeReport;
}

export interface Finding {
  readonly check: string;
  readonly state: "ok" | "missing" | "optional";
  readonly message: string;
  /** Of a host over HTTP that answered. */
  readonly report?: ProbeReport;
}

const CHECK_MS = 30_000;
/** How long a Redis is waited for that nobody named: it is optional, and on this machine. */
const LOCAL_REDIS_MS = 1_000;
const NODE_MAJOR_MIN = 24;

/** Looks, and never throws: what is missing is a finding. */
export async function lookAt({ name, isNeeded, look }: Check, shell: Shell): Promise<Finding> {
  const late = new AbortController();
  const timer = shell.clock.after(CHECK_MS, () =>
    late.abort(new CoppiceError("deadline_exceeded", `no answer within ${CHECK_MS / 1_000} s`)),
  );
  const expired = new Promise<never>((_, reject) =>
    late.signal.addEventListener("abort", () => reject(late.signal.reason)),
  );
  try {
    const seen = await Promise.race([look(late.signal), expired]);
    return { check: name, state: "ok", ...(typeof seen === "string" ? { message: seen } : seen) };
  } catch (error) {
    return { check: name, state: isNeeded ? "missing" : "optional", message: messageOf(error) };
  } finally {
    timer.cancel();
  }
}

/** What `coppice run` needs with nothing else installed. */
export function localChecks(shell: Shell): readonly Check[] {
  const host: HostSpec = {
    engine: "embedded",
    id: "embedded",
    ...HOST_DEFAULTS.embedded,
    sequences: 1,
    model_path: SHIPPED_MODEL_PATH,
  };
  return [
    { name: "coppice", isNeeded: true, look: () => Promise.resolve(`version ${programVersion()}`) },
    { name: "node", isNeeded: true, look: () => Promise.resolve(nodeVersion()) },
    { ...hostCheck(host, null, shell), name: "embedded host (llama.cpp and the model that is shipped)" },
    { name: "sandbox", isNeeded: false, look: () => sandbox(shell) },
  ];
}

/** What a cluster needs. */
export function redisCheck(url: string, shell: Shell, isNeeded: boolean): Check {
  return {
    name: `Redis ${url}`,
    isNeeded,
    async look() {
      const warnings: string[] = [];
      const lanes = createBullmqLanes({
        redisUrl: url,
        prefix: "coppice",
        clock: shell.clock,
        onWarning: (message) => warnings.push(message),
        ...(isNeeded ? {} : { store: { commandMs: LOCAL_REDIS_MS } }),
      });
      try {
        await lanes.ping();
        return ["answers", ...warnings].join("; ");
      } finally {
        await lanes.close();
      }
    },
  };
}

export function coordinatorCheck(options: ClientOptions, shell: Shell): Check {
  return {
    name: `coordinator ${options.coordinator}`,
    isNeeded: true,
    look: () =>
      withSweeps(shell, options, async (sweeps) => {
        const held = await Array.fromAsync(sweeps.list());
        const hosts = held.at(-1)?.hosts.map(({ id }) => id) ?? [];
        return `answers; holds ${held.length} sweeps${hosts.length > 0 ? `; hosts: ${hosts.join(", ")}` : ""}`;
      }),
  };
}

/** One host: whether it answers, and what it serves. */
export function hostCheck(spec: HostSpec, model: string | null, shell: Shell): Check {
  return {
    name: `host ${spec.id}`,
    isNeeded: true,
    async look(signal) {
      const random = createRandom(randomInt(2 ** 31));
      const options = { model, env: shell.env, clock: shell.clock, random };
      if ("url" in spec) {
        const driver = createHttpHostDriver(spec, options);
        return closing(driver, async () => {
          const report = await driver.report(signal);
          return { message: factsText(report.facts), report };
        });
      }
      const driver = await createDriver(spec, options);
      return closing(driver, async () => factsText(await driver.probe(signal)));
    },
  };
}

async function closing<T>(driver: Driver, look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } finally {
    await driver.close();
  }
}

function factsText(facts: ProbedFacts): string {
  const context = facts.contextTokens === null ? "context unknown" : `context ${facts.contextTokens} tokens`;
  const can = facts.can.length === 0 ? "" : `; beside sampling it can do ${facts.can.join(", ")}`;
  return `serves "${facts.model}", ${context}, ${facts.concurrency} rollouts at once${can}`;
}

/** A sweep: the file, its problems, and its hosts. A file that is wrong is one finding. */
export async function sweepChecks(
  path: string,
  overrides: readonly string[],
  shell: Shell,
): Promise<readonly Check[]> {
  try {
    const { sweep, check } = await loadSweep(path, shell, {
      overrides,
      skipInvalid: false,
      destination: "here",
    });
    const found = `${check.count} problems x ${sweep.arms.length} strategies`;
    const file: Check = { name: `sweep ${path}`, isNeeded: true, look: () => Promise.resolve(found) };
    return [file, ...sweep.hosts.map((host) => hostCheck(host, sweep.model, shell))];
  } catch (error) {
    return [{ name: `sweep ${path}`, isNeeded: true, look: () => Promise.reject(error) }];
  }
}

function nodeVersion(): string {
  const major = Number(process.versions.node.split(".")[0]);
  if (major >= NODE_MAJOR_MIN) return process.version;
  throw new Error(`expected version ${NODE_MAJOR_MIN} or newer, found ${process.version}`);
}

async function sandbox({ clock, env }: Shell): Promise<string> {
  try {
    const { bwrap } = await provenTools({ clock, env });
    return `${bwrap}; programs that tried to get out, or past a limit, could not`;
  } catch (error) {
    const message = `${messageOf(error)}; unit-tests and execute, which run programs, are not offered here`;
    throw new Error(message, { cause: error });
  }
}
