/**
 * How far the prediction of one host's cache is from what the host reports, and what to conclude. Engines evict for reasons
 * that nobody sees from outside, and hosts restart behind their address: reports tell.
 */

/** What one report said of one prediction. `tokens` is the difference, never negative. */
export interface Drift {
  /**
   * `as-predicted`: equal, within a block. `more`: held more than predicted. `early`: less, but what is missing had only
   * just been sent, and was still in computation. `less`: evicted without our knowledge. `lost`: less by so much, so
   * often, that the host must have lost its cache.
   */
  readonly kind: "as-predicted" | "more" | "early" | "less" | "lost";
  readonly tokens: number;
}

/** Reports of a host by what they said, and the tokens by which they differed. */
export interface DriftSummary {
  readonly reports: number;
  readonly asPredicted: number;
  readonly more: number;
  readonly moreTokens: number;
  readonly early: number;
  readonly less: number;
  readonly lessTokens: number;
  /** How often it was concluded that the host had lost its cache. */
  readonly lost: number;
}

export interface DriftLimits {
  /** Where less than this share of what was computed long ago is cached still, the cache may have been lost: a sign. */
  readonly lossShare: number;
  /** So many signs, with no report between them of anything old that is cached still, are proof. */
  readonly lossReports: number;
}

export const DEFAULT_DRIFT_LIMITS: DriftLimits = { lossShare: 0.5, lossReports: 3 };

/** A report beside what was predicted when its request was sent. */
export interface CachedReport {
  readonly predicted: number;
  readonly cached: number;
  /** The parts of both that are old: computed before the first of the signs that are not proof yet. */
  readonly predictedOld: number;
  readonly cachedOld: number;
  /** Whether the first token that was missing had been computed for a request that has landed. */
  readonly wasComputed: boolean;
  /** Differences up to so many tokens are rounding. */
  readonly slack: number;
}

export class HostDrift {
  readonly #limits: DriftLimits;
  #reports = 0;
  #asPredicted = 0;
  #more = 0;
  #moreTokens = 0;
  #early = 0;
  #less = 0;
  #lessTokens = 0;
  #lost = 0;
  /** Of late, and in all. */
  #signs = 0;
  #signsEver = 0;
  /** Reports still to come whose predictions are older than what was concluded last: they are no second proof of it. */
  #outdated = 0;

  constructor(limits: DriftLimits) {
    this.#limits = limits;
  }

  get summary(): DriftSummary {
    return {
      reports: this.#reports,
      asPredicted: this.#asPredicted,
      more: this.#more,
      moreTokens: this.#moreTokens,
      early: this.#early,
      less: this.#less,
      lessTokens: this.#lessTokens,
      lost: this.#lost,
    };
  }

  /** A time stamp of what is computed now: never 0, and later after each sign. */
  get era(): number {
    return this.#signsEver + 1;
  }

  /** Whether what was computed in this era says, by being cached or not, whether the cache was lost. */
  isOld(era: number): boolean {
    return era <= this.era - this.#signs;
  }

  /** All was forgotten while so many requests, predicted before that, were in flight. */
  forgotten(flights: number): void {
    this.#signs = 0;
    this.#outdated = flights;
  }

  /** Counts a report. After `lost` the owner forgets what the host held; after `less` it evicts as much. */
  reported(report: CachedReport): Drift {
    const { predicted, cached, predictedOld, cachedOld, slack, wasComputed } = report;
    this.#reports += 1;
    const missing = predicted - cached;
    const isOutdated = this.#outdated > 0;
    if (isOutdated) this.#outdated -= 1;
    // A lost cache is filled again by the first request for each tree: that its siblings find what that one computed is
    // no sign of anything, so only what is old counts, for and against.
    const isSaying = !isOutdated && predictedOld > slack;
    const isSign = isSaying && cachedOld < predictedOld * this.#limits.lossShare;
    if (isSaying && !isSign) this.#signs = 0;
    if (Math.abs(missing) <= slack) {
      this.#asPredicted += 1;
      return { kind: "as-predicted", tokens: Math.abs(missing) };
    }
    if (missing < 0) {
      this.#more += 1;
      this.#moreTokens -= missing;
      return { kind: "more", tokens: -missing };
    }
    if (!wasComputed || isOutdated) {
      this.#early += 1;
      return { kind: "early", tokens: missing };
    }
    this.#less += 1;
    this.#lessTokens += missing;
    return { kind: isSign && this.#isProven() ? "lost" : "less", tokens: missing };
  }

  #isProven(): boolean {
    this.#signs += 1;
    this.#signsEver += 1;
    if (this.#signs < this.#limits.lossReports) return false;
    this.#signs = 0;
    this.#lost += 1;
    return true;
  }
}
