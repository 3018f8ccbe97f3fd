/** A time limit that counts parts of the time and not time: where this process stands still, others may too. */
import type { Clock, Timer } from "../../services/runtime/clock.ts";

/** A standstill costs one part at most, and what was answered meanwhile is heard before the next part is over. */
const PARTS = 4;

/** Calls `fire` once when `limitMs` are over, unless it is cancelled. */
export function limitTime(clock: Clock, limitMs: number, fire: () => void): Timer {
  let parts = PARTS;
  const next = (): Timer =>
    clock.after(
      limitMs / PARTS,
      () => {
        parts -= 1;
        if (parts === 0) fire();
        else timer = next();
      },
      { keepAlive: true },
    );
  let timer = next();
  return { cancel: () => timer.cancel() };
}
