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
  /** A report of less than this share of what was predicted is a sign that the cache was lost. */
  readonly lossShare: number;
  /** So many such signs, with no good report between them, are proof. */
  readonly lossReports: number;
}

export const DEFAULT_DRIFT_LIMITS: DriftLimits = { lossShare: 0.5, lossReports: 3 };

export interface CachedReport {
  /** Tokens that were predicted to be cached when the request was sent. */
  readonly predicted: number;
  readonly cached: number;
  /** Differences up to so many tokens are rounding. */
  readonly slack: number;
  /** Whether the first token that was missing had been computed before for a request that has landed. */
  readonly wasComputed: boolean;
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
  #signs = 0;
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

  /** All was forgotten while so many requests, predicted before that, were in flight. */
  forgotten(flights: number): void {
    this.#signs = 0;
    this.#outdated = flights;
  }

  /** Counts a report. After `lost` the owner forgets what the host held; after `less` it evicts as much. */
  reported({ predicted, cached, slack, wasComputed }: CachedReport): Drift {
    this.#reports += 1;
    const isOutdated = this.#outdated > 0;
    if (isOutdated) this.#outdated -= 1;
    const missing = predicted - cached;
    if (Math.abs(missing) <= slack) {
      this.#asPredicted += 1;
      if (predicted > slack) this.#signs = 0;
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
    return this.#lacking(missing, cached < predicted * this.#limits.lossShare);
  }

  #lacking(tokens: number, isSign: boolean): Drift {
    this.#less += 1;
    this.#lessTokens += tokens;
    this.#signs = isSign ? this.#signs + 1 : 0;
    if (this.#signs < this.#limits.lossReports) return { kind: "less", tokens };
    this.#signs = 0;
    this.#lost += 1;
    return { kind: "lost", tokens };
  }
}
