/** From the segments of a verification job to what answers its asks. */
import {
  type AttemptUsage,
  type ProblemData,
  UNKNOWN_TOKENS,
  type VerifierSpec,
} from "../../../services/queue/job.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { parsedObject } from "../../parsed-object.ts";
import type { Driver, Progress } from "../driver.ts";
import { INFERENCE_VERIFIERS } from "./catalogue.ts";
import { type Judged, type Judging, parseInferenceOptions, sumOfUsages } from "./inference-verifier.ts";

export interface Judge {
  /** @param progress Told once the host has the prompt in its cache, where the verifier samples, and what is used so far. */
  (judging: Omit<Judging, "problem">, signal: AbortSignal, progress?: Progress): Promise<Judged>;
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
    progress?: Progress,
  ): Promise<Judged> => {
    const driver = progress === undefined ? job.driver : telling(job.driver, progress);
    return verifier.judge({ ...judging, problem }, { driver, options }, signal);
  };
  return Object.assign(judge, { spec });
}

/** Of what completes nothing. */
const UNKNOWN_PROMPT: AttemptUsage = { ...UNKNOWN_TOKENS, completionTokens: 0 };

/** The driver, whose calls, one after another, tell of their first token and of what all of them use. */
function telling(driver: Driver, { onFirstToken, onUsage }: Progress): Driver {
  const before: AttemptUsage[] = [];
  const counted = async <T extends { readonly usage: AttemptUsage }>(
    unknown: AttemptUsage,
    call: (onUsageOfCall: (usage: AttemptUsage) => void) => Promise<T>,
  ): Promise<T> => {
    onUsage(sumOfUsages([...before, unknown]));
    const answer = await call((usage) => onUsage(sumOfUsages([...before, usage])));
    before.push(answer.usage);
    return answer;
  };
  return {
    engine: driver.engine,
    probe: (signal) => driver.probe(signal),
    signals: (signal) => driver.signals(signal),
    sample: (request, signal) =>
      counted(UNKNOWN_TOKENS, (onUsageOfCall) =>
        driver.sample({ ...request, onFirstToken, onUsage: onUsageOfCall }, signal),
      ),
    score: (request, signal) =>
      counted(UNKNOWN_PROMPT, (onUsageOfCall) =>
        driver.score({ ...request, onUsage: onUsageOfCall }, signal),
      ),
    likelihood: (request, signal) => counted(UNKNOWN_PROMPT, () => driver.likelihood(request, signal)),
    reward: (request, signal) => counted(UNKNOWN_PROMPT, () => driver.reward(request, signal)),
    close: () => driver.close(),
  };
}
