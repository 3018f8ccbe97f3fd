/** A clock that stands still until a test moves it. Timers fire in the order of their times, then of their making. */
import type { Clock, Timer } from "../../services/runtime/clock.ts";

export interface VirtualClock extends Clock {
  /** Moves the time on by `ms`, firing what falls due on the way, each at its own time. */
  advance(ms: number): void;
  /** Timers that have not fired. */
  pending(): number;
}

export function createVirtualClock(startMs = 1_000_000): VirtualClock {
  let nowMs = startMs;
  let made = 0;
  const timers = new Map<number, { readonly atMs: number; readonly fire: () => void }>();
  const earliest = (untilMs: number): number | null => {
    let best: number | null = null;
    for (const [id, timer] of timers) {
      if (timer.atMs > untilMs) continue;
      if (best === null || timer.atMs < (timers.get(best)?.atMs ?? Infinity)) best = id;
    }
    return best;
  };
  return {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs - startMs,
    after(delayMs, fire): Timer {
      const id = made++;
      timers.set(id, { atMs: nowMs + Math.max(0, delayMs), fire });
      return { cancel: () => void timers.delete(id) };
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      for (let id = earliest(untilMs); id !== null; id = earliest(untilMs)) {
        const timer = timers.get(id);
        timers.delete(id);
        nowMs = Math.max(nowMs, timer?.atMs ?? nowMs);
        timer?.fire();
      }
      nowMs = untilMs;
    },
    pending: () => timers.size,
  };
}
