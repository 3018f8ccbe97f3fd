/** What an ask may cost, or did cost, in each unit that a budget can limit; and ceilings on that. Pure. */

/** In the order in which they are told. All are whole numbers. */
export const UNITS = ["rollouts", "completionTokens", "totalTokens", "verifierTokens", "usdMicros"] as const;
/**
 * `rollouts`: rollouts that were accepted. `completionTokens`: sampled by rollouts. `totalTokens`: prompt and completion of
 * rollouts. `verifierTokens`: prompt and completion of verifications by models on hosts. `usdMicros`: millionths of a US
 * dollar, by the sweep's prices.
 */
export type Unit = (typeof UNITS)[number];

export type Amount = Readonly<Record<Unit, number>>;

/** null is no ceiling. */
export type Ceilings = Readonly<Record<Unit, number | null>>;

export const NOTHING: Amount = eachUnit(() => 0);
export const UNLIMITED: Ceilings = eachUnit<number | null>(() => null);

export function sumOf(a: Amount, b: Amount): Amount {
  return eachUnit((unit) => a[unit] + b[unit]);
}

/** In each unit what is less. */
export function lesserOf(a: Amount, b: Amount): Amount {
  return eachUnit((unit) => Math.min(a[unit], b[unit]));
}

/** What both allow. */
export function tighterOf(a: Ceilings, b: Ceilings): Ceilings {
  return eachUnit((unit) => {
    const [one, other] = [a[unit], b[unit]];
    return one === null ? other : other === null ? one : Math.min(one, other);
  });
}

/** One value for each unit. */
export function eachUnit<T>(of: (unit: Unit) => T): Record<Unit, T> {
  const made: Partial<Record<Unit, T>> = {};
  for (const unit of UNITS) made[unit] = of(unit);
  // Every unit has its value now.
  return made as Record<Unit, T>;
}
