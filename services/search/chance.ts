/** Chance for strategies, made of a number that `draw` gave. */

/**
 * The index that `at`, in [0, 1), falls on when every index has a place as wide as its weight. Weights below 0 count 0; where none
 * is above 0 all weigh alike. Weights must be finite. -1 where there are none.
 */
export function drawIndex(weights: readonly number[], at: number): number {
  const widths = weights.map((weight) => Math.max(0, weight));
  const total = widths.reduce((sum, width) => sum + width, 0);
  if (total <= 0) return Math.min(Math.floor(at * weights.length), weights.length - 1);
  let left = at * total;
  let last = -1;
  for (const [index, width] of widths.entries()) {
    if (width === 0) continue;
    if (left < width) return index;
    left -= width;
    last = index;
  }
  // Rounding let it fall behind the last place.
  return last;
}
