/**
 * Defects that are planted to show that the simulator finds them: what production code does is replaced, in this process, by what a
 * careless change would make of it. `node test/sim/planted.ts` says with which seed each is found.
 */
import { NOTHING } from "../../services/coordinator/amount.ts";
import { Journal } from "../../services/coordinator/journal.ts";
import { Ledger } from "../../services/coordinator/ledger.ts";
import { Run } from "../../services/coordinator/sweep-run.ts";
import { simulate } from "./simulate.ts";
import { Violation } from "./violation.ts";

/** By name, each with what plants it; that returns what takes it out again. */
export const PLANTED = {
  "acknowledges before it appends": () =>
    replace(
      Journal.prototype,
      "append",
      (append) =>
        function (this: Journal, entry) {
          append.call(this, entry).catch(() => undefined);
          return Promise.resolve();
        },
    ),
  "accepts by job instead of by ask": () => {
    const seen = new WeakMap<Run, Set<string>>();
    return replace(
      Run.prototype,
      "accept",
      (accept) =>
        function (this: Run, report) {
          const jobs = seen.get(this) ?? new Set();
          seen.set(this, jobs);
          if (jobs.has(report.job)) return Promise.resolve();
          jobs.add(report.job);
          return accept.call(this, report);
        },
    );
  },
  "releases a reservation twice": () =>
    replace(
      Ledger.prototype,
      "charge",
      (charge) =>
        function (this: Ledger, reservation, cost) {
          charge.call(this, { ...reservation, isOpen: true }, NOTHING);
          charge.call(this, reservation, cost);
        },
    ),
} as const satisfies Readonly<Record<string, () => () => void>>;

export type PlantedDefect = keyof typeof PLANTED;

/** The first seed from 1 on whose world breaks a promise with the defect planted, and which; null when none up to `seedsMax` does. */
export async function findPlanted(
  defect: PlantedDefect,
  seedsMax: number,
): Promise<{ readonly seed: number; readonly violation: Violation } | null> {
  const takeOut = PLANTED[defect]();
  try {
    for (let seed = 1; seed <= seedsMax; seed += 1) {
      try {
        await simulate(seed, { isTwice: false });
      } catch (error) {
        if (error instanceof Violation) return { seed, violation: error };
        throw error;
      }
    }
    return null;
  } finally {
    takeOut();
  }
}

function replace<T extends object, K extends keyof T>(
  prototype: T,
  name: K,
  make: (original: T[K]) => T[K],
): () => void {
  const original = prototype[name];
  prototype[name] = make(original);
  return () => {
    prototype[name] = original;
  };
}

if (import.meta.main) {
  for (const defect of Object.keys(PLANTED) as PlantedDefect[]) {
    const found = await findPlanted(defect, 1_000);
    const where =
      found === null ? "not found in 1,000 seeds" : `seed ${found.seed}: ${found.violation.message}`;
    process.stdout.write(`${defect.padEnd(36)} ${where}\n`);
  }
}
