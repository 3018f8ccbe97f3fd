/**
 * The time that a run has taken, and the GPUs that were there for it, over all attempts; and the ceilings on both. Time passes whether
 * anybody asks for it or not, so it is not reserved: the sweep is cut at the earliest moment at which a ceiling could be reached.
 *
 * A host counts from when it joins to when it leaves, with all its GPUs, busy or not: it is held for the sweep. One that serves none of
 * the sweep's models does not count.
 *
 * What the journal says is ahead of the time: as much as may have passed when the next entry is due. So a crash makes no time look free
 * that was spent; a run that ends well says what it took.
 */
import type { Clock, Timer } from "../runtime/clock.ts";
import type { ElapsedEntry } from "./journal-entry.ts";
import { type Amount, NOTHING } from "./amount.ts";
import type { Ledger } from "./ledger.ts";
import { gpuPrice, HOUR_MS, type Prices } from "./prices.ts";
import type { Sweep } from "./sweep.ts";

/** No timer is set further ahead: Node's would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export interface TimeSpentOptions {
  readonly sweep: Pick<Sweep, "budget" | "prices">;
  readonly clock: Clock;
  readonly ledger: Ledger;
  readonly attempt: number;
  /** Of earlier attempts. */
  readonly earlier: { readonly ms: number; readonly gpuMs: number };
  /** How far ahead of the time an entry is. */
  readonly aheadMs: number;
  /** GPUs of the hosts that are there for the sweep now. */
  readonly gpus: () => number;
  /** A ceiling is reached. Called once. */
  readonly onReached: () => void;
}

export class TimeSpent {
  readonly #options: TimeSpentOptions;
  readonly #startedMs: number;
  #endedMs: number | null = null;
  /** GPU-milliseconds of this attempt, up to `#atMs`, and GPUs since. */
  #gpuMs = 0;
  #gpus = 0;
  #atMs: number;
  #timer: Timer | null = null;
  /** When it fires. */
  #dueMs = Infinity;
  #isReached = false;

  constructor(options: TimeSpentOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
    this.#atMs = this.#startedMs;
  }

  /** Of all attempts. */
  get elapsedMs(): number {
    return this.#options.earlier.ms + this.#attemptMs;
  }

  /** Of all attempts. */
  get gpuMs(): number {
    return this.#options.earlier.gpuMs + this.#attemptGpuMs;
  }

  /** Beside what asks cost. */
  get cost(): Amount {
    return { ...NOTHING, usdMicros: gpuPrice(this.#prices, this.gpuMs) };
  }

  /** Hosts may have come or gone, or the ledger has changed. */
  update(): void {
    if (this.#endedMs !== null) return;
    this.#gpuMs = this.#attemptGpuMs;
    this.#atMs = this.#nowMs;
    this.#gpus = this.#options.gpus();
    if (this.#prices !== null) this.#options.ledger.accrue(this.cost);
    const leftMs = this.#leftMs;
    if (leftMs > 0) return this.#arm(leftMs);
    if (this.#isReached) return;
    this.#isReached = true;
    this.#options.onReached();
  }

  /** Time that passes from now on is not the run's. */
  end(): void {
    if (this.#endedMs !== null) return;
    this.#gpuMs = this.#attemptGpuMs;
    this.#endedMs = this.#nowMs;
    this.#atMs = this.#endedMs;
    this.#timer?.cancel();
  }

  get entry(): ElapsedEntry {
    const { attempt } = this.#options;
    const aheadMs = this.#endedMs === null ? this.#options.aheadMs : 0;
    return {
      kind: "elapsed",
      attempt,
      ms: Math.ceil(this.#attemptMs + aheadMs),
      gpuMs: Math.ceil(this.#attemptGpuMs + this.#gpus * aheadMs),
    };
  }

  /** Until the first ceiling could be reached, as things stand. */
  get #leftMs(): number {
    const { budget } = this.#options.sweep;
    const lefts = [
      budget.wallMs === null ? Infinity : budget.wallMs - this.elapsedMs,
      budget.gpuMs === null ? Infinity : (budget.gpuMs - this.gpuMs) / this.#gpus,
      this.#dollarsLeftMs,
    ];
    // 0 / 0: no GPU is there, and nothing is left of them.
    return Math.min(...lefts.map((left) => (Number.isNaN(left) ? 0 : left)));
  }

  /** Asks in flight may yet cost all that is reserved for them. */
  get #dollarsLeftMs(): number {
    const { ledger } = this.#options;
    const perMs = ((this.#prices?.gpuHour ?? 0) * this.#gpus) / HOUR_MS;
    const free = perMs === 0 ? null : ledger.free("usdMicros");
    return free === null ? Infinity : free / perMs;
  }

  /** A timer that fires too soon does no harm: only one that would fire too late is set anew. */
  #arm(leftMs: number): void {
    const dueMs = this.#atMs + Math.min(leftMs, TIMER_MS_MAX);
    if (leftMs === Infinity || (this.#timer !== null && this.#dueMs <= dueMs)) return;
    this.#timer?.cancel();
    this.#dueMs = dueMs;
    this.#timer = this.#options.clock.after(Math.ceil(dueMs - this.#atMs), () => {
      this.#timer = null;
      this.update();
    });
  }

  get #prices(): Prices | null {
    return this.#options.sweep.prices;
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }

  get #attemptMs(): number {
    return (this.#endedMs ?? this.#nowMs) - this.#startedMs;
  }

  get #attemptGpuMs(): number {
    return this.#gpuMs + this.#gpus * ((this.#endedMs ?? this.#nowMs) - this.#atMs);
  }
}
