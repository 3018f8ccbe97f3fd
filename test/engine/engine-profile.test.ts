import { describe, expect, it } from "vitest";
import {
  ENGINE_PROFILE_NAMES,
  engineProfile,
  stepMs,
} from "../../workers/rollout/drivers/simulated/engine-profile.ts";

/** Recommended values: from and to of steps in ms and of thousands of tokens a second; prefill in thousands a second. */
const TABLE = [
  {
    name: "8b-h100",
    kv: 414_000,
    prefill: [28, 33],
    one: 7,
    at64: [10.6, 12.1],
    rate64: [5.3, 6],
    at256: [21, 28],
    rate256: [9, 12],
  },
  {
    name: "8b-h200",
    kv: 862_000,
    prefill: [28, 33],
    one: 5,
    at64: [8, 9],
    rate64: [7, 8],
    at256: [15, 20],
    rate256: [13, 17],
  },
  {
    name: "70b-4xh100",
    kv: 477_000,
    prefill: [12.6, 15],
    one: 17,
    at64: [18, 20],
    rate64: [3.2, 3.5],
    at256: [25, 30],
    rate256: [8.4, 10],
  },
  {
    name: "70b-2xh200",
    kv: 372_000,
    prefill: [6.3, 7.4],
    one: 22,
    at64: [25, 27],
    rate64: [2.4, 2.6],
    at256: [35, 41],
    rate256: [6.3, 7.3],
  },
  {
    name: "70b-8xh100",
    kv: 1_400_000,
    prefill: [25, 30],
    one: 10,
    at64: [10, 12],
    rate64: [5.5, 6],
    at256: [14, 17],
    rate256: [15, 18],
  },
] as const;

describe("engine profiles", () => {
  it.each(TABLE)("reproduces the table of steps: $name", (row) => {
    const profile = engineProfile(row.name);
    const decode = (sequences: number, context: number): number =>
      stepMs(profile, { sequences, contextTokens: sequences * context, prefillTokens: 0 });
    const within = (value: number, [from, to]: readonly [number, number]): void => {
      expect(value).toBeGreaterThanOrEqual(from);
      expect(value).toBeLessThanOrEqual(to);
    };
    expect(Math.abs(decode(1, 1_024) - row.one)).toBeLessThan(0.5);
    within(decode(64, 1_024), row.at64);
    within(64 / decode(64, 1_024), row.rate64);
    within(decode(256, 1_024), row.at256);
    within(256 / decode(256, 1_024), row.rate256);
    within(profile.prefillTokensPerS / 1_000, row.prefill);
    expect(profile.kvCapacityTokens).toBe(row.kv);
    expect(profile).toMatchObject({ blockTokens: 16, sequencesMax: 256, prefillChunkTokens: 8_192 });
  });

  it("comes near the long-context step of 36 ms, which fits eight H100 only", () => {
    const step = { sequences: 256, contextTokens: 256 * 4_096, prefillTokens: 0 };
    expect(Math.abs(stepMs(engineProfile("70b-8xh100"), step) - 36)).toBeLessThan(1.5);
    expect(ENGINE_PROFILE_NAMES.filter((name) => engineProfile(name).kvCapacityTokens > 256 * 4_096)).toEqual(
      ["70b-8xh100"],
    );
  });

  it("refuses a name that is none, and values that no engine could run with", () => {
    expect(() => engineProfile("8b-b200")).toThrow(/expected a profile of 8b-h100, .*; found "8b-b200"/);
    expect(() => engineProfile("toString")).toThrow(/expected a profile of/);
    expect(() => engineProfile("8b-h100", { kvCapacityTokens: 15 })).toThrow(
      /profile 8b-h100: expected kvCapacityTokens to be a whole number of at least one block \(16 tokens\), found 15/,
    );
    expect(() => engineProfile("8b-h100", { prefillChunkTokens: 256 })).toThrow(/more than sequencesMax/);
    expect(() => engineProfile("8b-h100", { stepBaseMs: Number.NaN })).toThrow(/found NaN/);
  });
});
