/**
 * The ledger: the account of a sweep's budget. The worst case of an ask is reserved before it is dispatched, and the
 * reservation becomes a charge (what it really cost) when the ask is answered, or is released.
 *
 * Invariant I3: reserved + charged never passes the budget, in any unit. It holds because `reserve` is the only way up
 * and a charge is cut to its reservation: an engine that claims to have made more tokens than it was allowed is a lying
 * host, and is not believed (the runner logs it).
 */
import type { Budget } from "./sweep.ts";

/** What one ask may cost at most, or did cost. */
export interface Amount {
  readonly rollouts: number;
  readonly completionTokens: number;
}

/** Held by an ask from its dispatch to its answer. Settling one twice is a programmer error. */
export interface Reservation {
  readonly worst: Amount;
  isOpen: boolean;
}

export const NOTHING: Amount = { rollouts: 0, completionTokens: 0 };

export class Ledger {
  readonly #budget: Budget;
  #charged = { rollouts: 0, completionTokens: 0 };
  #reserved = { rollouts: 0, completionTokens: 0 };

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  get charged(): Amount {
    return this.#charged;
  }

  get reserved(): Amount {
    return this.#reserved;
  }

  /** Null when it does not fit now. */
  reserve(worst: Amount): Reservation | null {
    if (this.fitting(worst, 1) === 0) return null;
    this.#reserved.rollouts += worst.rollouts;
    this.#reserved.completionTokens += worst.completionTokens;
    return { worst, isOpen: true };
  }

  /** How many reservations of `worst` fit now, up to `max`. */
  fitting(worst: Amount, max: number): number {
    const free = (limit: number | null, used: number, each: number): number =>
      limit === null || each === 0 ? max : Math.floor((limit - used) / each);
    const { rollouts, completionTokens } = this.#budget;
    const byRollouts = free(rollouts, this.#charged.rollouts + this.#reserved.rollouts, worst.rollouts);
    const tokens = this.#charged.completionTokens + this.#reserved.completionTokens;
    return Math.max(0, Math.min(max, byRollouts, free(completionTokens, tokens, worst.completionTokens)));
  }

  /** Whether it would fit if nothing else were in flight; if not, waiting is in vain. */
  canEverFit(worst: Amount): boolean {
    const { rollouts, completionTokens } = this.#budget;
    if (rollouts !== null && this.#charged.rollouts + worst.rollouts > rollouts) return false;
    return (
      completionTokens === null || this.#charged.completionTokens + worst.completionTokens <= completionTokens
    );
  }

  /** Turns a reservation into a charge; what was not used flows back. */
  charge(reservation: Reservation, cost: Amount): void {
    this.#close(reservation);
    this.#charged.rollouts += Math.min(cost.rollouts, reservation.worst.rollouts);
    this.#charged.completionTokens += Math.min(cost.completionTokens, reservation.worst.completionTokens);
  }

  release(reservation: Reservation): void {
    this.charge(reservation, NOTHING);
  }

  /** A charge that an earlier attempt at the run already made; read from the journal. */
  restore(cost: Amount): void {
    this.#charged.rollouts += cost.rollouts;
    this.#charged.completionTokens += cost.completionTokens;
  }

  #close(reservation: Reservation): void {
    if (!reservation.isOpen) throw new Error("a reservation is settled once");
    reservation.isOpen = false;
    this.#reserved.rollouts -= reservation.worst.rollouts;
    this.#reserved.completionTokens -= reservation.worst.completionTokens;
  }
}
