/** A dozen worlds that a budget ends; `node test/sim/budget-main.ts --runs 10000` runs ten thousand. */
import { describe, expect, test } from "vitest";
import { simulateBudget } from "./budget.ts";

/** Seeds that once left a budget unused, each with what it found. */
const KEPT: readonly (readonly [seed: number, found: string])[] = [
  [24, "a host that claims to have made more tokens than it may makes no ask dearer than the budget"],
];

describe("under a budget that ends it, with faults", () => {
  test("a sweep of any allocator never spends more, and 99% where hosts count right", async () => {
    let checked = 0;
    for (let seed = 1; seed <= 12; seed += 1) {
      const ended = await simulateBudget(seed).catch((error: unknown) => {
        throw new Error(`node test/sim/budget-main.ts --from ${seed} --runs 1`, { cause: error });
      });
      checked += Number(ended.isChecked);
    }
    expect(checked).toBeGreaterThan(2);
  });

  test.each(KEPT)("seed %d stays mended: %s", async (seed) => {
    expect((await simulateBudget(seed)).used).toBeGreaterThan(0.99);
  });
});
