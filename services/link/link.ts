/**
 * The link: a worker's line to the coordinator. One interface, two implementations, one conformance suite
 * (test/conformance/link.ts): `local-link.ts` in one process, `grpc-link.ts` over the wire (proto/coppice/v1).
 *
 * `CoordinatorLink` is what a worker holds; `WorkerDesk` is what the coordinator offers behind it.
 */
import type { Ability, Report, Segment, SegmentId } from "../queue/job.ts";

/** A host as its driver's probe found it. */
export interface HostFacts {
  /** Unique among the workers of a coordinator. */
  readonly id: string;
  readonly engine: string;
  /** The model it serves; tasks go only to hosts that serve their sweep's model. "*" serves every model (replay). */
  readonly model: string;
  /** Asks that it has at once; an adaptive host begins with it, and `HostSignals` say what it is now. */
  readonly concurrency: number;
  /** The most that `concurrency` may become; equal to it where the number is fixed. */
  readonly concurrencyMax: number;
  /** Tokens that its KV cache holds; null when unknown. */
  readonly kvCapacityTokens: number | null;
  /** Longest prompt plus completion; null when unknown. */
  readonly contextTokens: number | null;
  /** Whether it reports cached tokens; when not, they are unknown (I8). */
  readonly reportsCachedTokens: boolean;
  /** Tokens in a block of its KV cache: whole blocks only are used again. 1: any number is. Null when unknown. */
  readonly blockTokens: number | null;
  /**
   * Whether prompts that begin alike and come at once, before any of them is cached, are computed once. Where not, one is
   * sent first and its siblings follow its first token.
   */
  readonly sharesColdPrefixes: boolean;
  /** Milliseconds of a decoding step when a single sequence runs: what a step takes whatever runs. Absent: not measured. */
  readonly stepFloorMs?: number;
  /** GPUs that it runs on; absent where nobody said. */
  readonly gpus?: number;
  /** What it can do beside sampling text. */
  readonly can: readonly Ability[];
}

/** How a host is doing, as its worker sees it. The latest word counts; losing one is safe. null is unknown (I8). */
export interface HostSignals {
  /** Whether it answers; what a host has that does not waits until it is back, or until its worker gives it up. */
  readonly isUp: boolean;
  /** Asks that it may have at once now. */
  readonly concurrency: number;
  /** Sequences that it decodes, and those that wait in it; of other clients too. */
  readonly running: number | null;
  readonly waiting: number | null;
  /** Share of its KV cache that is in use, from 0 to 1. */
  readonly kvUsage: number | null;
  /** Sequences that it has put back for want of memory, since it started. */
  readonly preemptions: number | null;
  /** How often, since the worker started, it lost all that it had cached: it came back empty, or was told to forget. */
  readonly cacheLosses: number;
}

export interface WorkerFacts {
  readonly id: string;
  /** What it offers: a host (rollout worker), or kinds of verifier (verification worker). */
  readonly offers:
    | { readonly kind: "rollout"; readonly host: HostFacts }
    | { readonly kind: "verification"; readonly verifiers: readonly string[]; readonly concurrency: number };
}

/** What a worker is told when it registers. Registering again (after a lost line) is safe and returns the same lanes. */
export interface Registration {
  /** Names of the lanes to consume. */
  readonly lanes: readonly string[];
  /** The coordinator forgets a worker it has not heard from for so long. */
  readonly leaseMs: number;
}

/** Asks that nobody wants any more. Told to the worker that may hold them; doing nothing is safe, only wasteful. */
export interface Withdrawal {
  readonly job: string;
  readonly asks: readonly string[];
}

export interface CoordinatorLink {
  /** Opens the line and announces the worker. Retries with back-off until it succeeds or `signal` aborts. */
  connect(facts: WorkerFacts, signal?: AbortSignal): Promise<Registration>;
  /**
   * Resolves once the report is acknowledged, that is, on the coordinator's disk (I2). While the line is down the report
   * is kept, and delivered when it is up again; it rejects when the link is closed, and for a report that the coordinator
   * will never take (malformed, too large).
   */
  report(report: Report): Promise<void>;
  /** How the host is doing. The latest is kept until the line is up, and sent with the next sign of life at the latest. */
  signal(signals: HostSignals): void;
  /** The segments asked for. Rejects with "not_found" naming the first that the coordinator does not hold (its task is over). */
  segments(ids: readonly SegmentId[], signal?: AbortSignal): Promise<readonly Segment[]>;
  /** Replaces the listener for withdrawals. */
  onWithdraw(listener: (withdrawal: Withdrawal) => void): void;
  /** Leaves: unacknowledged reports reject, the coordinator is told that the worker is gone. */
  close(): Promise<void>;
}

/** The coordinator's half. */
export interface WorkerDesk {
  register(facts: WorkerFacts): Registration;
  /** A line is open; `withdraw` sends down it. Returns what to call when the line is lost. */
  connected(workerId: string, withdraw: (withdrawal: Withdrawal) => void): () => void;
  /** Any sign of life; renews the worker's lease. */
  heard(workerId: string): void;
  /** How the worker's host is doing. Of a worker that offers none it changes nothing. */
  signalled(workerId: string, signals: HostSignals): void;
  /** Resolves when the report is durable, also for one that changes nothing (late, double, of an unknown sweep). */
  accept(report: Report): Promise<void>;
  /** Throws "not_found" for an id it does not hold. */
  segments(ids: readonly SegmentId[]): readonly Segment[];
  /** The worker says goodbye: its lane is emptied at once instead of after the lease. */
  left(workerId: string): void;
}
