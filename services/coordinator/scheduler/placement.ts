/**
 * Placement: on which host a task's tree lives. Pure: filter, then score, then pick. The seam of the scheduler: a better
 * rule changes one of the three functions.
 *
 * The rule now is sticky least-loaded: a task stays on its home host, a new one goes to the host that serves its
 * model and has the fewest open trees for its size. Ties go to the lower host id, never to arrival (I4).
 */
import type { HostFacts } from "../../link/link.ts";
import type { Ability } from "../../queue/job.ts";

/** What placement knows of a host. */
export interface HostLoad {
  readonly facts: HostFacts;
  /** Whether its worker is heard from and its lane may be filled. */
  readonly isReady: boolean;
  /** Trees that live there. */
  readonly openTasks: number;
}

export interface PlacementNeeds {
  readonly model: string;
  /** What the host must be able to do. */
  readonly can: ReadonlySet<Ability>;
}

export function place(hosts: Iterable<HostLoad>, needs: PlacementNeeds): HostLoad | null {
  let best: HostLoad | null = null;
  for (const host of hosts) {
    if (!canServe(host, needs)) continue;
    if (best === null || isBetter(host, best)) best = host;
  }
  return best;
}

/** Filter. */
export function canServe(host: HostLoad, needs: PlacementNeeds): boolean {
  return host.isReady && isFit(host.facts, needs);
}

/** Whether it could serve once it is ready. */
export function isFit(facts: HostFacts, needs: PlacementNeeds): boolean {
  if (facts.model !== "*" && facts.model !== needs.model) return false;
  return needs.can.isSubsetOf(new Set(facts.can));
}

/** Score: open trees per sequence that the host decodes at once; less is better. */
function load(host: HostLoad): number {
  return host.openTasks / host.facts.concurrency;
}

/** Pick. */
function isBetter(a: HostLoad, b: HostLoad): boolean {
  const difference = load(a) - load(b);
  return difference < 0 || (difference === 0 && a.facts.id < b.facts.id);
}
