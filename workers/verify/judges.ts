/** What judges some kinds: threads of this process (`thread-pool.ts`), or judges outside of it (`outside-pool.ts`). */
import type { VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import type { Candidate, COMMON_OPTIONS, DeclaredVerifier, OptionValues } from "./verifier.ts";

export type CommonOptions = OptionValues<typeof COMMON_OPTIONS>;

/** A candidate up for a verdict, its specification checked. */
export interface Verification {
  readonly spec: VerifierSpec;
  readonly candidate: Candidate;
  /** Those of the specification, with every default filled in. */
  readonly options: CommonOptions;
}

export interface Judgement {
  readonly verdict: VerdictResult;
  /** Whether the same content will get the same verdict again; a kill or a passed time limit is a moment's. */
  readonly isMemorable: boolean;
}

export interface JudgesLoad {
  /** What was stopped because a verification took too long. */
  readonly terminations: number;
  /** What judged and died by itself. */
  readonly crashes: number;
  readonly waiting: number;
  readonly running: number;
}

/** Both kinds of judges stand behind it in the verifier pool (`pool.ts`), which holds the memo and the limits. */
export interface Judges {
  readonly verifiers: readonly DeclaredVerifier[];
  /**
   * A verdict; "undecided" with the reason where judging took too long or died. Rejects with the signal's reason as soon as
   * it aborts, and with "unavailable" when the judges are closed.
   */
  judge(verification: Verification, signal: AbortSignal | undefined): Promise<Judgement>;
  load(): JudgesLoad;
  /** Stops everything; what waits or runs rejects with "unavailable". Safe to call twice. */
  close(): Promise<void>;
}
