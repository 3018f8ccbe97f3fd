/** Means over problems with their intervals, from running sums: constant memory, whatever the number of problems (I6). */
import { estimateKs, passAtK, passHatK } from "../search/estimators.ts";
import type { Estimate, Estimates, EstimatesByK } from "./status.ts";
import type { TaskEstimates } from "./task-estimates.ts";

/** The 0.975 quantile of the standard normal distribution. */
const Z95 = 1.959963984540054;

/** Mean and spread of values in [0, 1], one per problem (Welford's running sums). */
export class MeanTotals {
  #count = 0;
  #mean = 0;
  #squares = 0;

  get count(): number {
    return this.#count;
  }

  add(value: number): void {
    this.#count += 1;
    const before = value - this.#mean;
    this.#mean += before / this.#count;
    this.#squares += before * (value - this.#mean);
  }

  /**
   * The mean with a 95% interval over problems: Wilson's score interval, for as many yes-or-no problems as would have the
   * mean's own standard error. Unlike mean +- 1.96 standard errors it stays within [0, 1] and does not shrink to nothing at 0
   * and 1; where all problems have the same value it counts the problems themselves.
   */
  estimate(): Estimate {
    const problems = this.#count;
    // Sums of rounded numbers may leave [0, 1] by a rounding.
    const mean = Math.min(1, Math.max(0, this.#mean));
    const variance = problems < 2 ? 0 : this.#squares / (problems - 1) / problems;
    const spread = mean * (1 - mean);
    const effective = variance > 0 && spread > 0 ? spread / variance : problems;
    const shrink = 1 + Z95 ** 2 / effective;
    const centre = (mean + Z95 ** 2 / (2 * effective)) / shrink;
    const half = (Z95 * Math.sqrt(spread / effective + Z95 ** 2 / (4 * effective ** 2))) / shrink;
    return {
      mean,
      low: Math.min(mean, Math.max(0, centre - half)),
      high: Math.max(mean, Math.min(1, centre + half)),
      problems,
    };
  }
}

type Name = keyof Estimates;

/** What a tally tells. */
export interface EstimatedTask {
  readonly judged: number;
  readonly correct: number;
  readonly estimates: TaskEstimates | null;
}

/** The estimates of one arm. */
export class EstimateTotals {
  /** By k, for every k that no problem so far had too few samples for. */
  readonly #byK = new Map<number, Readonly<Record<Name, MeanTotals>>>();
  #problems = 0;
  #answers = 0;

  add({ judged, correct, estimates }: EstimatedTask): void {
    const ks = estimates === null ? [] : estimateKs(judged);
    for (const k of this.#byK.keys()) if (!ks.includes(k)) this.#byK.delete(k);
    for (const [i, k] of ks.entries()) {
      if (this.#problems === 0) this.#byK.set(k, newMeans());
      const means = this.#byK.get(k);
      means?.pass_at_k.add(passAtK(judged, correct, k));
      means?.pass_hat_k.add(passHatK(judged, correct, k));
      means?.best_of_at_k.add(estimates?.bestOf[i] ?? 0);
      means?.majority_at_k.add(estimates?.majority[i] ?? 0);
      means?.weighted_at_k.add(estimates?.weighted[i] ?? 0);
    }
    this.#problems += 1;
    this.#answers += estimates?.answers ?? 0;
  }

  read(): Estimates {
    const isVoted = this.#answers > 0;
    return {
      pass_at_k: this.#read("pass_at_k"),
      pass_hat_k: this.#read("pass_hat_k"),
      best_of_at_k: this.#read("best_of_at_k"),
      majority_at_k: isVoted ? this.#read("majority_at_k") : {},
      weighted_at_k: isVoted ? this.#read("weighted_at_k") : {},
    };
  }

  #read(name: Name): EstimatesByK {
    return Object.fromEntries([...this.#byK].map(([k, means]) => [String(k), means[name].estimate()]));
  }
}

function newMeans(): Readonly<Record<Name, MeanTotals>> {
  return {
    pass_at_k: new MeanTotals(),
    pass_hat_k: new MeanTotals(),
    best_of_at_k: new MeanTotals(),
    majority_at_k: new MeanTotals(),
    weighted_at_k: new MeanTotals(),
  };
}
