/** A few hundred simulated worlds; `make sim-soak` runs ten thousand. */
import { describe, expect, test } from "vitest";
import { findPlanted, PLANTED, type PlantedDefect } from "./planted.ts";
import { simulate } from "./simulate.ts";

/** Seeds that once broke a promise, each with what it found. Production code was mended; they stay. */
const KEPT: readonly (readonly [seed: number, found: string])[] = [
  [6, "a fence vouches for no entry that its writer had not synced"],
  [28, "a run whose disk was full while it was taken over has its rows"],
  [
    687,
    "an answer to what an earlier attempt had sent is charged, and taken only where the budget has room (I3)",
  ],
  [1027, "an ask that came back from its host keeps the budget from nobody who could be sent"],
  [578, "one that was stopped while it opened a run replaces no rows of its successor"],
  [5256, "nor does one that was taken for dead by one that died before it had rows of its own"],
  [2295, "nor does one that was stopped between its last look at the journal and the replacing"],
];

describe("in a simulated world", () => {
  test.each(Array.from({ length: 10 }, (_, part) => [1 + 20 * part, 20 * (part + 1)] as const))(
    "every promise is kept, and a seed is a world, under seeds %d to %d",
    async (from, to) => {
      for (let seed = from; seed <= to; seed += 1) {
        const ended = await simulate(seed, { isTwice: seed % 10 === 0 }).catch((error: unknown) => {
          throw new Error(`node test/sim/main.ts --seed ${seed} --trace`, { cause: error });
        });
        expect(ended.summary.state).toBe("completed");
      }
    },
  );

  test.each(KEPT)("seed %d stays mended: %s", async (seed) => {
    await simulate(seed, { isTwice: true });
  });

  test.each(Object.keys(PLANTED) as PlantedDefect[])("a coordinator that %s is found", async (defect) => {
    expect(await findPlanted(defect, 60)).not.toBeNull();
  });
});
