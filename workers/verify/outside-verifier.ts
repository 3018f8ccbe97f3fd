/**
 * A verifier that judges outside of this process: in a sandbox, by a program of the user's, over HTTP. Siblings of the
 * verifiers of the pool (verifier.ts): the same declaration, the same verdicts, one conformance suite
 * (test/conformance/outside-verifier.ts). A new kind is one file in `outside/`, one line in `catalogue.ts`.
 */
import type { VerdictResult } from "../../services/queue/job.ts";
import type { Clock } from "../../services/runtime/clock.ts";
import type { Log } from "../../services/runtime/log.ts";
import type {
  Candidate,
  COMMON_OPTIONS,
  DeclaredVerifier,
  OptionValues,
  VerifierOptions,
} from "./verifier.ts";

/** What a judge works with. */
export interface OutsideParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** At most so many verifications are asked for at once. */
  readonly concurrency: number;
}

export interface OutsideVerifier<O extends VerifierOptions = VerifierOptions> extends DeclaredVerifier<O> {
  /** Whether a verdict depends on specification and candidate alone, so that it may be remembered. */
  readonly isRepeatable: boolean;
  /**
   * Whether its options name a command that runs on this machine outside of every sandbox. On a cluster whoever submits a
   * sweep would choose that command: it is offered only where the machine's owner allowed it.
   */
  readonly runsCommands: boolean;
  /** Whether it judges on another machine, so that many verifications at once cost this one little. Absent: no. */
  readonly isRemote?: boolean;
  /**
   * Whether it has candidates wait by itself: it is handed all that come, and its time limit counts from when it takes one
   * up. `concurrency` is then what it may do at once on this machine. Absent: no.
   */
  readonly queues?: boolean;
  /** Rejects with why it cannot judge on this machine; it is then not offered (I9). Absent: it can anywhere. */
  probe?(parts: OutsideParts, signal: AbortSignal): Promise<void>;
  /** Nothing is started before the first `verify`. */
  open(parts: OutsideParts): OutsideJudge<O>;
}

/** One per worker and kind; owns the processes or connections of its kind. */
export interface OutsideJudge<O extends VerifierOptions = VerifierOptions> {
  /**
   * A verdict within `timeout_ms` (then: undecided, or incorrect where the candidate itself is what runs; and what judged is
   * stopped). What the candidate did is a verdict; what
   * the world did is an error: "unavailable" or "resource_exhausted" are tried again by the lane, "failed_precondition"
   * (no sandbox here) and "invalid_argument" are not. Rejects with the signal's reason when it aborts.
   */
  verify(
    candidate: Candidate,
    options: OptionValues<O & typeof COMMON_OPTIONS>,
    signal: AbortSignal,
  ): Promise<VerdictResult>;
  /** Stops everything that it started; what runs rejects with "unavailable". */
  close(): Promise<void>;
}

/** Keeps the types of the declared options, so that `verify` sees them. */
export function defineOutsideVerifier<const O extends VerifierOptions>(
  verifier: OutsideVerifier<O>,
): OutsideVerifier<O> {
  return verifier;
}
