/**
 * The events of one sweep for its watchers over gRPC. Each watcher is a place in one bounded log, so a slow one costs
 * no memory: it misses statuses (only the newest is kept) and, when it falls behind the whole log, other events, and is
 * told how many. `ended` is never missed. A watcher that comes back names its place and goes on from there.
 */
import { CoppiceError } from "../../runtime/errors.ts";
import type { SweepRun } from "../coordinator-api.ts";
import type { SweepEvent } from "../status.ts";

export interface EventLogLimits {
  /** Events other than statuses that are held for watchers that are behind or come back. */
  readonly heldMax: number;
}

export const DEFAULT_EVENT_LOG_LIMITS: EventLogLimits = { heldMax: 4_096 };

/** An event, and the place after it. */
export interface PlacedEvent {
  readonly event: SweepEvent;
  readonly place: number;
}

export class EventLog {
  readonly #run: SweepRun;
  readonly #limits: EventLogLimits;
  #held: SweepEvent[] = [];
  /** Events dropped from the front of `#held`: the place of its first. */
  #dropped = 0;
  #statuses = 0;
  #end: { readonly event: SweepEvent } | { readonly error: unknown } | null = null;
  readonly #wakes = new Set<() => void>();

  constructor(run: SweepRun, limits: EventLogLimits = DEFAULT_EVENT_LOG_LIMITS) {
    this.#run = run;
    this.#limits = limits;
    const stop = run.watch((event) => this.#take(event));
    // Whether or not the run tells `ended` as an event, its promise does.
    run.ended
      .then(
        (summary) => this.#finish({ event: { kind: "ended", summary } }),
        (error: unknown) => this.#finish({ error }),
      )
      .finally(stop);
  }

  #take(event: SweepEvent): void {
    if (event.kind === "ended") return this.#finish({ event });
    if (event.kind === "status") this.#statuses += 1;
    else this.#held.push(event);
    // A quarter at a time, so that dropping costs little per event.
    if (this.#held.length >= this.#limits.heldMax * 1.25)
      this.#drop(this.#held.length - this.#limits.heldMax);
    this.#wake();
  }

  #drop(count: number): void {
    this.#held = this.#held.slice(count);
    this.#dropped += count;
  }

  #finish(end: { readonly event: SweepEvent } | { readonly error: unknown }): void {
    this.#end ??= end;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
  }

  /**
   * A status, then events from `place` on, and the end. Throws what `run.ended` rejects with; throws the signal's reason.
   * @param place Where to go on; null begins with the events still held.
   */
  async *read(place: number | null, signal: AbortSignal): AsyncGenerator<PlacedEvent> {
    let next = place ?? this.#dropped;
    if (next > this.#dropped + this.#held.length)
      throw new CoppiceError(
        "invalid_argument",
        "resume_token: names a place that this sweep has not reached",
      );
    let statuses = this.#statuses;
    yield { event: { kind: "status", status: this.#run.status() }, place: next };
    for (;;) {
      signal.throwIfAborted();
      if (next < this.#dropped) {
        const message = `${this.#dropped - next} events were dropped: this watcher was too slow or away for too long`;
        next = this.#dropped;
        yield { event: { kind: "log", level: "warn", message }, place: next };
        continue;
      }
      const event = this.#held[next - this.#dropped];
      if (event !== undefined) {
        next += 1;
        yield { event, place: next };
      } else if (this.#end !== null) {
        if ("error" in this.#end) throw this.#end.error;
        yield { event: this.#end.event, place: next };
        return;
      } else if (statuses !== this.#statuses) {
        statuses = this.#statuses;
        yield { event: { kind: "status", status: this.#run.status() }, place: next };
      } else await this.#changed(signal);
    }
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#wakes.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#wakes.add(done);
      signal.addEventListener("abort", done);
    });
  }
}
