/**
 * The host watcher: looks at the engine now and then, finds with it how many asks the host may have at once, and tells the
 * coordinator how the host is doing. Calls the driver's `signals` and the link's `signal` only.
 *
 * One look at a time; a look that fails changes nothing and is counted. A host that answers none of several is suspected to be
 * down: one that hangs would otherwise be found out by the silence of its requests only. It ends when the worker stops.
 */
import type { CoordinatorLink, HostFacts, HostSignals } from "../../services/link/link.ts";
import type { Clock, Timer } from "../../services/runtime/clock.ts";
import { asCoppiceError, type CoppiceError } from "../../services/runtime/errors.ts";
import type { Log } from "../../services/runtime/log.ts";
import {
  AdaptiveConcurrency,
  type ConcurrencyLimits,
  DEFAULT_CONCURRENCY_LIMITS,
} from "./adaptive-concurrency.ts";
import type { CacheLosses } from "./cache-losses.ts";
import type { Driver, EngineSignals } from "./driver.ts";
import { isHostTrouble, probeWithin } from "./host-health.ts";

export interface WatchLimits {
  /** Between two looks at the engine. */
  readonly signalsMs: number;
  /** Longest time of one look. */
  readonly signalsMsMax: number;
  /** Looks in a row that found nobody, until the host is suspected to be down; where it is not, twice as many the next time. */
  readonly looksFailedMax: number;
  /** The coordinator hears of the host at least so often, and at once of what changed noticeably. */
  readonly tellMs: number;
  /** A change of the KV cache's use that is noticeable. */
  readonly tellKvChange: number;
  /** Of the number of asks at once, where the host's is not fixed. */
  readonly adaptive: ConcurrencyLimits;
}

export const DEFAULT_WATCH_LIMITS: WatchLimits = {
  signalsMs: 1_000,
  signalsMsMax: 10_000,
  looksFailedMax: 2,
  tellMs: 5_000,
  tellKvChange: 0.1,
  adaptive: DEFAULT_CONCURRENCY_LIMITS,
};

export interface HostWatcherOptions {
  readonly host: HostFacts;
  readonly driver: Pick<Driver, "signals">;
  readonly link: Pick<CoordinatorLink, "signal">;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: WatchLimits;
  /** Aborts when the worker stops. */
  readonly stop: AbortSignal;
  readonly losses: CacheLosses;
  readonly isUp: () => boolean;
  /** The host may be down. */
  readonly onSilence: (why: CoppiceError) => void;
  /** Asks that the host has now. */
  readonly inFlight: () => number;
  /** The host may have another number of asks from now on. */
  readonly onConcurrency: (concurrency: number) => void;
}

export class HostWatcher {
  readonly #options: HostWatcherOptions;
  readonly #concurrency: AdaptiveConcurrency;
  #signals: EngineSignals | null = null;
  #failures = 0;
  /** Looks in a row that found nobody. */
  #silent = 0;
  #silentMax: number;
  #told: HostSignals | null = null;
  #toldMs = -Infinity;
  #number: number;
  #timer: Timer | null = null;

  constructor(options: HostWatcherOptions) {
    const { host, limits, stop } = options;
    this.#options = options;
    this.#silentMax = limits.looksFailedMax;
    this.#concurrency = new AdaptiveConcurrency(
      { start: host.concurrency, max: host.concurrencyMax },
      limits.adaptive,
    );
    this.#number = this.#concurrency.number;
    stop.addEventListener("abort", () => this.#timer?.cancel(), { once: true });
  }

  /** Asks that the host may have at once now. */
  get concurrency(): number {
    return this.#number;
  }

  /** What the engine said last; null where it says nothing. */
  get signals(): EngineSignals | null {
    return this.#signals;
  }

  /** Looks that failed. */
  get failures(): number {
    return this.#failures;
  }

  start(): void {
    const { clock, limits, stop } = this.#options;
    if (stop.aborted) return;
    this.#timer = clock.after(limits.signalsMs, () => {
      void this.#look().finally(() => this.start());
    });
  }

  /** An ask was answered. @param completionTokens null: unknown. */
  finished(completionTokens: number | null): void {
    this.#concurrency.finished(completionTokens);
  }

  /** The host refused an ask for want of room. */
  refused(): void {
    this.#concurrency.refused(this.#options.clock.monotonicMs());
    this.#apply();
  }

  /** Tells the coordinator, where there is something to tell. */
  tell(): void {
    const { clock, isUp, limits, link, losses, stop } = this.#options;
    if (stop.aborted) return;
    const nowMs = clock.monotonicMs();
    const { running = null, waiting = null, kvUsage = null, preemptions = null } = this.#signals ?? {};
    const told = {
      isUp: isUp(),
      concurrency: this.#number,
      running,
      waiting,
      kvUsage,
      preemptions,
      cacheLosses: losses.count,
    };
    const isDue = this.#told === null || nowMs - this.#toldMs >= limits.tellMs;
    if (!isDue && this.#told !== null && !isNoticeable(this.#told, told, limits.tellKvChange)) return;
    this.#told = told;
    this.#toldMs = nowMs;
    link.signal(told);
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    const { clock, driver, inFlight, isUp, limits, losses, stop } = this.#options;
    if (isUp()) {
      try {
        const signals = await probeWithin(limits.signalsMsMax, clock, stop, (each) => driver.signals(each));
        this.#signals = signals;
        this.#silent = 0;
        this.#silentMax = limits.looksFailedMax;
        this.#concurrency.observe({ atMs: clock.monotonicMs(), inFlight: inFlight(), signals });
        if (signals !== null) losses.clears(signals.cacheClears);
        this.#apply();
      } catch (error) {
        if (!stop.aborted) this.#failed(asCoppiceError(error));
      }
    }
    this.tell();
  }

  #failed(why: CoppiceError): void {
    this.#failures += 1;
    this.#silent = isHostTrouble(why) ? this.#silent + 1 : 0;
    if (this.#silent < this.#silentMax) return;
    this.#silent = 0;
    this.#silentMax *= 2;
    this.#options.onSilence(why);
  }

  /** Makes the number that was found the number that holds. */
  #apply(): void {
    const { log, onConcurrency } = this.#options;
    const { number, because } = this.#concurrency;
    if (number === this.#number) return;
    log.debug({ from: this.#number, to: number, because }, "concurrency_changed");
    this.#number = number;
    onConcurrency(number);
    this.tell();
  }
}

/** Whether the coordinator would decide otherwise for it. */
function isNoticeable(before: HostSignals, now: HostSignals, kvChange: number): boolean {
  const isWaiting = ({ waiting }: HostSignals): boolean => (waiting ?? 0) > 0;
  return (
    before.isUp !== now.isUp ||
    before.concurrency !== now.concurrency ||
    before.cacheLosses !== now.cacheLosses ||
    before.preemptions !== now.preemptions ||
    isWaiting(before) !== isWaiting(now) ||
    Math.abs((before.kvUsage ?? 0) - (now.kvUsage ?? 0)) >= kvChange
  );
}
