/**
 * The inside of a pool's thread: takes one verification at a time and posts its verdict. It may be killed at any moment;
 * it holds nothing that anybody would miss.
 */
import { parentPort, workerData } from "node:worker_threads";
import type { VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import { messageOf } from "../../services/runtime/errors.ts";
import { judge, undecided, type Candidate, type Verifier } from "./verifier.ts";

/** `workerData`: the module that exports `VERIFIERS`. */
export interface ThreadData {
  readonly catalogueUrl: string;
}

export interface ThreadTask {
  readonly spec: VerifierSpec;
  readonly candidate: Candidate;
}

export type ThreadMessage =
  | { readonly kind: "ready" }
  | { readonly kind: "verdict"; readonly verdict: VerdictResult };

function verdictOf(verifiers: readonly Verifier[], { spec, candidate }: ThreadTask): VerdictResult {
  const verifier = verifiers.find(({ kind }) => kind === spec.kind);
  if (verifier === undefined) return undecided(null, `unknown verifier kind ${spec.kind}`);
  try {
    return judge(verifier, spec, candidate);
  } catch (error) {
    return undecided(null, `the ${spec.kind} verifier threw: ${messageOf(error)}`);
  }
}

if (parentPort !== null) {
  const port = parentPort;
  const { catalogueUrl } = workerData as ThreadData; // Only the pool starts this file.
  const { VERIFIERS } = (await import(catalogueUrl)) as { VERIFIERS: readonly Verifier[] }; // Checked by the pool.
  port.on("message", (task: ThreadTask) => {
    port.postMessage({ kind: "verdict", verdict: verdictOf(VERIFIERS, task) } satisfies ThreadMessage);
  });
  port.postMessage({ kind: "ready" } satisfies ThreadMessage);
}
