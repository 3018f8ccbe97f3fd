import { describe, expect, it } from "vitest";
import { aggregate } from "../../services/search/aggregate.ts";

describe("aggregated step scores", () => {
  const scores = [0.5, 0.8, 0.2, 0.4];

  it.each([
    ["last", 0.4],
    ["min", 0.2],
    ["prod", 0.032],
    ["mean", 0.475],
    ["max", 0.8],
  ] as const)("%s is %f", (how, expected) => {
    expect(aggregate(scores, how)).toBeCloseTo(expected, 12);
    expect(aggregate([], how)).toBe(0);
    expect(aggregate([...scores, null], how)).toBeNull();
  });

  it("of the last step does not ask for the others", () => {
    expect(aggregate([null, 0.4], "last")).toBe(0.4);
    expect(aggregate([null, 0.4], "min")).toBeNull();
  });
});
