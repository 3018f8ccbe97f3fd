/** Estimators over the judged samples of one problem. */

/**
 * The unbiased estimate of pass@k: the chance that at least one of `k` samples, drawn without replacement
 * from `n` of which `c` are correct, is correct. 1 - C(n-c, k) / C(n, k), as a product that does not overflow
 * (Chen et al. 2021, arXiv 2107.03374, equation 1).
 * @throws RangeError unless 0 <= c <= n and 1 <= k <= n, all whole.
 */
export function passAtK(n: number, c: number, k: number): number {
  const isWhole = [n, c, k].every(Number.isInteger);
  if (!isWhole || c < 0 || c > n || k < 1 || k > n) {
    throw new RangeError(`passAtK: expected whole 0 <= c <= n and 1 <= k <= n, found n=${n}, c=${c}, k=${k}`);
  }
  if (n - c < k) return 1;
  // C(n-c, k) / C(n, k) = prod (1 - k/i) over i in (n-c, n], or the same with c and k exchanged: the shorter one.
  const [fewer, more] = c < k ? [c, k] : [k, c];
  let noneCorrect = 1;
  for (let i = n - fewer + 1; i <= n; i++) noneCorrect *= 1 - more / i;
  return 1 - noneCorrect;
}
