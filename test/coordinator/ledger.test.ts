import { describe, expect, test } from "vitest";
import {
  type Amount,
  type Ceilings,
  eachUnit,
  lesserOf,
  NOTHING,
  sumOf,
  tighterOf,
  type Unit,
  UNITS,
  UNLIMITED,
} from "../../services/coordinator/amount.ts";
import { Ledger, type Reservation } from "../../services/coordinator/ledger.ts";
import type { ArmBudget } from "../../services/coordinator/sweep.ts";
import { createRandom, type Random } from "../../services/runtime/random.ts";
import { amount, NO_ARM_BUDGET, NO_BUDGET } from "../support/budget.ts";

/** Of one arm, "a", unless more are given. */
function ledgerOf(
  sweep: Partial<Ceilings & { readonly perTask: Partial<Ceilings> }>,
  arms: Readonly<Record<string, ArmBudget>> = { a: NO_ARM_BUDGET },
): Ledger {
  const perTask = { ...UNLIMITED, ...sweep.perTask };
  return new Ledger({
    budget: { ...NO_BUDGET, ...sweep, perTask },
    arms: Object.entries(arms).map(([id, budget]) => ({ id, budget })),
  });
}

function reserved(ledger: Ledger, task: string, worst: Partial<Amount>, arm = "a"): Reservation {
  const reservation = ledger.reserve(ledger.accountOf(task, arm), amount(worst));
  if (reservation === null) throw new Error("expected room");
  return reservation;
}

describe("a ledger", () => {
  test("reserves up to the budget and not one token further", () => {
    const ledger = ledgerOf({ completionTokens: 100 });
    const account = ledger.accountOf("t", "a");
    reserved(ledger, "t", { rollouts: 1, completionTokens: 60 });
    expect(ledger.reserve(account, amount({ rollouts: 1, completionTokens: 41 }))).toBeNull();
    expect(ledger.reserve(account, amount({ rollouts: 1, completionTokens: 40 }))).not.toBeNull();
  });

  test("what a charge does not use flows back at once", () => {
    const ledger = ledgerOf({ completionTokens: 100 });
    const first = reserved(ledger, "t", { completionTokens: 100 });
    ledger.charge(first, amount({ rollouts: 1, completionTokens: 10 }));
    expect(ledger.fitting(ledger.accountOf("t", "a"), amount({ completionTokens: 30 }), 99)).toBe(3);
  });

  test("does not believe a host that claims more tokens than it was allowed", () => {
    const ledger = ledgerOf({ completionTokens: 100 });
    ledger.charge(reserved(ledger, "t", { completionTokens: 10 }), amount({ completionTokens: 1_000 }));
    expect(ledger.charged.completionTokens).toBe(10);
  });

  test("takes the settling of a reservation twice for a programmer error", () => {
    const ledger = ledgerOf({ rollouts: 1 });
    const first = reserved(ledger, "t", { rollouts: 1 });
    ledger.release(first);
    expect(() => ledger.release(first)).toThrow(/settled once/);
  });

  test("checks every ceiling: the sweep's, the arm's, the task's, in every unit", () => {
    const each = amount({ rollouts: 1, totalTokens: 10, usdMicros: 5 });
    const arm = { ...UNLIMITED, totalTokens: 30, perTask: { ...UNLIMITED, usdMicros: 12 } };
    const ledger = ledgerOf({ rollouts: 4 }, { a: arm, b: NO_ARM_BUDGET });
    const [one, two, other] = [
      ledger.accountOf("a/1", "a"),
      ledger.accountOf("a/2", "a"),
      ledger.accountOf("b/1", "b"),
    ];
    expect(ledger.fitting(one, each, 9)).toBe(2);
    reserved(ledger, "a/1", each);
    reserved(ledger, "a/1", each);
    expect(ledger.reserve(one, each)).toBeNull();
    expect(ledger.fitting(two, each, 9)).toBe(1);
    reserved(ledger, "a/2", each);
    expect(ledger.reserve(two, each)).toBeNull();
    expect(ledger.fitting(other, each, 9)).toBe(1);
    reserved(ledger, "b/1", each, "b");
    expect(ledger.reserve(other, each)).toBeNull();
  });

  test("gives a task the tighter of what the sweep and its arm allow each task", () => {
    const arm = { ...UNLIMITED, perTask: { ...UNLIMITED, rollouts: 5, completionTokens: 10 } };
    const ledger = ledgerOf({ perTask: { rollouts: 3, completionTokens: 20 } }, { a: arm });
    const account = ledger.accountOf("t", "a");
    expect(ledger.fitting(account, amount({ rollouts: 1 }), 99)).toBe(3);
    expect(ledger.fitting(account, amount({ completionTokens: 1 }), 99)).toBe(10);
  });

  test("says whose ceiling leaves no room for good, and no more than that while others are in flight", () => {
    const ledger = ledgerOf({ rollouts: 10, perTask: { completionTokens: 50 } });
    const worst = amount({ rollouts: 1, completionTokens: 30 });
    const account = ledger.accountOf("t", "a");
    const first = reserved(ledger, "t", worst);
    expect(ledger.fitting(account, worst, 1)).toBe(0);
    expect(ledger.shortage(account, worst)).toBeNull();
    ledger.charge(first, amount({ rollouts: 1, completionTokens: 21 }));
    expect(ledger.shortage(account, worst)).toEqual({
      holder: "task",
      unit: "completionTokens",
      ceiling: 50,
      spent: 21,
      worst: 30,
    });
    expect(ledger.canEverFit(ledger.accountOf("another", "a"), worst)).toBe(true);
  });

  test("keeps what a task was charged with its arm and its sweep when the task is closed, and no account (I6)", () => {
    const ledger = ledgerOf({ rollouts: 10 });
    for (let task = 0; task < 5; task += 1) {
      ledger.charge(reserved(ledger, `t${task}`, { rollouts: 1 }), amount({ rollouts: 1 }));
      ledger.close(`t${task}`);
    }
    expect(ledger.openTasks).toBe(0);
    expect(ledger.charged.rollouts).toBe(5);
    expect(ledger.chargedTo("a").rollouts).toBe(5);
  });

  test("finds a lowered budget full, not in debt", () => {
    const ledger = ledgerOf({ rollouts: 3 });
    ledger.restore(ledger.accountOf("t", "a"), amount({ rollouts: 7 }));
    expect(ledger.fitting(ledger.accountOf("t", "a"), amount({ rollouts: 1 }), 4)).toBe(0);
    expect(ledger.canEverFit(ledger.accountOf("t", "a"), amount({ rollouts: 1 }))).toBe(false);
  });
});

const RUNS = 10_000;
const ARMS = ["a", "b"];
const TASKS = ARMS.flatMap((arm) => ["1", "2", "3"].map((n) => ({ arm, id: `${arm}/${n}` })));

interface Charge {
  readonly task: string;
  readonly arm: string;
  readonly cost: Amount;
}

interface Held extends Omit<Charge, "cost"> {
  readonly reservation: Reservation;
}

/** The same accounts, kept the long way round; `charges` are what the journal would say. */
class Naive {
  readonly charges: Charge[] = [];
  held: Held[] = [];
  readonly #used = new Map<string, Record<Unit, number>>();

  /** Reserved and charged, of the sweep (""), of an arm, of a task. */
  of(name: string): Readonly<Record<Unit, number>> {
    let used = this.#used.get(name);
    if (used === undefined) this.#used.set(name, (used = { ...NOTHING }));
    return used;
  }

  hold(held: Held): void {
    this.held.push(held);
    this.#add(held, held.reservation.worst, 1);
  }

  charge(held: Held, cost: Amount): void {
    this.charges.push({ task: held.task, arm: held.arm, cost });
    this.#add(held, held.reservation.worst, -1);
    this.#add(held, cost, 1);
  }

  crash(): void {
    for (const held of this.held) this.#add(held, held.reservation.worst, -1);
    this.held = [];
  }

  #add({ task, arm }: Omit<Charge, "cost">, by: Amount, sign: 1 | -1): void {
    for (const name of ["", arm, task]) {
      const used = this.of(name) as Record<Unit, number>;
      for (const unit of UNITS) used[unit] += sign * by[unit];
    }
  }
}

function ceilings(random: Random): Ceilings {
  return eachUnit(() => (random.next() < 0.4 ? Math.ceil(random.next() * 60) : null));
}

function isWithin(used: Amount, limit: Ceilings): boolean {
  return UNITS.every((unit) => used[unit] <= (limit[unit] ?? Infinity));
}

function isEqual(a: Amount, b: Amount): boolean {
  return UNITS.every((unit) => a[unit] === b[unit]);
}

/** One random program: asks are reserved, answered, lost and lied about, tasks end, the coordinator dies and goes on. */
function play(seed: number, counts: { refused: number; crashes: number; lies: number; full: number }): void {
  const random = createRandom(seed);
  const draw = (below: number): number => Math.floor(random.next() * below);
  const budget = { ...NO_BUDGET, ...ceilings(random), perTask: ceilings(random) };
  const arms = ARMS.map((id) => ({ id, budget: { ...ceilings(random), perTask: ceilings(random) } }));
  const limits = new Map<string, Ceilings>([["", budget]]);
  for (const { id, budget: own } of arms) {
    limits.set(id, own);
    for (const { arm, id: task } of TASKS)
      if (arm === id) limits.set(task, tighterOf(budget.perTask, own.perTask));
  }
  const naive = new Naive();
  const closed = new Set<string>();
  let ledger = new Ledger({ budget, arms });
  const check = (holds: boolean, what: string): void => {
    if (!holds) throw new Error(`seed ${seed}: ${what}`);
  };
  for (let step = 0; step < 32; step += 1) {
    const { arm, id: task } = TASKS[draw(TASKS.length)] ?? { arm: "a", id: "a/1" };
    const chance = random.next();
    if (closed.has(task)) continue;
    if (chance < 0.55) {
      const worst = eachUnit(() => draw(9));
      const account = ledger.accountOf(task, arm);
      const fitting = ledger.fitting(account, worst, 2);
      if (fitting === 0) counts.refused += 1;
      for (let n = 0; n < fitting; n += 1) {
        const reservation = ledger.reserve(account, worst);
        if (reservation === null) throw new Error(`seed ${seed}: expected room for ${fitting}, found ${n}`);
        naive.hold({ task, arm, reservation });
      }
      check(
        fitting === 2 || ledger.reserve(account, worst) === null,
        `there was room for more than ${fitting}`,
      );
    } else if (chance < 0.92) {
      const [held] = naive.held.splice(draw(naive.held.length), 1);
      if (held === undefined) continue;
      // A lost ask costs nothing; a host that lies claims more than was reserved, and is charged that.
      const claim = random.next() < 0.2 ? NOTHING : eachUnit(() => draw(12));
      if (!isWithin(claim, held.reservation.worst)) counts.lies += 1;
      ledger.charge(held.reservation, claim);
      naive.charge(held, lesserOf(claim, held.reservation.worst));
    } else if (chance < 0.97) {
      // What was in flight is gone; what the journal says is charged again.
      counts.crashes += 1;
      naive.crash();
      ledger = new Ledger({ budget, arms });
      for (const each of naive.charges) ledger.restore(ledger.accountOf(each.task, each.arm), each.cost);
      for (const each of closed) ledger.close(each);
    } else if (naive.held.every((each) => each.task !== task)) {
      ledger.close(task);
      closed.add(task);
    }
    for (const [name, limit] of limits)
      check(isWithin(naive.of(name), limit), `a ceiling of "${name}" is passed`);
    check(isEqual(sumOf(ledger.charged, ledger.reserved), naive.of("")), "the sweep's account is wrong");
  }
  for (const held of naive.held) ledger.release(held.reservation);
  naive.crash();
  check(isEqual(ledger.reserved, NOTHING), "something is reserved when nothing is in flight");
  for (const { id } of arms)
    check(isEqual(ledger.chargedTo(id), naive.of(id)), `the account of ${id} is wrong`);
  check(ledger.openTasks <= TASKS.length - closed.size, "a closed task has an account");
  const sweep = naive.of("");
  if (UNITS.some((unit) => budget[unit] !== null && sweep[unit] === budget[unit])) counts.full += 1;
}

describe("reserved and charged", () => {
  test("never pass any ceiling in any unit, under any interleaving, failure and crash (I3)", () => {
    const counts = { refused: 0, crashes: 0, lies: 0, full: 0 };
    for (let seed = 0; seed < RUNS; seed += 1) play(seed, counts);
    // The programs do come to the edge.
    expect(Math.min(counts.refused, counts.crashes, counts.lies)).toBeGreaterThan(RUNS / 2);
    expect(counts.full).toBeGreaterThan(RUNS / 20);
  });
});
