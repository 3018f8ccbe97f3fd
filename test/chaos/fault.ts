/** What is done to a cluster while a sweep runs: a schedule that a seed gives. What really happened is the striker's to say. */
import type { Random } from "../../services/runtime/random.ts";

/** What can be done, with what it does. */
export const FAULTS = {
  kill: "kill -9 of a part, which is started again",
  stop: "SIGSTOP of a part for some seconds",
  drain: "SIGTERM or SIGUSR1 of a part, which is started again",
  "redis-restart": "kill -9 of Redis, which comes back with its data",
  "redis-empty": "kill -9 of Redis, which comes back without its data",
  cut: "the cable of a part is pulled for some seconds",
  refuse: "a part cannot reach another for some seconds, and is told so",
  disk: "the disk of the run directory is full for a while",
  second: "a second coordinator on the same run directory",
} as const;

export type Kind = keyof typeof FAULTS;

export const KINDS: readonly Kind[] = [
  "kill",
  "stop",
  "drain",
  "redis-restart",
  "redis-empty",
  "cut",
  "refuse",
  "disk",
  "second",
];

export const PARTS = ["redis", "coordinator", "worker-1", "worker-2", "verifier-1"] as const;
export type PartName = (typeof PARTS)[number];

export interface Fault {
  readonly kind: Kind;
  /** Whom it strikes; no other fault strikes it at the same time. */
  readonly victim: PartName;
  /** Of "refuse": whom the victim cannot reach. */
  readonly peer: PartName;
  /** From the sweep's submission. */
  readonly atMs: number;
  /** Until it is over, or the victim is started again. */
  readonly forMs: number;
  /** Which of the ways there are, in [0, 1). */
  readonly way: number;
}

/** Faults of one round. */
const FAULTS_MAX = 4;
/** They begin within this time of the submission: later ones would mostly find a sweep that nothing delayed at its end. */
const AT_MS_MAX = 2_500;
const KILLED_MS_MAX = 1_500;
const STOPPED_MS_MIN = 500;
const STOPPED_MS_MAX = 4_000;
/** Now and then one lasts longer than a job's lock: the job goes to another attempt while this one sleeps. */
const LONG_SHARE = 0.1;
const LONG_MS = 8_000;

const OURS: readonly PartName[] = ["coordinator", "worker-1", "worker-2", "verifier-1"];

/** The faults of a round, in the order of their begin. */
export function scheduleFaults(random: Random, kinds: readonly Kind[]): readonly Fault[] {
  const pick = <T>(from: readonly T[]): T => {
    const found = from[Math.floor(random.next() * from.length)];
    if (found === undefined) throw new Error("nothing to pick from");
    return found;
  };
  const count = 1 + Math.floor(random.next() * FAULTS_MAX);
  const faults = Array.from({ length: count }, (): Fault => {
    const kind = pick(kinds);
    const victim = pick(victimsOf(kind));
    const peers = victim === "coordinator" ? (["redis"] as const) : (["redis", "coordinator"] as const);
    const atMs = Math.floor(random.next() * AT_MS_MAX);
    const isLong = random.next() < LONG_SHARE;
    const [min, max] = isBrief(kind) ? [0, KILLED_MS_MAX] : [STOPPED_MS_MIN, STOPPED_MS_MAX];
    const ms = Math.floor(min + random.next() * (max - min));
    const forMs = isLong && !isBrief(kind) ? LONG_MS : ms;
    return { kind, victim, peer: pick(peers), atMs, forMs, way: random.next() };
  });
  return faults.toSorted((a, b) => a.atMs - b.atMs);
}

function victimsOf(kind: Kind): readonly PartName[] {
  switch (kind) {
    case "kill":
    case "drain":
    case "refuse":
      return OURS;
    case "stop":
    case "cut":
      return PARTS;
    case "redis-restart":
    case "redis-empty":
      return ["redis"];
    case "disk":
    case "second":
      return ["coordinator"];
  }
}

/** Whether it is the time for which a killed part is away. */
function isBrief(kind: Kind): boolean {
  return kind === "kill" || kind === "drain" || kind.startsWith("redis-");
}

/** "stop worker-1 at 1.2 s for 3.0 s". */
export function faultText({ kind, victim, peer, atMs, forMs }: Fault): string {
  const whom = kind === "refuse" ? `${victim}>${peer}` : victim;
  return `${kind} ${whom} at ${(atMs / 1_000).toFixed(1)} s for ${(forMs / 1_000).toFixed(1)} s`;
}
