import { describe, expect, test } from "vitest";
import { CacheLosses } from "../../workers/rollout/cache-losses.ts";

function watch() {
  let told = 0;
  const losses = new CacheLosses(() => (told += 1));
  const answered = (...cached: readonly (number | null)[]): number => {
    for (const tokens of cached) losses.answered(tokens);
    return losses.count;
  };
  return { losses, answered, told: () => told };
}

describe("cache losses", () => {
  test("a host that came back has lost its cache", () => {
    const { losses, told } = watch();
    losses.cameBack();
    expect([losses.count, told()]).toEqual([1, 1]);
  });

  test("a cache that was dropped counts from what was known first", () => {
    const { losses } = watch();
    losses.clears(7);
    losses.clears(7);
    expect(losses.count).toBe(0);
    losses.clears(9);
    expect(losses.count).toBe(1);
    // Another engine, which counts anew.
    losses.clears(0);
    losses.clears(1);
    expect(losses.count).toBe(2);
  });

  test("several answers in a row from nothing cached are a loss, one is not", () => {
    const { answered, told } = watch();
    expect(answered(64, 0, 0, 64, 0, 0)).toBe(0);
    expect(answered(0)).toBe(1);
    expect(told()).toBe(1);
  });

  test("a host that never found anything in its cache loses nothing, nor does one that is still empty", () => {
    const { answered } = watch();
    expect(answered(0, 0, 0, 0, 0)).toBe(0);
    expect(answered(16, 0, 0, 0, 0, 0, 0, 0, 0)).toBe(1);
    expect(answered(16, 0, 0, 0)).toBe(2);
  });

  test("what is unknown is no sign", () => {
    const { answered } = watch();
    expect(answered(16, null, null, null, null)).toBe(0);
  });
});
