/** The keys of `budget` and `prices` in a sweep file, and what they are inside. */
import { parseDurationMs } from "../../runtime/duration.ts";
import { type Ceilings, eachUnit, UNITS } from "../amount.ts";
import { type Prices, USD_MICROS } from "../prices.ts";
import type { ArmBudget, Budget } from "../sweep.ts";
import { fromFileUnits, toFileUnits, UNIT_KEYS, type UnitKey } from "../unit-keys.ts";
import type { ArmFile, SweepFile } from "./sweep-schema.ts";

/** Ceilings as a file has them; absent is none. */
type CeilingsFile = { readonly [K in UnitKey]?: number | undefined };

export function toBudget(file: SweepFile["budget"]): Budget {
  const { wall, gpu_seconds: gpuSeconds } = file;
  return {
    ...toArmBudget(file),
    wallMs: typeof wall === "string" ? parseDurationMs(wall) : (wall ?? null),
    gpuMs: gpuSeconds === undefined ? null : gpuSeconds * 1_000,
  };
}

export function toArmBudget(file: ArmFile["budget"]): ArmBudget {
  return { ...toCeilings(file), perTask: toCeilings(file?.per_task) };
}

function toCeilings(file: CeilingsFile = {}): Ceilings {
  return eachUnit((unit) => {
    const amount = file[UNIT_KEYS[unit]];
    return amount === undefined ? null : fromFileUnits(unit, amount);
  });
}

export function fromBudget(budget: Budget): SweepFile["budget"] {
  return {
    ...fromArmBudget(budget),
    ...(budget.wallMs === null ? {} : { wall: budget.wallMs }),
    ...(budget.gpuMs === null ? {} : { gpu_seconds: budget.gpuMs / 1_000 }),
  };
}

export function fromArmBudget(budget: ArmBudget): NonNullable<ArmFile["budget"]> {
  const perTask = fromCeilings(budget.perTask);
  return { ...fromCeilings(budget), ...(Object.keys(perTask).length === 0 ? {} : { per_task: perTask }) };
}

function fromCeilings(ceilings: Ceilings): CeilingsFile {
  const limited = UNITS.flatMap((unit) => {
    const ceiling = ceilings[unit];
    return ceiling === null ? [] : [[UNIT_KEYS[unit], toFileUnits(unit, ceiling)] as const];
  });
  return Object.fromEntries(limited);
}

export function toPrices(file: SweepFile["prices"]): Prices | null {
  if (file === undefined) return null;
  const micros = (usd: number): number => Math.round(usd * USD_MICROS);
  return {
    prompt: micros(file.prompt),
    cached: micros(file.cached ?? file.prompt),
    completion: micros(file.completion),
    verifier: micros(file.verifier),
    gpuHour: micros(file.gpu_hour),
  };
}

export function fromPrices(prices: Prices): NonNullable<SweepFile["prices"]> {
  const usd = (micros: number): number => micros / USD_MICROS;
  return {
    prompt: usd(prices.prompt),
    cached: usd(prices.cached),
    completion: usd(prices.completion),
    verifier: usd(prices.verifier),
    gpu_hour: usd(prices.gpuHour),
  };
}
