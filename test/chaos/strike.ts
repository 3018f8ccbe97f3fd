/** Carries a fault out, and undoes it. Each says whether it really happened: a sweep may end before its fault's turn comes. */
import { spawn } from "node:child_process";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { CLI } from "../support/coppice.ts";
import { freePort } from "../../deploy/local-cluster.ts";
import type { Bed } from "./bed.ts";
import type { Fault } from "./fault.ts";
import { untilTrue } from "./waiting.ts";

/** What the round says of its sweep. */
export interface Target {
  readonly id: string;
  readonly output: string;
  hasEnded(): boolean;
  journalBytes(): number;
  /** Whether the coordinator says of the sweep that it failed, or does not hold it. */
  hasFailed(): Promise<boolean>;
}

/** How a second coordinator must be refused. */
const REFUSED = /another process works on this run|only one may/;
const REFUSED_MS_MAX = 30_000;
/** A full disk that the sweep does not meet within this time was not met: it had nothing to write. */
const FULL_MS_MAX = 8_000;
/** A sweep that has not failed writes how long it runs every few seconds, if nothing else. */
const WRITES_MS_MAX = 60_000;

/** Resolves when the fault is over. @returns Whether it struck a sweep that ran. @throws What must not happen under it. */
export function strike(fault: Fault, bed: Bed, target: Target): Promise<boolean> {
  return bed.alone(fault.victim, async () => {
    if (target.hasEnded()) return false;
    switch (fault.kind) {
      case "kill":
        await bed.end(fault.victim, "SIGKILL");
        return restart(fault, bed);
      case "drain":
        await bed.end(fault.victim, fault.way < 0.5 ? "SIGTERM" : "SIGUSR1");
        return restart(fault, bed);
      case "redis-restart":
        await bed.end("redis", "SIGKILL");
        return restart(fault, bed);
      case "redis-empty":
        await bed.end("redis", "SIGKILL");
        await rm(join(bed.directory, "appendonlydir"), { recursive: true, force: true });
        return restart(fault, bed);
      case "stop":
        bed.cluster.signal(fault.victim, "SIGSTOP");
        await passed(fault.forMs);
        bed.cluster.signal(fault.victim, "SIGCONT");
        return true;
      case "cut":
        bed.network?.cut(fault.victim);
        await passed(fault.forMs);
        bed.network?.mend(fault.victim);
        return true;
      case "refuse":
        bed.network?.refuse(fault.victim, fault.peer);
        await passed(fault.forMs);
        bed.network?.allow(fault.victim, fault.peer);
        return true;
      case "disk":
        return fillDisk(bed, target);
      case "second":
        return fault.way < 0.5 ? resumeBeside(bed, target) : coordinateBeside(bed, target);
    }
  });
}

async function restart({ victim, forMs }: Fault, bed: Bed): Promise<true> {
  await passed(forMs);
  await bed.start(victim);
  return true;
}

/**
 * The sweep must say that it failed; with room on the disk again, a coordinator that starts goes on with it. One that had nothing to
 * write meanwhile has met nothing, and writes again.
 */
async function fillDisk(bed: Bed, target: Target): Promise<boolean> {
  const isOver = async (): Promise<boolean> => target.hasEnded() || (await target.hasFailed());
  bed.disk?.fill();
  await untilTrue(isOver, FULL_MS_MAX);
  bed.disk?.free();
  const bytes = target.journalBytes();
  await untilTrue(async () => target.journalBytes() > bytes || (await isOver()), WRITES_MS_MAX);
  if (target.hasEnded() || !(await target.hasFailed())) return false;
  await bed.end("coordinator", "SIGTERM");
  await bed.start("coordinator");
  return true;
}

/** `coppice run --resume` on the run that the coordinator works on. */
async function resumeBeside(bed: Bed, target: Target): Promise<boolean> {
  const { status, text } = await beside(bed, ["run", "--resume", target.output], () => false);
  if (status !== 0 && REFUSED.test(text)) return true;
  if (target.hasEnded()) return false;
  throw new Error(`expected \`run --resume\` to be refused, found status ${status}: ${text}`);
}

/** Another coordinator over the same runs. */
async function coordinateBeside(bed: Bed, target: Target): Promise<boolean> {
  const listen = ["--listen", `127.0.0.1:${await freePort()}`, "--runs", bed.runs];
  const redis = ["--redis", bed.cluster.redisUrl, "--prefix", "second"];
  const { text } = await beside(bed, ["coordinator", ...listen, ...redis], (said) =>
    /coordinator on /.test(said),
  );
  if (REFUSED.test(text)) return true;
  // It starts only where Redis answers, and finds nothing to go on with once the sweep has ended.
  if (target.hasEnded() || !text.includes("coordinator on ")) return false;
  throw new Error(`expected a second coordinator to be refused the run, found: ${text}`);
}

/** Runs a command until it ends, or is told to because it has said enough. */
function beside(
  bed: Bed,
  args: readonly string[],
  isEnough: (said: string) => boolean,
): Promise<{ readonly status: number | null; readonly text: string }> {
  const [command = process.execPath, ...rest] = [
    ...(bed.network?.enter("coordinator") ?? []),
    process.execPath,
    CLI,
    ...args,
  ];
  const child = spawn(command, rest, { stdio: ["ignore", "pipe", "pipe"] });
  const limit = setTimeout(() => child.kill("SIGKILL"), REFUSED_MS_MAX);
  let text = "";
  const hear = (chunk: Buffer): void => {
    text += chunk.toString();
    if (isEnough(text)) child.kill("SIGTERM");
  };
  child.stdout.on("data", hear);
  child.stderr.on("data", hear);
  return new Promise((done) =>
    child.once("close", (status) => {
      clearTimeout(limit);
      done({ status, text });
    }),
  );
}

/** Real processes live in real time. */
function passed(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
