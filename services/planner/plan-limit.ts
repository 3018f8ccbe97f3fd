/** What keeps a sweep from being faster: the first thing that more of would help. Pure. */
import type { EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import type { ClusterResult } from "./cluster-result.ts";

/**
 * `decode`: hosts decode full batches. `prefill`: they spend most of their time on prompts. `kv`: KV memory,
 * not the number of sequences, limits how many decode at once. `chain`: a task's steps wait for each other,
 * and take most of the time even on hosts of their own. `tasks`: there are too few tasks for so many hosts.
 */
export type Limit = "decode" | "prefill" | "kv" | "chain" | "tasks";

/** From which share on something is taken for what limits. */
const CHAIN_SHARE = 0.7;
const PREFILL_SHARE = 0.5;
const FULL_SHARE = 0.6;
const KV_SHARE = 0.6;

/** @param treesByKv Trees that a host's KV cache holds at their widest. */
export function limitOf(
  result: Pick<ClusterResult, "makespanMs" | "runningMean" | "kvUsageMean" | "openMean" | "bounds">,
  { sequencesMax, treesByKv }: Pick<EngineProfile, "sequencesMax"> & { readonly treesByKv: number },
): Limit {
  const { makespanMs, runningMean, kvUsageMean, openMean, bounds } = result;
  if (bounds.chainMs >= CHAIN_SHARE * makespanMs) return "chain";
  if (bounds.parts.prefillMs >= PREFILL_SHARE * makespanMs) return "prefill";
  if (runningMean >= FULL_SHARE * sequencesMax) return "decode";
  // Trees are admitted by what they are expected to hold together, so that memory is full without being used all
  // the time.
  if (kvUsageMean >= KV_SHARE || openMean >= KV_SHARE * treesByKv) return "kv";
  // Neither full hosts nor full memory: nothing more was there to be done at once.
  return bounds.workMs >= FULL_SHARE * makespanMs ? "decode" : "tasks";
}
