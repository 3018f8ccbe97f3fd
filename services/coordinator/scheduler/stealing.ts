/** Stealing: what a host that has run dry takes from others, and what one that has far more to do than others gives away. Pure. */
import { canTake, type HostState, type TreeState } from "./host-state.ts";
import type { Outlook } from "./outlook.ts";
import type { Candidate, PlacementNeeds } from "./placement.ts";
import type { NodeRef } from "./prefix-tree.ts";

export interface Theft {
  readonly state: TreeState;
  readonly victim: HostState;
  /** `moved`: the whole tree; `lent`: some of its asks. */
  readonly kind: "moved" | "lent";
  /** As it would be at the host that is dry, and as it is at home. */
  readonly here: Candidate;
  readonly there: Candidate;
}

/**
 * The theft that saves most: asks that wait longer at home than the dry host would take to compute their path. A tree that has
 * nothing running is moved whole; of one that has, only what waits is lent, since what it makes at home stays there. The youngest tree
 * goes where two save the same: it would be the last to run at home.
 */
export function chooseTheft(
  dry: HostState,
  {
    hosts,
    outlook,
    nodeOf,
    isFit,
    worthMin,
  }: {
    readonly hosts: Iterable<HostState>;
    readonly outlook: Outlook;
    /** Of the path that the tree asks about next; null: none. */
    readonly nodeOf: (state: TreeState) => NodeRef | null;
    readonly isFit: (state: TreeState) => boolean;
    /** What is saved must be so many times what is computed again for it. */
    readonly worthMin: number;
  },
): Theft | null {
  let best: Theft | null = null;
  let bestMs = 0;
  for (const victim of hosts) {
    if (victim === dry || victim.waiting === 0) continue;
    for (const state of victim.line) {
      if (!isFit(state)) continue;
      const node = nodeOf(state);
      if (node === null) continue;
      const here = outlook.candidate(dry, state, node);
      const there = outlook.candidate(victim, state, node);
      const savedMs = outlook.waitInLineMs(victim, state) - here.prefillMs - here.waitMs;
      if (savedMs <= 0 || savedMs < bestMs || (savedMs === bestMs && isOlder(state, best?.state))) continue;
      const kind = state.inFlight === 0 ? "moved" : "lent";
      const asks = kind === "moved" ? state.waiting : 1;
      if (savedMs < worthMin * outlook.againMs(dry, { here, there, node, asks })) continue;
      bestMs = savedMs;
      best = { state, victim, kind, here, there };
    }
  }
  return best;
}

function isOlder(state: TreeState, other: TreeState | undefined): boolean {
  return other !== undefined && state.age < other.age;
}

/** The host of these that has least to do; null: none. */
export function lightest(hosts: Iterable<HostState>, needs: PlacementNeeds): HostState | null {
  let best: HostState | null = null;
  for (const host of hosts) if (canTake(host, needs) && (best === null || isLighter(host, best))) best = host;
  return best;
}

function isLighter(a: HostState, b: HostState): boolean {
  return a.asksAtOnce < b.asksAtOnce || (a.asksAtOnce === b.asksAtOnce && a.id < b.id);
}
