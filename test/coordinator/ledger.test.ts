import { describe, expect, test } from "vitest";
import { Ledger, type Reservation } from "../../services/coordinator/ledger.ts";
import { createRandom } from "../../services/runtime/random.ts";

describe("ledger", () => {
  test("reserves up to the budget and not one token further", () => {
    const ledger = new Ledger({ rollouts: null, completionTokens: 100, wallMs: null });
    const first = ledger.reserve({ rollouts: 1, completionTokens: 60 });
    expect(first).not.toBeNull();
    expect(ledger.reserve({ rollouts: 1, completionTokens: 41 })).toBeNull();
    expect(ledger.reserve({ rollouts: 1, completionTokens: 40 })).not.toBeNull();
  });

  test("what a charge does not use flows back at once", () => {
    const ledger = new Ledger({ rollouts: null, completionTokens: 100, wallMs: null });
    const first = ledger.reserve({ rollouts: 1, completionTokens: 100 });
    if (first !== null) ledger.charge(first, { rollouts: 1, completionTokens: 10 });
    expect(ledger.fitting({ rollouts: 1, completionTokens: 30 }, 99)).toBe(3);
  });

  test("a host that claims more tokens than it was allowed is not believed", () => {
    const ledger = new Ledger({ rollouts: null, completionTokens: 100, wallMs: null });
    const first = ledger.reserve({ rollouts: 1, completionTokens: 10 });
    if (first !== null) ledger.charge(first, { rollouts: 1, completionTokens: 1_000 });
    expect(ledger.charged.completionTokens).toBe(10);
  });

  test("settling a reservation twice is a programmer error", () => {
    const ledger = new Ledger({ rollouts: 1, completionTokens: null, wallMs: null });
    const first = ledger.reserve({ rollouts: 1, completionTokens: 1 });
    if (first === null) throw new Error("expected room");
    ledger.release(first);
    expect(() => ledger.release(first)).toThrow(/settled once/);
  });

  test("reserved and charged never pass the budget under any interleaving (I3)", () => {
    for (let seed = 0; seed < 200; seed += 1) {
      const random = createRandom(seed);
      const budget = { rollouts: 50, completionTokens: 1_000, wallMs: null };
      const ledger = new Ledger(budget);
      const open: Reservation[] = [];
      for (let step = 0; step < 300; step += 1) {
        const tokens = Math.floor(random.next() * 80);
        if (random.next() < 0.6) {
          const fitting = ledger.fitting({ rollouts: 1, completionTokens: tokens }, 3);
          for (let n = 0; n < fitting; n += 1) {
            const reservation = ledger.reserve({ rollouts: 1, completionTokens: tokens });
            expect(reservation).not.toBeNull();
            if (reservation !== null) open.push(reservation);
          }
        } else {
          const [reservation] = open.splice(Math.floor(random.next() * open.length), 1);
          if (reservation !== undefined)
            ledger.charge(reservation, { rollouts: 1, completionTokens: tokens });
        }
        expect(ledger.charged.rollouts + ledger.reserved.rollouts).toBeLessThanOrEqual(budget.rollouts);
        expect(ledger.charged.completionTokens + ledger.reserved.completionTokens).toBeLessThanOrEqual(1_000);
      }
      for (const reservation of open) ledger.release(reservation);
      expect(ledger.reserved).toEqual({ rollouts: 0, completionTokens: 0 });
    }
  });
});
