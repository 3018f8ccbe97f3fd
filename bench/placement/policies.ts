/** What is compared: the scheduler, and every router with each of the two clients. */
import type { Placer, PlacerCluster } from "../../services/planner/placer.ts";
import { ScheduledPlacer } from "../../services/planner/scheduled-placer.ts";
import type { EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { boundedLoadHash } from "./bounded-load-hash.ts";
import { cacheAware } from "./cache-aware.ts";
import { type ClientOrder, RouterClient } from "./client.ts";
import { leastLoad } from "./least-load.ts";
import { llmd, llmdPrecise } from "./llm-d.ts";
import { prefixAware } from "./prefix-aware.ts";
import { roundRobin } from "./round-robin.ts";
import type { RouterFactory } from "./router.ts";
import { stickyLeastLoaded } from "./sticky-least-loaded.ts";

export const OURS = "coppice";

/** The baselines, by the names of the table. */
const ROUTERS: Readonly<Record<string, (profile: EngineProfile) => RouterFactory>> = {
  "round robin": () => roundRobin,
  "least load": () => leastLoad,
  "cache-aware 0.3/64/1.5": () => cacheAware(),
  "cache-aware 4/1.1": () => cacheAware({ absolute: 4, relative: 1.1 }),
  "bounded-load hash": () => boundedLoadHash(),
  "sticky least-loaded": () => stickyLeastLoaded,
  "production-stack": () => prefixAware,
  "llm-d precise": ({ kvCapacityTokens, blockTokens }) => llmdPrecise(kvCapacityTokens, blockTokens),
  "llm-d approximate": () => llmd(),
};

export const POLICY_NAMES: readonly string[] = [OURS, ...Object.keys(ROUTERS)];

/** What is run when nothing else is said: one of the two ways in which llm-d learns what hosts hold. */
export const USUAL_POLICY_NAMES: readonly string[] = POLICY_NAMES.filter(
  (name) => name !== "llm-d approximate",
);

/** Those that are worth the time on large clusters. */
export const MAIN_POLICY_NAMES: readonly string[] = [
  OURS,
  "round robin",
  "cache-aware 0.3/64/1.5",
  "sticky least-loaded",
  "llm-d precise",
];

export interface PolicyOptions {
  readonly name: string;
  /** Null for the scheduler, which is its own client. */
  readonly client: ClientOrder | null;
  readonly profile: EngineProfile;
  readonly kinds: readonly string[];
}

export function createPlacer({
  name,
  client,
  profile,
  kinds,
}: PolicyOptions): (cluster: PlacerCluster) => Placer {
  if (name === OURS)
    return (cluster) => new ScheduledPlacer(cluster, { profile, sharesColdPrefixes: true, kinds });
  const router = ROUTERS[name];
  if (router === undefined || client === null)
    throw new Error(`expected a policy and its client, found ${name}`);
  return (cluster) => new RouterClient(cluster, { router: router(profile), order: client });
}

/** The clients that a policy is run with: one of the two where they would do the same. */
export function clientsOf(name: string, areAlike: boolean): readonly (ClientOrder | null)[] {
  if (name === OURS) return [null];
  return areAlike ? ["arrival"] : ["arrival", "depth-first"];
}
