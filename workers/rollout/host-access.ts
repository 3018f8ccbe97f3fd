/**
 * An ask's way to the host: it waits until the host is up, until its leader has gone ahead where the host needs that, and
 * for a slot; then the driver answers it. Waits for a host that goes down meanwhile.
 *
 * Invariants: (1) at most as many asks as there are slots are with the driver at once; (2) while the host is down nothing is
 * sent to it; (3) who waits for a leader holds no slot, so whoever has gone ahead can get one.
 */
import { UNKNOWN_TOKENS } from "../../services/queue/job.ts";
import type { HostFacts } from "../../services/link/link.ts";
import type { Clock } from "../../services/runtime/clock.ts";
import { asCoppiceError, type CoppiceError } from "../../services/runtime/errors.ts";
import { refusalOf, SERVICE_UNAVAILABLE } from "../http-exchange.ts";
import type { AskInHand } from "./asks-in-hand.ts";
import type { CacheLosses } from "./cache-losses.ts";
import { type HostHealth, isHostTrouble } from "./host-health.ts";
import type { HostWatcher } from "./host-watcher.ts";
import type { LeaderGate, Passage } from "./leader-gate.ts";
import type { Answered, PreparedAsk } from "./prepared-job.ts";
import type { Slots } from "./slots.ts";
import type { WarmSegments } from "./warm-segments.ts";

export interface AccessLimits {
  /** How often one delivery waits for a host that went down under it, before the attempt is spent. */
  readonly recoveriesMax: number;
  /** Tokens of a cold prefix, as estimated, from which on it is waited for: less costs a host less than a request does. */
  readonly leaderTokensMin: number;
  /** A leader that has been with the host for so long without a first token is waited for no more. */
  readonly leaderMs: number;
}

export interface HostAccessOptions {
  readonly host: HostFacts;
  readonly clock: Clock;
  readonly limits: AccessLimits;
  readonly health: HostHealth;
  readonly slots: Slots;
  readonly gate: LeaderGate;
  readonly warm: WarmSegments;
  readonly losses: CacheLosses;
  readonly watcher: HostWatcher;
  /** Resolves with true once a host that was down is up again, with false when it was not down. */
  readonly recovered: (failure: CoppiceError, signal: AbortSignal) => Promise<boolean>;
}

/** A prefix of so many blocks leaves at least one of them in the cache, however the estimate of its tokens errs. */
const SURE_BLOCKS = 2;

export class HostAccess {
  readonly #options: HostAccessOptions;
  #inFlight = 0;

  constructor(options: HostAccessOptions) {
    this.#options = options;
  }

  /** Asks with the driver. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Rejects as the driver does, or with the signal's reason. */
  async answer(ask: PreparedAsk, hand: AskInHand, signal: AbortSignal): Promise<Answered> {
    const { gate, health, limits, recovered, slots, watcher } = this.#options;
    for (let recoveries = 0; ;) {
      await health.ready(signal);
      const passage = await gate.enter(ask.path, signal);
      let failure: CoppiceError;
      try {
        await slots.take(signal);
        try {
          if (!health.isUp) continue;
          return await this.#call(ask, { hand, passage, signal });
        } finally {
          slots.give();
        }
      } catch (error) {
        failure = asCoppiceError(error);
        if (failure.code === "resource_exhausted") watcher.refused();
        if (signal.aborted || !isHostTrouble(failure)) throw error;
      } finally {
        passage.ended();
      }
      const mayWait = recoveries < limits.recoveriesMax;
      if (!mayWait || !(await recovered(failure, signal))) {
        // The host is up, so it was this request that it had no room for.
        if (mayWait && refusalOf(failure)?.status === SERVICE_UNAVAILABLE) watcher.refused();
        throw failure;
      }
      recoveries += 1;
      hand.recoveries += 1;
    }
  }

  async #call(
    ask: PreparedAsk,
    {
      hand,
      passage,
      signal,
    }: { readonly hand: AskInHand; readonly passage: Passage; readonly signal: AbortSignal },
  ): Promise<Answered> {
    const { clock, host, limits, warm, watcher } = this.#options;
    const warmTokens = warm.tokensOf(ask.path);
    const patience = host.sharesColdPrefixes
      ? null
      : clock.after(limits.leaderMs, () => passage.firstToken());
    this.#inFlight += 1;
    hand.startedMs = clock.nowMs();
    hand.firstTokenMs = null;
    hand.usage = UNKNOWN_TOKENS;
    try {
      const answered = await ask.answer(
        {
          onUsage: (usage) => {
            hand.usage = usage;
          },
          onFirstToken: () => {
            hand.firstTokenMs ??= clock.nowMs();
            passage.firstToken();
          },
        },
        signal,
      );
      passage.answered();
      this.#checkCache(answered, warmTokens);
      watcher.finished(answered.usage.completionTokens);
      return answered;
    } finally {
      patience?.cancel();
      this.#inFlight -= 1;
    }
  }

  /** Whether the host found in its cache what it should have had there when it was asked. */
  #checkCache({ result, usage }: Answered, warmTokens: number): void {
    const { host, limits, losses } = this.#options;
    const sureTokens = Math.max(limits.leaderTokensMin, SURE_BLOCKS * (host.blockTokens ?? 1));
    if (result.kind === "rollout" && warmTokens >= sureTokens) losses.answered(usage.cachedTokens);
  }
}
