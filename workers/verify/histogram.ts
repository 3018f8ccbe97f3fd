/** A histogram of durations with fixed bounds, as Prometheus counts them. */
export interface HistogramReading {
  readonly count: number;
  readonly sum: number;
  /** Upper bounds, ascending; the last bucket of `counts` has none. */
  readonly bounds: readonly number[];
  /** Observations at most each bound and above the one before, and at the end those above every bound. */
  readonly counts: readonly number[];
}

export interface Histogram {
  observe(value: number): void;
  read(): HistogramReading;
}

/** Bounds of latencies in milliseconds. */
export const LATENCY_BOUNDS_MS: readonly number[] = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 60_000,
];

export function createHistogram(bounds: readonly number[] = LATENCY_BOUNDS_MS): Histogram {
  const counts = Array.from({ length: bounds.length + 1 }, () => 0);
  let count = 0;
  let sum = 0;
  return {
    observe(value) {
      const index = bounds.findIndex((bound) => value <= bound);
      const bucket = index < 0 ? bounds.length : index;
      counts[bucket] = (counts[bucket] ?? 0) + 1;
      count += 1;
      sum += value;
    },
    read: () => ({ count, sum, bounds, counts: [...counts] }),
  };
}
