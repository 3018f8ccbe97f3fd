/** Verdicts by the content that they were given for; the least recently used goes first. */
import { createHash } from "node:crypto";
import type { VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import type { Candidate } from "./verifier.ts";

export interface VerdictMemo {
  get(key: string): VerdictResult | undefined;
  put(key: string, verdict: VerdictResult): void;
}

/** @param entriesMax Verdicts held; 0 holds none. */
export function createVerdictMemo(entriesMax: number): VerdictMemo {
  const verdicts = new Map<string, VerdictResult>();
  return {
    get(key) {
      const verdict = verdicts.get(key);
      if (verdict === undefined) return undefined;
      verdicts.delete(key);
      verdicts.set(key, verdict);
      return verdict;
    },
    put(key, verdict) {
      verdicts.delete(key);
      verdicts.set(key, verdict);
      if (verdicts.size <= entriesMax) return;
      const oldest = verdicts.keys().next();
      if (oldest.done !== true) verdicts.delete(oldest.value);
    },
  };
}

/** A hash of all that a verdict depends on: specification, problem, prompt and text. */
export function memoKey(spec: VerifierSpec, candidate: Candidate): string {
  const { prompt, text, problem } = candidate;
  return createHash("sha256")
    .update(JSON.stringify([spec, problem, prompt, text]))
    .digest("base64");
}
