/** From the segments of a verification job to what answers its asks. */
import type { ProblemData, VerifierSpec } from "../../../services/queue/job.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { parsedObject } from "../../parsed-object.ts";
import type { Driver } from "../driver.ts";
import { INFERENCE_VERIFIERS } from "./catalogue.ts";
import { type Judged, type Judging, parseInferenceOptions } from "./inference-verifier.ts";

export interface Judge {
  /** @param onFirstToken Told once the host has the prompt in its cache, where the verifier samples. */
  (judging: Omit<Judging, "problem">, signal: AbortSignal, onFirstToken?: () => void): Promise<Judged>;
  readonly spec: VerifierSpec;
}

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
  const options = parseInferenceOptions(verifier, spec);
  const judge = (
    judging: Omit<Judging, "problem">,
    signal: AbortSignal,
    onFirstToken?: () => void,
  ): Promise<Judged> => {
    const driver = onFirstToken === undefined ? job.driver : telling(job.driver, onFirstToken);
    return verifier.judge({ ...judging, problem }, { driver, options }, signal);
  };
  return Object.assign(judge, { spec });
}

/** The driver, whose rollouts tell of their first token. */
function telling(driver: Driver, onFirstToken: () => void): Driver {
  return {
    engine: driver.engine,
    probe: (signal) => driver.probe(signal),
    signals: (signal) => driver.signals(signal),
    sample: (request, signal) => driver.sample({ ...request, onFirstToken }, signal),
    score: (request, signal) => driver.score(request, signal),
    likelihood: (request, signal) => driver.likelihood(request, signal),
    reward: (request, signal) => driver.reward(request, signal),
    close: () => driver.close(),
  };
}
