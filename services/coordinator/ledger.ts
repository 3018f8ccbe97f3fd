/**
 * The ledger: the account of a sweep's budget, with one for each arm and each open task in it. The worst case of an ask is
 * reserved before it is dispatched, in all three at once; the reservation becomes a charge (what it really cost) when the ask is
 * answered, or is released. O(units) for each ask, whatever the number of tasks.
 *
 * Invariants: (1) I3: reserved + charged never passes a ceiling, in any unit of any account. It holds because `reserve` is the
 * only way up and a charge is cut to its reservation: an engine that claims to have made more tokens than it was allowed is a
 * lying host, and is not believed (the runner logs it). (2) I6: the account of a task is kept from its first mention until `close`.
 * (3) A sweep's charges are the sum of its arms', closed tasks included.
 */
import { type Amount, type Ceilings, eachUnit, NOTHING, tighterOf, type Unit, UNITS } from "./amount.ts";
import type { Arm, Sweep } from "./sweep.ts";

/** Whose ceiling it is. */
export type Holder = "sweep" | "arm" | "task";

/** A ceiling that leaves no room for something, and never will. */
export interface Shortage {
  readonly holder: Holder;
  readonly unit: Unit;
  readonly ceiling: number;
  readonly spent: number;
  readonly worst: number;
}

/** The accounts that an ask of one task draws on. Only the ledger looks inside. */
export type TaskAccount = readonly [task: Account, arm: Account, sweep: Account];

/** Held by an ask from its dispatch to its answer. Settling one twice is a programmer error. */
export interface Reservation {
  readonly account: TaskAccount;
  readonly worst: Amount;
  isOpen: boolean;
}

export class Ledger {
  readonly #sweep: Account;
  readonly #arms: ReadonlyMap<string, { readonly account: Account; readonly perTask: Ceilings }>;
  readonly #tasks = new Map<string, TaskAccount>();

  constructor({
    budget,
    arms,
  }: Pick<Sweep, "budget"> & { readonly arms: readonly Pick<Arm, "id" | "budget">[] }) {
    this.#sweep = new Account("sweep", budget);
    this.#arms = new Map(
      arms.map(({ id, budget: own }) => [
        id,
        { account: new Account("arm", own), perTask: tighterOf(budget.perTask, own.perTask) },
      ]),
    );
  }

  /** Of the whole sweep. */
  get charged(): Amount {
    return this.#sweep.charged;
  }

  /** Of the whole sweep. */
  get reserved(): Amount {
    return this.#sweep.reserved;
  }

  chargedTo(arm: string): Amount {
    return this.#arm(arm).account.charged;
  }

  /** Tasks with an account. */
  get openTasks(): number {
    return this.#tasks.size;
  }

  /** The account of a task, with what was restored to it. */
  accountOf(task: string, arm: string): TaskAccount {
    let account = this.#tasks.get(task);
    if (account === undefined) {
      const own = this.#arm(arm);
      account = [new Account("task", own.perTask), own.account, this.#sweep];
      this.#tasks.set(task, account);
    }
    return account;
  }

  /** The task is over: nothing is reserved for it any more. Its charges stay with its arm and its sweep. */
  close(task: string): void {
    this.#tasks.delete(task);
  }

  /** Null when it does not fit now. */
  reserve(account: TaskAccount, worst: Amount): Reservation | null {
    if (this.fitting(account, worst, 1) === 0) return null;
    for (const each of account) each.reserve(worst);
    return { account, worst, isOpen: true };
  }

  /** How many reservations of `worst` fit now, up to `max`. */
  fitting(account: TaskAccount, worst: Amount, max: number): number {
    return account.reduce((least, each) => each.fitting(worst, least), max);
  }

  /** Why it would not fit even if nothing else were in flight: waiting is in vain then. Null: it would. */
  shortage(account: TaskAccount, worst: Amount): Shortage | null {
    for (const each of account) {
      const found = each.shortage(worst);
      if (found !== null) return found;
    }
    return null;
  }

  /** Whether it would fit if nothing else were in flight. */
  canEverFit(account: TaskAccount, worst: Amount): boolean {
    return this.shortage(account, worst) === null;
  }

  /**
   * Rollouts that can be afforded still, by their mean cost so far, by `guess` before any was charged: of the sweep, and of
   * its arms together. Infinity without a ceiling. An estimate: whether an ask fits, `fitting` says.
   */
  affordable(guess: Amount): number {
    const arms = [...this.#arms.values()].reduce((sum, { account }) => sum + account.affordable(guess), 0);
    return Math.min(this.#sweep.affordable(guess), arms);
  }

  /** Turns a reservation into a charge; what was not used flows back. */
  charge(reservation: Reservation, cost: Amount): void {
    if (!reservation.isOpen) throw new Error("a reservation is settled once");
    reservation.isOpen = false;
    for (const each of reservation.account) each.settle(reservation.worst, cost);
  }

  release(reservation: Reservation): void {
    this.charge(reservation, NOTHING);
  }

  /** What is charged to the sweep as a whole beside its asks, so far: GPU time, which is nobody's in particular. */
  accrue(total: Amount): void {
    this.#sweep.accrued = total;
  }

  /** What the sweep's own ceiling leaves of a unit now; null without one. Below 0 where something was accrued beyond it. */
  free(unit: Unit): number | null {
    return this.#sweep.free(unit);
  }

  /** A charge that an earlier attempt at the run already made; read from the journal. */
  restore(account: TaskAccount, cost: Amount): void {
    for (const each of account) each.restore(cost);
  }

  #arm(id: string): { readonly account: Account; readonly perTask: Ceilings } {
    const arm = this.#arms.get(id);
    if (arm === undefined) throw new Error(`no arm ${id} in this sweep`);
    return arm;
  }
}

class Account {
  readonly charged: Record<Unit, number> = eachUnit(() => 0);
  readonly reserved: Record<Unit, number> = eachUnit(() => 0);
  accrued: Amount = NOTHING;
  readonly #holder: Holder;
  readonly #ceilings: readonly (readonly [Unit, number])[];

  constructor(holder: Holder, ceilings: Ceilings) {
    this.#holder = holder;
    this.#ceilings = UNITS.flatMap((unit) => {
      const ceiling = ceilings[unit];
      return ceiling === null ? [] : [[unit, ceiling] as const];
    });
  }

  fitting(worst: Amount, max: number): number {
    let least = max;
    for (const [unit, ceiling] of this.#ceilings) {
      if (worst[unit] === 0) continue;
      const free = ceiling - this.#spent(unit) - this.reserved[unit];
      least = Math.min(least, Math.floor(free / worst[unit]));
    }
    return Math.max(0, least);
  }

  affordable(guess: Amount): number {
    let least = Infinity;
    for (const [unit, ceiling] of this.#ceilings) {
      const mean = this.charged.rollouts === 0 ? guess[unit] : this.charged[unit] / this.charged.rollouts;
      if (mean > 0) least = Math.min(least, (ceiling - this.#spent(unit) - this.reserved[unit]) / mean);
    }
    return Math.max(0, Math.floor(least));
  }

  free(unit: Unit): number | null {
    const found = this.#ceilings.find(([limited]) => limited === unit);
    return found === undefined ? null : found[1] - this.#spent(unit) - this.reserved[unit];
  }

  shortage(worst: Amount): Shortage | null {
    for (const [unit, ceiling] of this.#ceilings) {
      const spent = this.#spent(unit);
      if (worst[unit] === 0 || spent + worst[unit] <= ceiling) continue;
      return { holder: this.#holder, unit, ceiling, spent, worst: worst[unit] };
    }
    return null;
  }

  reserve(worst: Amount): void {
    for (const unit of UNITS) this.reserved[unit] += worst[unit];
  }

  settle(worst: Amount, cost: Amount): void {
    for (const unit of UNITS) {
      this.reserved[unit] -= worst[unit];
      this.charged[unit] += Math.min(cost[unit], worst[unit]);
    }
  }

  restore(cost: Amount): void {
    for (const unit of UNITS) this.charged[unit] += cost[unit];
  }

  #spent(unit: Unit): number {
    return this.charged[unit] + this.accrued[unit];
  }
}
