/** A candidate in the queue of a judge, and the promise that its caller waits for. */
import type { VerdictResult } from "../../../services/queue/job.ts";
import type { Candidate } from "../verifier.ts";

export interface Verification {
  readonly candidate: Candidate;
  /** Rejects with the signal's reason as soon as it aborts. */
  readonly verdict: Promise<VerdictResult>;
  /** Both settle the promise; later calls change nothing. */
  settle(verdict: VerdictResult): void;
  fail(error: unknown): void;
  /** Also true of one that was aborted: nobody waits for it. */
  isSettled(): boolean;
  /** Something went wrong while it was one of several: it is sent alone, so that it is certain who is to blame. */
  isAlone: boolean;
}

/** @param onAbort Called once, after the promise was rejected, when the signal aborts before the verdict. */
export function createVerification(
  candidate: Candidate,
  signal: AbortSignal,
  onAbort: (verification: Verification) => void,
): Verification {
  const { promise, resolve, reject } = Promise.withResolvers<VerdictResult>();
  let isSettled = false;
  function end(report: () => void): void {
    if (isSettled) return;
    isSettled = true;
    signal.removeEventListener("abort", abort);
    report();
  }
  function abort(): void {
    verification.fail(signal.reason);
    onAbort(verification);
  }
  const verification: Verification = {
    candidate,
    verdict: promise,
    settle: (verdict) => end(() => resolve(verdict)),
    fail: (error) => end(() => reject(error)),
    isSettled: () => isSettled,
    isAlone: false,
  };
  signal.addEventListener("abort", abort, { once: true });
  return verification;
}
