/**
 * The failure policy: for each class of failure, how often an ask is tried again and where (I5, I7). One table for rollout workers,
 * verification workers and the coordinator. Pure.
 *
 * An ask is tried at one host (or, a verification, from one queue) `attempts` times, with the back-off of the lane between them
 * (`LaneLimits.backoffMs`, doubling, half of it chance) and, within one attempt over HTTP, the quicker one of `RetryLimits`. Then
 * it goes to another host that could serve it, until `hosts` have tried it. Then it is lost: it shrinks n, and a task that has nothing
 * else fails with the reason in its row. A host that is down costs nobody an attempt (`host-health.ts`): its trees move.
 *
 * What a verifier could not decide is no failure: where a candidate took too long, needed too much memory or killed its thread, the
 * verdict is "undecided" with the reason, the thread is replaced, and it is not tried again, since it would do the same again.
 */
import type { Delivery } from "./lanes.ts";

export interface RetryRule {
  /** Tries at one host, or from one queue of verifications. At most `LaneLimits.attemptsMax`. */
  readonly attempts: number;
  /** Hosts that try it, the first included; 1 where another would say the same. */
  readonly hosts: number;
}

const NEVER: RetryRule = { attempts: 1, hosts: 1 };

export const RETRY_RULES = {
  /** The connection broke, or nobody answered while the host was up. */
  host_unreachable: { attempts: 4, hosts: 3 },
  /** 429, 503: it has no room. */
  host_overloaded: { attempts: 4, hosts: 3 },
  /** It answers with an error of its own: 500, 502. */
  host_error: { attempts: 4, hosts: 3 },
  /** Silent for longer than its limit: each try costs that long. */
  host_timeout: { attempts: 2, hosts: 2 },
  /** An answer that cannot be read, or a stream that broke off. */
  host_rubbish: { attempts: 4, hosts: 3 },
  /** It refuses us: a key, a model that it does not serve any more. */
  host_refused: { attempts: 1, hosts: 3 },
  host_cannot: { attempts: 1, hosts: 3 },
  /** Prompt and completion do not fit: they fit nowhere else. */
  context_overflow: NEVER,
  request_refused: NEVER,
  no_record: NEVER,
  /** The coordinator does not hand out the texts of the job. */
  segments_unavailable: NEVER,
  /** The pool has no room, or no thread starts. */
  verifier_unavailable: { attempts: 4, hosts: 1 },
  verifier_crashed: NEVER,
  verifier_invalid: NEVER,
  bad_verifier: NEVER,
  /** Workers died with the job in hand, `WORKERS_LOST_MAX` times: it is set aside before it takes more of them down. */
  killed_workers: NEVER,
  /** Its lane lost the job again and again (`DispatchLimits.rescuesMax`). */
  lane_lost: NEVER,
  /** A defect of a driver or a verifier. */
  internal: { attempts: 1, hosts: 2 },
} as const satisfies Readonly<Record<string, RetryRule>>;

export type FailureClass = keyof typeof RETRY_RULES;

/**
 * A job that was in the hands of so many workers as they died, or were not heard of for their lock or lease, is set aside. Large enough
 * that preempted workers do not condemn the jobs that they held: nobody knows which of them it was.
 */
export const WORKERS_LOST_MAX = 8;

/** The rule of a class; one that is not in the table is tried again nowhere. */
export function retryRule(reason: string): RetryRule {
  return Object.hasOwn(RETRY_RULES, reason) ? RETRY_RULES[reason as FailureClass] : NEVER; // Just seen to be there.
}

/** Whether a delivery that failed so should be tried again here, by its lane. */
export function mayTryAgain(reason: string, delivery: Pick<Delivery, "attempt" | "isLast">): boolean {
  return !delivery.isLast && delivery.attempt < retryRule(reason).attempts;
}

/** Why a job is set aside unseen; null: it is not. */
export function poisonNote({ workersLost = 0 }: Pick<Delivery, "workersLost">): string | null {
  if (workersLost < WORKERS_LOST_MAX) return null;
  return `${workersLost} workers died, or were not heard of any more, with this job in hand; it is set aside`;
}
