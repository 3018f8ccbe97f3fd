/** What the units of a budget are called in files, and how they are counted there. */
import { type Amount, eachUnit, type Unit, UNITS } from "./amount.ts";
import { USD_MICROS } from "./prices.ts";

export const UNIT_KEYS = {
  rollouts: "rollouts",
  completionTokens: "completion_tokens",
  totalTokens: "total_tokens",
  verifierTokens: "verifier_tokens",
  usdMicros: "usd",
} as const satisfies Readonly<Record<Unit, string>>;

export type UnitKey = (typeof UNIT_KEYS)[Unit];

/** So many of a file's units as a whole number of ours. */
export function fromFileUnits(unit: Unit, amount: number): number {
  return unit === "usdMicros" ? Math.round(amount * USD_MICROS) : amount;
}

export function toFileUnits(unit: Unit, amount: number): number {
  return unit === "usdMicros" ? amount / USD_MICROS : amount;
}

/** Amounts or ceilings as a file has them. */
export function amountsIn<T extends number | null>(amounts: Readonly<Record<Unit, T>>): Record<UnitKey, T> {
  // Object.fromEntries forgets which keys there are; a number stays one, and null stays null.
  return Object.fromEntries(
    UNITS.map((unit) => {
      const amount: number | null = amounts[unit];
      return [UNIT_KEYS[unit], amount === null ? null : toFileUnits(unit, amount)];
    }),
  ) as Record<UnitKey, T>;
}

/** What `amountsIn` wrote, read back. */
export function amountOf(keys: Readonly<Record<UnitKey, number>>): Amount {
  return eachUnit((unit) => fromFileUnits(unit, keys[UNIT_KEYS[unit]]));
}

/** The same for what a sweep as a whole uses. */
export function timesIn({
  wallMs,
  gpuMs,
}: {
  readonly wallMs: number | null;
  readonly gpuMs: number | null;
}): { readonly gpu_seconds: number | null; readonly wall_ms: number | null } {
  return { gpu_seconds: gpuMs === null ? null : gpuMs / 1_000, wall_ms: wallMs };
}
