/**
 * How long a decoding step takes where one sequence runs: a short rollout, timed from its first token to its end. Asked of a
 * host that runs nothing else, as far as it says; and more than once, since whoever else asks it can only make it take longer.
 *
 * The scheduler overloads a KV cache by a step that is said to be too long, and loses little by one that is too short or unknown. So
 * what cannot be told is taken as the latter: tokens that came with the first count, and nothing is made of a few.
 */
import type { AttemptUsage } from "../../../../services/queue/job.ts";
import type { Clock } from "../../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../../services/runtime/errors.ts";
import type { EngineReading } from "./dialect.ts";
import type { HttpHostLimits } from "./limits.ts";

const MEASUREMENTS = 2;
/** The first, and two dozen steps. */
const TOKENS_MAX = 25;
/** Of fewer, the answer's end would be too much. */
const STEPS_MIN = 8;

export interface StepCheck {
  /** How the host was doing just now; null where it does not say. */
  readonly reading: EngineReading | null;
  /** Samples so many tokens, past the model's own end where the engine has an option for it. Resolves with what they were. */
  readonly sample: (
    maxTokens: number,
    onFirstToken: () => void,
    signal: AbortSignal,
  ) => Promise<AttemptUsage>;
  readonly clock: Clock;
  readonly limits: Pick<HttpHostLimits, "stepsMs">;
}

/** In milliseconds; null: not measured. Never rejects but with the signal's reason. */
export async function measureStepFloor(check: StepCheck, signal: AbortSignal): Promise<number | null> {
  const { running, waiting } = check.reading ?? { running: null, waiting: null };
  if ((running ?? 0) > 0 || (waiting ?? 0) > 0) return null;
  const late = new AbortController();
  const timer = check.clock.after(check.limits.stepsMs, () =>
    late.abort(new CoppiceError("deadline_exceeded", "the steps of a host took too long to be measured")),
  );
  try {
    return await leastOf(check, AbortSignal.any([signal, late.signal]));
  } catch {
    signal.throwIfAborted();
    return null;
  } finally {
    timer.cancel();
  }
}

async function leastOf(check: StepCheck, signal: AbortSignal): Promise<number | null> {
  let leastMs = Infinity;
  for (let n = 0; n < MEASUREMENTS; n += 1) {
    const stepMs = await measureOnce(check, signal);
    if (stepMs === null) return null;
    leastMs = Math.min(leastMs, stepMs);
  }
  return leastMs;
}

async function measureOnce({ sample, clock }: StepCheck, signal: AbortSignal): Promise<number | null> {
  let firstMs: number | null = null;
  const onFirstToken = (): void => {
    firstMs ??= clock.monotonicMs();
  };
  const { completionTokens } = await sample(TOKENS_MAX, onFirstToken, signal);
  const tookMs = clock.monotonicMs() - (firstMs ?? Infinity);
  const steps = (completionTokens ?? 0) - 1;
  return steps >= STEPS_MIN && tookMs > 0 ? tookMs / steps : null;
}
