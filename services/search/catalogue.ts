/** Every strategy that a sweep may name. */
import { adaptiveConsistency } from "./strategies/adaptive-consistency.ts";
import { beamSearch } from "./strategies/beam-search.ts";
import { bestFirst } from "./strategies/best-first.ts";
import { bestOfN } from "./strategies/best-of-n.ts";
import { codet } from "./strategies/codet.ts";
import { doublingConsistency } from "./strategies/doubling-consistency.ts";
import { dvts } from "./strategies/dvts.ts";
import { earlyStoppingConsistency } from "./strategies/early-stopping-consistency.ts";
import { ets } from "./strategies/ets.ts";
import { firstCorrect } from "./strategies/first-correct.ts";
import { knockout } from "./strategies/knockout.ts";
import { leastToMost } from "./strategies/least-to-most.ts";
import { mbr } from "./strategies/mbr.ts";
import { mcts } from "./strategies/mcts.ts";
import { mixtureOfAgents } from "./strategies/mixture-of-agents.ts";
import { noisyChannel } from "./strategies/noisy-channel.ts";
import { particleFiltering } from "./strategies/particle-filtering.ts";
import { planThenSolve } from "./strategies/plan-then-solve.ts";
import { promptChain } from "./strategies/prompt-chain.ts";
import { react } from "./strategies/react.ts";
import { rebase } from "./strategies/rebase.ts";
import { reflexion } from "./strategies/reflexion.ts";
import { selfConsistency } from "./strategies/self-consistency.ts";
import { selfDebug } from "./strategies/self-debug.ts";
import { selfRefine } from "./strategies/self-refine.ts";
import { sequentialRevisions } from "./strategies/sequential-revisions.ts";
import { speculativeRejection } from "./strategies/speculative-rejection.ts";
import { totBfs } from "./strategies/tot-bfs.ts";
import { totDfs } from "./strategies/tot-dfs.ts";
import { universalSelfConsistency } from "./strategies/universal-self-consistency.ts";
import type { Strategy } from "./strategy.ts";

const ALL: readonly Strategy[] = [
  bestOfN,
  speculativeRejection,
  noisyChannel,
  knockout,
  selfConsistency,
  universalSelfConsistency,
  mbr,
  codet,
  adaptiveConsistency,
  earlyStoppingConsistency,
  doublingConsistency,
  firstCorrect,
  beamSearch,
  dvts,
  rebase,
  ets,
  particleFiltering,
  totBfs,
  totDfs,
  bestFirst,
  mcts,
  promptChain,
  leastToMost,
  planThenSolve,
  react,
  mixtureOfAgents,
  selfRefine,
  selfDebug,
  reflexion,
  sequentialRevisions,
];

/** By name, in the order of the documentation. */
export const STRATEGIES: ReadonlyMap<string, Strategy> = new Map(
  ALL.map((strategy) => [strategy.name, strategy]),
);

/** The strategy of this name; null when there is none. */
export function findStrategy(name: string): Strategy | null {
  return STRATEGIES.get(name) ?? null;
}
