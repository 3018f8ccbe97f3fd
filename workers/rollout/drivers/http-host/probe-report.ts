/** All that a probe has found of a host, for a person to read. */
import type { AttemptUsage } from "../../../../services/queue/job.ts";
import type { ProbedFacts } from "../../driver.ts";
import type { AbortFinding } from "./abort-check.ts";
import type { EngineReading, Missing, Speech } from "./dialect.ts";
import type { ProbedHost } from "./probe.ts";
import type { Server } from "./wire.ts";

export interface ProbeReport {
  readonly url: string;
  /** What answers there. */
  readonly server: Server;
  readonly version: string | null;
  readonly facts: ProbedFacts;
  /** Of the second of two equal prompts. */
  readonly repeated: AttemptUsage;
  readonly abort: AbortFinding;
  readonly priority: Speech["priority"];
  /** How the engine was doing; null where it does not say. */
  readonly reading: EngineReading | null;
  /** What it does not say or do, and what would change that. */
  readonly missing: readonly Missing[];
}

export function probeReport(
  host: ProbedHost,
  beside: { readonly url: string; readonly facts: ProbedFacts; readonly abort: AbortFinding },
): ProbeReport {
  const { server, speech, repeated, reading } = host;
  const isReward = host.can.includes("reward");
  return {
    ...beside,
    server,
    version: speech.version,
    repeated,
    priority: speech.priority,
    reading,
    missing: isReward ? [] : speech.missing(host),
  };
}
