/** The asks that a rollout worker holds, by job, and which of them nobody wants any more. */
import type { Withdrawal } from "../../services/link/link.ts";
import { type AttemptUsage, type Job, NO_TOKENS } from "../../services/queue/job.ts";
import type { Clock } from "../../services/runtime/clock.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { Bounded } from "./bounded.ts";

/** One ask of a delivery. */
export interface AskInHand {
  readonly abort: AbortController;
  isWithdrawn: boolean;
  /** Known so far. */
  usage: AttemptUsage;
  startedMs: number;
  /** How often it was with a host that went down under it. */
  recoveries: number;
  /** When the host had the first token; null before, and where nobody told. */
  firstTokenMs: number | null;
}

export interface WithdrawalLimits {
  /** Withdrawn asks of jobs that have not come yet, and for how long they are remembered. */
  readonly withdrawnAsksMax: number;
  readonly withdrawnMs: number;
}

export class AsksInHand {
  readonly #jobs = new Map<string, ReadonlyMap<string, AskInHand>>();
  readonly #early: Bounded<string, number>;
  readonly #clock: Clock;
  readonly #limits: WithdrawalLimits;

  constructor(clock: Clock, limits: WithdrawalLimits) {
    this.#clock = clock;
    this.#limits = limits;
    this.#early = new Bounded(limits.withdrawnAsksMax);
  }

  /** Number of jobs in hand. */
  get jobs(): number {
    return this.#jobs.size;
  }

  /** Takes these asks of a job in hand; those that were withdrawn before are aborted already. */
  take(job: Job, asks: readonly { readonly id: string }[]): ReadonlyMap<string, AskInHand> {
    const hands = new Map(asks.map(({ id }) => [id, this.#takeOne(job.id, id)]));
    this.#jobs.set(job.id, hands);
    return hands;
  }

  /** Lets go of what `take` gave, unless the job was taken again since. */
  letGo(job: Job, hands: ReadonlyMap<string, AskInHand>): void {
    if (this.#jobs.get(job.id) === hands) this.#jobs.delete(job.id);
  }

  withdraw({ job, asks }: Withdrawal): void {
    const hands = this.#jobs.get(job);
    for (const ask of asks) {
      const hand = hands?.get(ask);
      if (hand !== undefined) withdraw(hand);
      else if (hands === undefined) {
        // The job may be on its way to us. For a short while only: the same ask may be wanted again by a later run.
        this.#early.set(askKey(job, ask), this.#clock.monotonicMs() + this.#limits.withdrawnMs);
      }
    }
  }

  #takeOne(job: string, ask: string): AskInHand {
    const startedMs = this.#clock.nowMs();
    const hand: AskInHand = {
      abort: new AbortController(),
      isWithdrawn: false,
      usage: NO_TOKENS,
      startedMs,
      recoveries: 0,
      firstTokenMs: null,
    };
    const untilMs = this.#early.get(askKey(job, ask)) ?? 0;
    if (untilMs > this.#clock.monotonicMs()) withdraw(hand);
    this.#early.delete(askKey(job, ask));
    return hand;
  }
}

function withdraw(hand: AskInHand): void {
  hand.isWithdrawn = true;
  hand.abort.abort(new CoppiceError("cancelled", "the ask was withdrawn"));
}

function askKey(job: string, ask: string): string {
  return `${job}\0${ask}`;
}
