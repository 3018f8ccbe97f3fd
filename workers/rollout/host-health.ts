/**
 * Whether the host is up. While it is down nothing is sent to it and no attempt of a job is spent: whoever has work waits
 * here, so no more jobs are taken from the lane either. Calls the driver's probe only.
 */
import { sleep, type Clock } from "../../services/runtime/clock.ts";
import { CoppiceError, messageOf } from "../../services/runtime/errors.ts";
import type { Log } from "../../services/runtime/log.ts";
import { orAbort } from "../abortable.ts";

export interface HealthLimits {
  /** Longest time of one probe. */
  readonly probeMs: number;
  /** First wait between probes of a host that is down; doubles each time, up to `downBackoffMaxMs`. */
  readonly downBackoffMs: number;
  readonly downBackoffMaxMs: number;
  /** A host that is down for so long is given up: the worker leaves and its jobs are placed elsewhere. */
  readonly downMaxMs: number;
}

export class HostHealth {
  readonly #probe: (signal: AbortSignal) => Promise<void>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #limits: HealthLimits;
  /** Aborts when the worker stops. */
  readonly #stop: AbortSignal;
  readonly #onBack: () => void;
  readonly #onLost: (error: CoppiceError) => void;
  /** The check under way: true when the host was down and came back. Several suspicions are one check. */
  #check: Promise<boolean> | null = null;
  #isUp = true;

  constructor(options: {
    readonly probe: (signal: AbortSignal) => Promise<void>;
    readonly clock: Clock;
    readonly log: Log;
    readonly limits: HealthLimits;
    readonly stop: AbortSignal;
    /** Called when the host was down and is up again, before anybody who waits for it goes on. */
    readonly onBack?: () => void;
    /** Called when the host is given up, whether or not anybody waits for it still. */
    readonly onLost?: (error: CoppiceError) => void;
  }) {
    this.#probe = options.probe;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#limits = options.limits;
    this.#stop = options.stop;
    this.#onBack = options.onBack ?? (() => undefined);
    this.#onLost = options.onLost ?? (() => undefined);
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Resolves while the host is up; rejects with "unavailable" when it is given up, or with the signal's reason. */
  async ready(signal: AbortSignal): Promise<void> {
    while (!this.#isUp && this.#check !== null) await orAbort(this.#check, signal);
    if (!this.#isUp) throw new CoppiceError("unavailable", "the host was given up");
  }

  /**
   * A request failed as it does when the host is down. Resolves with false when a probe finds it up (the failure was the
   * request's own), with true once it was down and is back; rejects as `ready` does.
   */
  async suspect(why: CoppiceError, signal: AbortSignal): Promise<boolean> {
    if (this.#check === null) {
      this.#check = this.#find(why);
      // Those who wait for it may all have left by the time it rejects.
      this.#check.catch(() => undefined);
    }
    return orAbort(this.#check, signal);
  }

  async #find(why: CoppiceError): Promise<boolean> {
    try {
      return await this.#wasDown(why);
    } finally {
      this.#check = null;
    }
  }

  async #wasDown(why: CoppiceError): Promise<boolean> {
    let trouble = await this.#trouble();
    if (trouble === null) return false;
    this.#isUp = false;
    const downSinceMs = this.#clock.monotonicMs();
    this.#log.warn({ message: why.message, probe: messageOf(trouble) }, "host_down");
    for (
      let waitMs = this.#limits.downBackoffMs;
      ;
      waitMs = Math.min(waitMs * 2, this.#limits.downBackoffMaxMs)
    ) {
      const downMs = this.#clock.monotonicMs() - downSinceMs;
      if (downMs >= this.#limits.downMaxMs) {
        this.#log.error({ down_ms: Math.round(downMs), message: messageOf(trouble) }, "host_lost");
        const lost = new CoppiceError(
          "unavailable",
          `the host was down for ${Math.round(downMs)} ms: ${messageOf(trouble)}`,
          { cause: trouble },
        );
        this.#onLost(lost);
        throw lost;
      }
      await sleep(this.#clock, Math.min(waitMs, this.#limits.downMaxMs - downMs), this.#stop);
      trouble = await this.#trouble();
      if (trouble !== null) continue;
      this.#isUp = true;
      this.#onBack();
      this.#log.info({ down_ms: Math.round(this.#clock.monotonicMs() - downSinceMs) }, "host_up");
      return true;
    }
  }

  /** Null when a probe finds the host up. */
  async #trouble(): Promise<unknown> {
    try {
      await probeWithin(this.#limits.probeMs, this.#clock, this.#stop, this.#probe);
      return null;
    } catch (error) {
      this.#stop.throwIfAborted();
      return error;
    }
  }
}

/** Whether the failure may mean that the host is down, rather than that it refused this request. */
export function isHostTrouble(error: CoppiceError): boolean {
  return error.code === "unavailable" || error.code === "deadline_exceeded";
}

/** Runs a probe with a deadline; rejects with "deadline_exceeded" when it passes. */
export async function probeWithin<T>(
  probeMs: number,
  clock: Clock,
  signal: AbortSignal,
  probe: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const deadline = new AbortController();
  const timer = clock.after(probeMs, () => {
    deadline.abort(
      new CoppiceError(
        "deadline_exceeded",
        `expected the host to answer its probe within ${probeMs} ms, found nothing`,
      ),
    );
  });
  try {
    return await probe(AbortSignal.any([deadline.signal, signal]));
  } finally {
    timer.cancel();
  }
}
