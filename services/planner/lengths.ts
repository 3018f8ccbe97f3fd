/**
 * How long synthetic texts are: a log-normal distribution, as lengths of sampled answers are about. Pure, by
 * seed (I4).
 */
import { createRandom, type Random } from "../runtime/random.ts";

export interface Lengths {
  /** Tokens. */
  readonly mean: number;
  /** Standard deviation over mean; 0: all are as long as the mean. */
  readonly spread: number;
  /** Tokens; what is longer is cut. Infinity: no limit. */
  readonly max: number;
}

/** So many tokens may a synthetic text have when nothing else limits it: so many times the mean. */
const LONGEST_TO_MEAN = 4;

/** The usual spread: half of the mean. */
export function around(mean: number, { spread = 0.5, max = mean * LONGEST_TO_MEAN } = {}): Lengths {
  return { mean, spread, max };
}

/** Tokens of one text, from 1. The mean is that of the distribution before the cut. */
export function drawLength({ mean, spread, max }: Lengths, random: Random): number {
  if (spread === 0) return Math.max(1, Math.min(Math.round(mean), Math.floor(max)));
  const variance = Math.log(1 + spread * spread);
  const normal = Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
  const tokens = Math.exp(Math.log(mean) - variance / 2 + normal * Math.sqrt(variance));
  return Math.max(1, Math.min(Math.round(tokens), Math.floor(max)));
}

/**
 * A source of chance for a name: the same for equal seeds and names. Cheap (FNV-1a), for millions of names.
 */
export function chanceOf(seed: number, name: string): Random {
  let hash = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
  const random = createRandom(hash);
  // The first number of SplitMix still shows how near two seeds are.
  random.next();
  return random;
}
