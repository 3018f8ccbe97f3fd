/**
 * Estimators over the judged samples of one problem: what a search with k samples would have done, from one run with n.
 * All are unbiased: they average over the k-subsets of the n samples, each equally likely.
 */

/** 1, 2, 5, 10, 20, 50, ... below n, and n: the k for which estimates are given. Empty for n = 0. */
export function estimateKs(n: number): readonly number[] {
  const ks: number[] = [];
  for (let scale = 1; scale < n; scale *= 10) {
    for (const step of [1, 2, 5]) if (step * scale < n) ks.push(step * scale);
  }
  if (n > 0) ks.push(n);
  return ks;
}

/**
 * The unbiased estimate of pass@k: the chance that at least one of `k` samples, drawn without replacement
 * from `n` of which `c` are correct, is correct. 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374,
 * equation 1).
 * @throws RangeError unless 0 <= c <= n and 1 <= k <= n, all whole.
 */
export function passAtK(n: number, c: number, k: number): number {
  refuseCounts(n, c, k);
  return 1 - allAmong(n, n - c, k);
}

/**
 * The unbiased estimate of pass^k: the chance that all of `k` samples are correct. C(c, k) / C(n, k) (Yao et al. 2024,
 * tau-bench, arXiv 2406.12045).
 * @throws RangeError unless 0 <= c <= n and 1 <= k <= n, all whole.
 */
export function passHatK(n: number, c: number, k: number): number {
  refuseCounts(n, c, k);
  return allAmong(n, c, k);
}

/**
 * The unbiased estimate of best-of-n@k: the expected value of the sample ranked highest among `k`.
 * sum_i C(i-1, k-1) / C(n, k) z_i over samples in ascending rank i = 1..n, as products that do not overflow.
 * @param values z by rank, the best first (`byScore` ranks: ties to the lowest index, without a score last).
 * @throws RangeError unless k is whole and 1 <= k <= n.
 */
export function bestOfAtK(values: readonly number[], k: number): number {
  const n = values.length;
  if (!Number.isInteger(k) || k < 1 || k > n) {
    throw new RangeError(`bestOfAtK: expected whole 1 <= k <= n, found n=${n}, k=${k}`);
  }
  // C(i-1, k-1) / C(n, k): k/n for i = n, and (i-k)/(i-1) times as much for each i one lower.
  let weight = k / n;
  let sum = 0;
  for (let above = 0; above <= n - k; above++) {
    sum += weight * (values[above] ?? 0);
    weight *= (n - above - k) / (n - above - 1);
  }
  return sum;
}

/** C(c, k) / C(n, k): the chance that k of n, drawn without replacement, are all among c of them. */
function allAmong(n: number, c: number, k: number): number {
  if (c < k) return 0;
  // C(c, k) / C(n, k) = prod (1 - k/i) over i in (c, n], or the same with n-c and k exchanged: the shorter one.
  const others = n - c;
  const [fewer, more] = others < k ? [others, k] : [k, others];
  let chance = 1;
  for (let i = n - fewer + 1; i <= n; i++) chance *= 1 - more / i;
  return chance;
}

function refuseCounts(n: number, c: number, k: number): void {
  const isWhole = [n, c, k].every(Number.isInteger);
  if (!isWhole || c < 0 || c > n || k < 1 || k > n) {
    throw new RangeError(`expected whole 0 <= c <= n and 1 <= k <= n, found n=${n}, c=${c}, k=${k}`);
  }
}
