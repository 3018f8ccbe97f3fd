/** What goes wrong in a simulated world, how often, and how often it really did. All by the seed. */
import type { Random } from "../../services/runtime/random.ts";

/** Events that befall the world from time to time. */
export const BLOWS = [
  "coordinator crash",
  "coordinator stopped",
  "worker crash",
  "worker stopped",
  "verifier crash",
  "network cut",
  "store down",
  "store emptied",
  "disk error",
  "disk full",
  "host down",
  "host slow",
  "clock step",
  "pause",
  "interrupt",
] as const;
export type Blow = (typeof BLOWS)[number];

/** What may happen to one message, request or answer. */
export const MISHAPS = [
  "report dropped",
  "report doubled",
  "acknowledgement dropped",
  "withdrawal dropped",
  "segments refused",
  "store refused",
  "host refused",
  "host lied",
  "verifier refused",
  "disk stalled",
] as const;
export type Mishap = (typeof MISHAPS)[number];

export type Fault = Blow | Mishap;

/** Attempts may run out, and a strategy that counts tokens believes what a host says of them. */
export const CHANGES_ROWS: ReadonlySet<Fault> = new Set([
  "host down",
  "host refused",
  "host lied",
  "verifier refused",
  "segments refused",
]);

export interface Plan {
  /** Mean virtual milliseconds between two blows of a kind; absent: none. */
  readonly blows: ReadonlyMap<Blow, number>;
  /** Chance of each mishap; absent: 0. */
  readonly mishaps: ReadonlyMap<Mishap, number>;
  /** From here on nothing goes wrong any more. */
  readonly untilMs: number;
}

export const NO_FAULTS: Plan = { blows: new Map(), mishaps: new Map(), untilMs: 0 };

/** Some of the faults, each at a rate of its own: a world in which everything happens at once hides what one thing does. */
export function drawPlan(random: Random): Plan {
  const share = 0.15 + 0.6 * random.next();
  const drawn = <T>(of: readonly T[], value: () => number): ReadonlyMap<T, number> =>
    new Map(of.flatMap((each) => (random.next() < share ? [[each, value()] as const] : [])));
  return {
    blows: drawn(BLOWS, () => 300 * 20 ** random.next()),
    mishaps: drawn(MISHAPS, () => 0.2 * random.next() ** 2),
    untilMs: 2_000 + 20_000 * random.next(),
  };
}

export class FaultCounts {
  readonly #counts = new Map<Fault, number>();

  add(fault: Fault): void {
    this.#counts.set(fault, (this.#counts.get(fault) ?? 0) + 1);
  }

  merge(other: FaultCounts): void {
    for (const [fault, count] of other.#counts) this.#counts.set(fault, this.of(fault) + count);
  }

  of(fault: Fault): number {
    return this.#counts.get(fault) ?? 0;
  }
}
