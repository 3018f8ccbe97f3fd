/** Waits for a moment that nobody announces, within a limit. */
import type { Clock } from "../runtime/clock.ts";

/** Between two looks. */
const LOOK_MS = 50;

/** Resolves when `isOver` says so, or after `limitMs`. */
export function untilOver(clock: Clock, limitMs: number, isOver: () => boolean): Promise<void> {
  const untilMs = clock.monotonicMs() + limitMs;
  return new Promise((resolve) => {
    const look = (): void => {
      if (isOver() || clock.monotonicMs() >= untilMs) resolve();
      else clock.after(LOOK_MS, look, { keepAlive: true });
    };
    look();
  });
}
