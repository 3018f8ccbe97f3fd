/**
 * Chance as an argument (I4). Every random choice comes from a seed derived from the sweep's seed and the name of
 * what is being decided, so it is the same on every run, worker and restart.
 */
import { createHash } from "node:crypto";

/** A source of uniform numbers in [0, 1). */
export interface Random {
  next(): number;
}

/**
 * A seed of 31 bits (every engine accepts it as a positive int32) from a sweep seed and a path of names.
 * Names are length-prefixed, so ("a", "bc") and ("ab", "c") differ.
 */
export function deriveSeed(sweepSeed: number, ...names: readonly (string | number)[]): number {
  const hash = createHash("sha256").update(String(sweepSeed));
  for (const name of names) hash.update(`\0${String(name).length}:${String(name)}`);
  return hash.digest().readUInt32BE(0) & 0x7fffffff;
}

/** The SplitMix32 generator: small, fast, good enough for back-off jitter and the simulator; never for secrets. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return {
    next() {
      state = (state + 0x9e3779b9) >>> 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return ((z ^ (z >>> 15)) >>> 0) / 0x1_0000_0000;
    },
  };
}
