/**
 * Placement: on which host a task's tree lives. Pure: filter (`canServe`), then score (what it would wait, and compute again), then
 * pick (`rank`). Ties go to the host with less to do, then to the lower id, never to arrival.
 */
import type { HostFacts } from "../../link/link.ts";
import type { Ability } from "../../queue/job.ts";

export interface PlacementNeeds {
  readonly model: string;
  /** What the host must be able to do. */
  readonly can: ReadonlySet<Ability>;
}

/** Whether it could serve once it is ready. */
export function isFit(facts: HostFacts, needs: PlacementNeeds): boolean {
  if (facts.model !== "*" && facts.model !== needs.model) return false;
  for (const ability of needs.can) if (!facts.can.includes(ability)) return false;
  return true;
}

/** A host as a home for a tree. */
export interface Candidate {
  readonly host: string;
  /** Until an ask of the tree would begin there. */
  readonly waitMs: number;
  /** To compute what it does not hold of the path. */
  readonly prefillMs: number;
  readonly cachedTokens: number;
  /** Asks there for each that it may have at once. */
  readonly load: number;
}

/** The best `count`, best first. */
export function rank(candidates: Iterable<Candidate>, count: number): readonly Candidate[] {
  const best: Candidate[] = [];
  for (const candidate of candidates) {
    const last = best.at(-1);
    if (best.length === count && last !== undefined && !isBetter(candidate, last)) continue;
    const at = best.findIndex((each) => isBetter(candidate, each));
    best.splice(at === -1 ? best.length : at, 0, candidate);
    if (best.length > count) best.pop();
  }
  return best;
}

/** Times that differ by less are the same: estimates are not that good. */
const SAME_MS = 1;

function isBetter(a: Candidate, b: Candidate): boolean {
  const difference = a.waitMs + a.prefillMs - (b.waitMs + b.prefillMs);
  if (Math.abs(difference) >= SAME_MS) return difference < 0;
  if (a.load !== b.load) return a.load < b.load;
  return a.host < b.host;
}
