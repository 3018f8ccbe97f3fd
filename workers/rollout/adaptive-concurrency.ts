/**
 * How many asks a host may have at once, found by what its engine says: additive increase and multiplicative decrease, as
 * TCP does it (slow start first), with the KV cache in the part of the window. Where the engine says nothing of itself, by
 * what comes out of it (throughput-climb.ts). Pure: times are arguments, and somebody else looks at the engine.
 *
 * Invariants: (1) the number stays within 1 and the most that the host may have; (2) it grows only while it is used;
 * (3) it is cut at most once in `cooldownMs`, whatever for.
 */
import type { EngineSignals } from "./driver.ts";
import { DEFAULT_CLIMB_LIMITS, ThroughputClimb, type ClimbLimits } from "./throughput-climb.ts";

export interface ConcurrencyLimits extends ClimbLimits {
  /** Share of the number that must be in flight for it to grow: one that is not used says nothing of the next. */
  readonly usedShare: number;
  /** Share of the KV cache from which on the number grows no more: what is in it still grows while it is decoded. */
  readonly kvGrowMax: number;
  /** Share from which on it is trimmed: between the two it rests. */
  readonly kvTrimMin: number;
  /** What a trim leaves. Gentle, and one at a time: the next comes only when the asks in flight have come down to it. */
  readonly trimFactor: number;
  /** What a cut leaves. Preempted and refused work is done again, so a cut is worth more than a trim. */
  readonly cutFactor: number;
  /** After a cut nothing grows and nothing is cut for so long: what caused it is still in the engine. */
  readonly cooldownMs: number;
  /** Shortest time between two steps up: the engine must have been looked at with the new number. */
  readonly growMs: number;
  /** A step up waits for this share of the number to be answered: a look right after a step sees the prompts alone. */
  readonly growAnswersShare: number;
  /** But not for longer than this: rollouts may take minutes. */
  readonly growMsMax: number;
  /** Additive steps from nothing to the most that the host may have. */
  readonly growSteps: number;
  /** Share of the number that may wait in the engine: what has just arrived waits for the next step of the engine. */
  readonly waitingShare: number;
  /** More than that for so long is a queue: work that no scheduler can place any more. */
  readonly waitingMs: number;
  /** For so long after a cut the number stays below `strainShare` of where it was cut; then it may try again. */
  readonly strainMs: number;
  readonly strainShare: number;
}

export const DEFAULT_CONCURRENCY_LIMITS: ConcurrencyLimits = {
  ...DEFAULT_CLIMB_LIMITS,
  usedShare: 0.9,
  kvGrowMax: 0.9,
  kvTrimMin: 0.95,
  trimFactor: 0.97,
  cutFactor: 0.8,
  cooldownMs: 15_000,
  growMs: 2_000,
  growAnswersShare: 0.25,
  growMsMax: 30_000,
  growSteps: 64,
  waitingShare: 0.05,
  waitingMs: 5_000,
  strainMs: 60_000,
  strainShare: 0.9,
};

/** One look at the host. */
export interface HostLook {
  /** Of a clock that never steps back. */
  readonly atMs: number;
  /** Asks that the host has of us now. */
  readonly inFlight: number;
  /** Null: the engine says nothing of itself. */
  readonly signals: EngineSignals | null;
}

export interface ConcurrencyBounds {
  /** What to begin with. */
  readonly start: number;
  /** The most; equal to `start`: the number is fixed. */
  readonly max: number;
}

export class AdaptiveConcurrency {
  readonly #limits: ConcurrencyLimits;
  readonly #bounds: ConcurrencyBounds;
  readonly #climb: ThroughputClimb;
  #number: number;
  #because = "it begins with it";
  /** Below it a step up doubles. */
  #doubleBelow = Infinity;
  #answers = 0;
  /** When the number changed last; null before the first look. */
  #steppedMs: number | null = null;
  #cutAgainMs = -Infinity;
  #growAgainMs = -Infinity;
  #waitingSinceMs: number | null = null;
  /** Where it was cut last, and until when it keeps away from there. */
  #strain = { number: Infinity, untilMs: -Infinity };
  #preemptions: number | null = null;
  #refusals: number | null = null;

  constructor(bounds: ConcurrencyBounds, limits: ConcurrencyLimits = DEFAULT_CONCURRENCY_LIMITS) {
    this.#limits = limits;
    this.#bounds = { start: Math.max(1, bounds.start), max: Math.max(1, bounds.start, bounds.max) };
    this.#number = this.#bounds.start;
    this.#climb = new ThroughputClimb(limits, this.#bounds.max);
  }

  /** Asks that the host may have at once now. */
  get number(): number {
    return this.#number;
  }

  /** Why it is that number, for a log. */
  get because(): string {
    return this.#because;
  }

  get isFixed(): boolean {
    return this.#bounds.start === this.#bounds.max;
  }

  /** An ask was answered. @param tokens It completed; null: unknown. */
  finished(tokens: number | null): void {
    this.#answers += 1;
    this.#climb.finished(tokens);
  }

  /** The host refused an ask for want of room. */
  refused(atMs: number): void {
    if (this.isFixed) return;
    this.#cut(atMs, "the host refuses");
    // As long as it refuses, nothing grows; a storm that lasts is cut for again after each cooldown.
    this.#growAgainMs = atMs + this.#limits.cooldownMs;
  }

  observe({ atMs, inFlight, signals }: HostLook): void {
    if (this.isFixed) return;
    this.#steppedMs ??= atMs;
    if (signals !== null) {
      if (hasRisen(this.#refusals, signals.refusals)) this.refused(atMs);
      if (hasRisen(this.#preemptions, signals.preemptions)) this.#cut(atMs, "the engine preempts");
      this.#refusals = signals.refusals;
      this.#preemptions = signals.preemptions;
    }
    const isUsed = inFlight >= this.#limits.usedShare * this.#number;
    if (signals !== null && (signals.waiting !== null || signals.kvUsage !== null))
      this.#byEngine(atMs, {
        inFlight,
        isUsed,
        waiting: signals.waiting ?? 0,
        kvUsage: signals.kvUsage ?? 0,
      });
    else this.#byThroughput(atMs, isUsed);
  }

  #byEngine(
    atMs: number,
    seen: {
      readonly inFlight: number;
      readonly isUsed: boolean;
      readonly waiting: number;
      readonly kvUsage: number;
    },
  ): void {
    const limits = this.#limits;
    const isQueueing = seen.waiting > Math.floor(limits.waitingShare * this.#number);
    this.#waitingSinceMs = isQueueing ? (this.#waitingSinceMs ?? atMs) : null;
    if (this.#waitingSinceMs !== null && atMs - this.#waitingSinceMs >= limits.waitingMs)
      return this.#cut(atMs, "its queue stays long");
    if (seen.kvUsage >= limits.kvTrimMin) return this.#trim(atMs, seen.inFlight);
    if (isQueueing || seen.kvUsage >= limits.kvGrowMax) {
      this.#doubleBelow = Math.min(this.#doubleBelow, this.#number);
      return;
    }
    if (!seen.isUsed || !this.#mayStepUp(atMs)) return;
    // What the asks in flight hold, more of them would hold too.
    const kvRoom =
      seen.kvUsage > 0 ? Math.floor((seen.inFlight * limits.kvGrowMax) / seen.kvUsage) : Infinity;
    const step = Math.max(1, Math.round(this.#bounds.max / limits.growSteps));
    const wanted = this.#number < this.#doubleBelow ? this.#number * 2 : this.#number + step;
    this.#step(atMs, Math.max(this.#number, Math.min(wanted, kvRoom, this.#roomAt(atMs))), "it is used");
  }

  #byThroughput(atMs: number, isUsed: boolean): void {
    const next = this.#climb.observe({ atMs, number: this.#number, isUsed });
    if (next === null) return;
    const isUp = next > this.#number;
    if (isUp && atMs < this.#growAgainMs) return;
    const to = isUp ? Math.max(this.#number, Math.min(next, this.#roomAt(atMs))) : next;
    this.#step(atMs, to, isUp ? "more may bring more" : "more did not bring more");
  }

  #mayStepUp(atMs: number): boolean {
    const { growMs, growMsMax, growAnswersShare } = this.#limits;
    const sinceMs = atMs - (this.#steppedMs ?? atMs);
    if (atMs < this.#growAgainMs || sinceMs < growMs) return false;
    return this.#answers >= growAnswersShare * this.#number || sinceMs >= growMsMax;
  }

  /** The most that it may be now. */
  #roomAt(atMs: number): number {
    const { number, untilMs } = this.#strain;
    const { max } = this.#bounds;
    return atMs < untilMs ? Math.min(max, Math.floor(number * this.#limits.strainShare)) : max;
  }

  #trim(atMs: number, inFlight: number): void {
    const { growMs, trimFactor } = this.#limits;
    this.#doubleBelow = Math.min(this.#doubleBelow, this.#number);
    if (inFlight > this.#number || atMs - (this.#steppedMs ?? atMs) < growMs) return;
    // Of what is in flight: a number that is not used is no number to trim.
    const used = Math.min(this.#number, inFlight);
    this.#step(atMs, Math.max(1, Math.min(used - 1, Math.floor(used * trimFactor))), "its KV cache is full");
  }

  #cut(atMs: number, because: string): void {
    const { cooldownMs, cutFactor, strainMs } = this.#limits;
    if (atMs < this.#cutAgainMs) return;
    const isNewSeries = atMs >= this.#strain.untilMs;
    // Of several cuts the first says from where on to be careful again: the others may be of a storm that passes.
    if (isNewSeries) this.#doubleBelow = Math.ceil(this.#number / 2);
    this.#strain = { number: this.#number, untilMs: atMs + strainMs };
    this.#cutAgainMs = atMs + cooldownMs;
    this.#growAgainMs = atMs + cooldownMs;
    this.#waitingSinceMs = null;
    this.#step(atMs, Math.max(1, Math.floor(this.#number * cutFactor)), because);
    this.#climb.wasCut(this.#growAgainMs);
  }

  #step(atMs: number, number: number, because: string): void {
    if (number === this.#number) return;
    this.#number = Math.min(this.#bounds.max, Math.max(1, number));
    this.#because = because;
    this.#steppedMs = atMs;
    this.#answers = 0;
  }
}

function hasRisen(before: number | null, now: number | null): boolean {
  return before !== null && now !== null && now > before;
}
