/** What a process and all its descendants hold, as Linux tells it in /proc. */
import { readdirSync, readFileSync } from "node:fs";

const KIB = 1024;

/** A process: its number, which another may get when it is gone, and when it started, which tells the two apart. */
export interface ProcessId {
  readonly pid: number;
  readonly startTicks: string;
}

/** Null when there is none of this number. */
export function processOf(pid: number): ProcessId | null {
  const startTicks = statOf(pid)[START_TICKS];
  return startTicks === undefined ? null : { pid, startTicks };
}

/** Whether it still runs; the first process of a namespace does as long as any other of it. */
export function isRunning({ pid, startTicks }: ProcessId): boolean {
  const stat = statOf(pid);
  return stat[START_TICKS] === startTicks && stat[STATE] !== "Z" && stat[STATE] !== "X";
}

/** Kills it, if it still runs. */
export function killProcess(id: ProcessId): void {
  try {
    if (isRunning(id)) process.kill(id.pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** Fields of /proc/<pid>/stat after the name, which stands in parentheses and may hold anything. */
const STATE = 0;
const START_TICKS = 19;

function statOf(pid: number): readonly string[] {
  const stat = readOrNothing(`/proc/${pid}/stat`);
  return stat === "" ? [] : stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/**
 * Whether a process and its descendants hold more than so many bytes of memory that belong to no file: anonymous and shared.
 * A process that ended meanwhile holds nothing.
 */
export function holdsMoreThan(bytesMax: number, pid: number): boolean {
  const tree = descendants(pid);
  const sum = (of: (pid: number) => number): number => tree.reduce((all, each) => all + of(each), 0);
  // What processes share since a fork counts for each of them in the cheap count, and once in the other.
  return sum(heldAtMost) > bytesMax && sum(heldShare) > bytesMax;
}

function descendants(pid: number): readonly number[] {
  const found = [pid];
  for (const each of found) found.push(...childrenOf(each));
  return found;
}

function heldAtMost(pid: number): number {
  return kibIn(readOrNothing(`/proc/${pid}/status`), ["RssAnon", "RssShmem"]) * KIB;
}

function heldShare(pid: number): number {
  const found = readOrNothing(`/proc/${pid}/smaps_rollup`);
  return found === "" ? heldAtMost(pid) : kibIn(found, ["Pss_Anon", "Pss_Shmem"]) * KIB;
}

function kibIn(table: string, fields: readonly string[]): number {
  return fields
    .map((field) => Number(new RegExp(`^${field}:\\s*(\\d+)`, "m").exec(table)?.[1] ?? 0))
    .reduce((all, each) => all + each, 0);
}

/** A child belongs to the thread that made it. */
function childrenOf(pid: number): readonly number[] {
  return threadsOf(pid).flatMap((thread) => {
    const children = readOrNothing(`/proc/${pid}/task/${thread}/children`).trim();
    return children === "" ? [] : children.split(" ").map(Number);
  });
}

function threadsOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // It has ended.
  }
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // It has ended.
  }
}
