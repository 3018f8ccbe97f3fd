/**
 * Time as an argument. Production takes `systemClock`; tests and the simulator take a `VirtualClock`
 * (test/support), so that no code of ours reads the time or sets a timer by itself.
 */

/** A running timer; `cancel` is safe to call twice and after it fired. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall-clock milliseconds since the Unix epoch; may step. For rows and logs only. */
  nowMs(): number;
  /** Milliseconds on a clock that never steps back. For durations and deadlines. */
  monotonicMs(): number;
  /** Calls `fire` once after `delayMs`. A timer does not keep the process alive unless `keepAlive` is set. */
  after(delayMs: number, fire: () => void, options?: { readonly keepAlive?: boolean }): Timer;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, fire, options) {
    const handle = setTimeout(fire, delayMs);
    if (options?.keepAlive !== true) handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves after `delayMs`, or rejects with the signal's reason as soon as it aborts. Keeps the process alive. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason);
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.after(
      delayMs,
      () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      { keepAlive: true },
    );
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
