/**
 * What may change between attempts at one run: what it may spend, and how many samples its arms take. Compares a sweep with what
 * the journal says of it. Pure.
 */
import { CoppiceError } from "../runtime/errors.ts";
import type { JournalHeader, RevisedEntry } from "./journal-entry.ts";
import type { Ledger } from "./ledger.ts";
import type { Arm, Sweep } from "./sweep.ts";
import { amountsIn, timesIn } from "./unit-keys.ts";

/** Ceilings by their keys in a sweep file, in the file's units; what has none is absent. */
export type CeilingsByKey = Readonly<Record<string, number>>;

/** What the journal says of the sweep as it was last. */
export type SweepMark = Pick<JournalHeader, "arms" | "ceilings">;

export function ceilingsOf({ budget, arms }: Pick<Sweep, "budget" | "arms">): CeilingsByKey {
  const all: Record<string, number> = {};
  const add = (key: string, amounts: Readonly<Record<string, number | null>>): void => {
    for (const [unit, ceiling] of Object.entries(amounts))
      if (ceiling !== null) all[`${key}.${unit}`] = ceiling;
  };
  add("budget", { ...amountsIn(budget), ...timesIn(budget) });
  add("budget.per_task", amountsIn(budget.perTask));
  for (const { id, budget: own } of arms) {
    add(`strategies.${id}.budget`, amountsIn(own));
    add(`strategies.${id}.budget.per_task`, amountsIn(own.perTask));
  }
  return all;
}

/** The arms of which a parameter is larger that may grow, and nothing else differs. */
export function grownArms(arms: readonly Arm[], found: SweepMark): readonly string[] {
  return arms.flatMap((arm) => {
    const before = found.arms.find(({ id }) => id === arm.id)?.parameters;
    if (before === undefined) return [];
    const changed = Object.keys({ ...before, ...arm.parameters }).filter(
      (key) => JSON.stringify(before[key]) !== JSON.stringify(arm.parameters[key]),
    );
    const isGrown = (key: string): boolean =>
      (arm.strategy.grows ?? []).includes(key) && Number(arm.parameters[key]) > Number(before[key]);
    return changed.length > 0 && changed.every(isGrown) ? [arm.id] : [];
  });
}

/** What is new in the sweep, to be journaled; null where nothing is. `found`: the journal's header agrees but for grown arms. */
export function revisionOf(sweep: Sweep, header: JournalHeader, found: SweepMark): RevisedEntry | null {
  const ceilings = ceilingsOf(sweep);
  const arms = grownArms(sweep.arms, found);
  const before = found.ceilings;
  // A journal of a version that did not say: whoever goes on with it may have raised it.
  const isRaised =
    before === undefined ||
    Object.entries(before).some(([key, ceiling]) => (ceilings[key] ?? Infinity) > ceiling);
  const isSame = before !== undefined && isEqual(before, ceilings);
  if (isSame && arms.length === 0) return null;
  return { kind: "revised", arms: header.arms, ceilings, reopens: { exhausted: isRaised, arms } };
}

/** Refuses a ceiling below what is spent, naming each. `time`: what earlier attempts took. */
export function checkCeilings(
  sweep: Sweep,
  found: SweepMark,
  {
    ledger,
    time,
    where,
  }: {
    readonly ledger: Ledger;
    readonly time: { readonly ms: number; readonly gpuMs: number };
    readonly where: string;
  },
): void {
  const ceilings = ceilingsOf(sweep);
  const spentBy: [string, Readonly<Record<string, number | null>>][] = [
    ["budget", { ...amountsIn(ledger.charged), ...timesIn({ wallMs: time.ms, gpuMs: time.gpuMs }) }],
    ...sweep.arms.map(({ id }): [string, Readonly<Record<string, number | null>>] => [
      `strategies.${id}.budget`,
      amountsIn(ledger.chargedTo(id)),
    ]),
  ];
  const complaints = spentBy.flatMap(([key, amounts]) =>
    Object.entries(amounts).flatMap(([unit, spent]) => {
      const name = `${key}.${unit}`;
      const ceiling = ceilings[name];
      const before = found.ceilings?.[name];
      const isChanged = found.ceilings !== undefined && ceiling !== before;
      if (ceiling === undefined || !isChanged || (spent ?? 0) <= ceiling) return [];
      return [`${name}: expected at least the ${spent} that are spent, found ${ceiling}`];
    }),
  );
  if (complaints.length === 0) return;
  throw new CoppiceError(
    "invalid_argument",
    `${where}: cannot go on with this run:\n  ${complaints.join("\n  ")}`,
  );
}

function isEqual(a: CeilingsByKey, b: CeilingsByKey): boolean {
  return Object.keys({ ...a, ...b }).every((key) => a[key] === b[key]);
}
