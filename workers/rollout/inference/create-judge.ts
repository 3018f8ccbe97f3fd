/** From the segments of a verification job to what answers its asks. */
import type { ProblemData, VerifierSpec } from "../../../services/queue/job.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { parsedObject } from "../../parsed-object.ts";
import type { Driver } from "../driver.ts";
import { INFERENCE_VERIFIERS } from "./catalogue.ts";
import { type Judged, type Judging, parseInferenceOptions } from "./inference-verifier.ts";

export type Judge = (judging: Omit<Judging, "problem">, signal: AbortSignal) => Promise<Judged>;

/** Throws "invalid_argument" for a specification or a problem that is none, and for a kind that is not inference. */
export function createJudge(job: {
  readonly spec: string;
  readonly problem: string;
  readonly driver: Driver;
}): Judge {
  const spec = parsedObject<VerifierSpec>(job.spec, "a verifier's specification");
  const problem = parsedObject<ProblemData>(job.problem, "a problem");
  const verifier = INFERENCE_VERIFIERS.find(({ kind }) => kind === spec.kind);
  if (verifier === undefined) {
    const known = INFERENCE_VERIFIERS.map(({ kind }) => kind).join(", ");
    throw new CoppiceError(
      "invalid_argument",
      `expected a verifier of kind ${known} on a host's lane, found ${JSON.stringify(spec.kind ?? null)}`,
    );
  }
  const host = { driver: job.driver, options: parseInferenceOptions(verifier, spec) };
  return (judging, signal) => verifier.judge({ ...judging, problem }, host, signal);
}
