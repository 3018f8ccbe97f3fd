/** The link within one process: the worker and the desk call each other. Same promises as `grpc-link.ts`. */
import type { Report, Segment, SegmentId } from "../queue/job.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { CoppiceError, asCoppiceError } from "../runtime/errors.ts";
import type { Random } from "../runtime/random.ts";
import { Backoff } from "./backoff.ts";
import { DEFAULT_LINK_LIMITS } from "./link-limits.ts";
import type { LinkLimits } from "./link-limits.ts";
import type {
  CoordinatorLink,
  HostSignals,
  Registration,
  Withdrawal,
  WorkerDesk,
  WorkerFacts,
} from "./link.ts";

export interface LocalLinkOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly limits?: Partial<LinkLimits> | undefined;
}

/** A link to a desk in this process. */
export function createLocalLink(desk: WorkerDesk, options: LocalLinkOptions): CoordinatorLink {
  return new LocalLink(desk, options);
}

class LocalLink implements CoordinatorLink {
  readonly #desk: WorkerDesk;
  readonly #options: LocalLinkOptions;
  readonly #limits: LinkLimits;
  readonly #closing = new AbortController();
  #worker: string | null = null;
  #lost: () => void = () => {};
  #heartbeat: Timer | null = null;
  #listener: (withdrawal: Withdrawal) => void = () => {};

  constructor(desk: WorkerDesk, options: LocalLinkOptions) {
    this.#desk = desk;
    this.#options = options;
    this.#limits = { ...DEFAULT_LINK_LIMITS, ...options.limits };
  }

  async connect(facts: WorkerFacts, signal?: AbortSignal): Promise<Registration> {
    const until =
      signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    const registration = await this.#retrying(() => this.#desk.register(facts), until);
    this.#lost();
    this.#worker = facts.id;
    this.#lost = this.#desk.connected(facts.id, (withdrawal) => {
      // Later, as over the wire: the desk is not entered again from within its own call.
      queueMicrotask(() => {
        if (!this.#closing.signal.aborted) this.#listener(withdrawal);
      });
    });
    this.#beat(facts.id, registration.leaseMs / 3);
    return registration;
  }

  #beat(worker: string, periodMs: number): void {
    this.#heartbeat?.cancel();
    this.#heartbeat = this.#options.clock.after(periodMs, () => {
      this.#desk.heard(worker);
      this.#beat(worker, periodMs);
    });
  }

  async report(report: Report): Promise<void> {
    const { signal } = this.#closing;
    const accepted = this.#retrying(() => this.#desk.accept(report), signal);
    await rejectOnAbort(
      accepted,
      signal,
      () =>
        new CoppiceError(
          "cancelled",
          `the link closed before the report of ask ${report.ask} of task ${report.task} was acknowledged`,
        ),
    );
    if (this.#worker !== null) this.#desk.heard(this.#worker);
  }

  signal(signals: HostSignals): void {
    if (this.#worker !== null && !this.#closing.signal.aborted) this.#desk.signalled(this.#worker, signals);
  }

  async segments(ids: readonly SegmentId[], signal?: AbortSignal): Promise<readonly Segment[]> {
    signal?.throwIfAborted();
    this.#closing.signal.throwIfAborted();
    if (this.#worker !== null) this.#desk.heard(this.#worker);
    return this.#desk.segments(ids);
  }

  onWithdraw(listener: (withdrawal: Withdrawal) => void): void {
    this.#listener = listener;
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new CoppiceError("cancelled", "the link is closed"));
    this.#heartbeat?.cancel();
    this.#lost();
    if (this.#worker !== null) this.#desk.left(this.#worker);
  }

  /** Until it succeeds, fails for good, or `signal` aborts. */
  async #retrying<T>(attempt: () => T | Promise<T>, signal: AbortSignal): Promise<T> {
    const { clock, random } = this.#options;
    const backoff = new Backoff({
      clock,
      random,
      minMs: this.#limits.backoffMinMs,
      maxMs: this.#limits.backoffMaxMs,
    });
    for (;;) {
      signal.throwIfAborted();
      try {
        return await attempt();
      } catch (error) {
        if (!asCoppiceError(error).isRetryable) throw error;
      }
      await backoff.wait(backoff.nextMs(), signal);
    }
  }
}

/** `work`, or `reason` as soon as the signal aborts; what `work` does after that is nobody's. */
function rejectOnAbort<T>(work: Promise<T>, signal: AbortSignal, reason: () => CoppiceError): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(reason());
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort);
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
