/**
 * The link over gRPC: a worker's line to a coordinator in another process.
 *
 * 1. A report is kept until the coordinator acknowledges it; whatever is kept is sent again on the next line (I2).
 * 2. One loop owns the line: register, open, serve until it breaks, back off, again. It ends with `close`.
 * 3. Reports are numbered per line; numbers of an old line mean nothing on a new one.
 * 4. Bounds: reports kept (by number and bytes) and reports per message (by number and bytes).
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Workers } from "../../proto/gen/coppice/v1/workers_pb.ts";
import type {
  HostSignalsSchema,
  ReportRequestSchema,
  ReportResponse,
} from "../../proto/gen/coppice/v1/workers_pb.ts";
import type { ReportSchema } from "../../proto/gen/coppice/v1/report_pb.ts";
import type { Report, Segment, SegmentId } from "../queue/job.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { CoppiceError, asCoppiceError } from "../runtime/errors.ts";
import { Feed } from "../runtime/feed.ts";
import type { Random } from "../runtime/random.ts";
import { connectRpc } from "../runtime/rpc.ts";
import type { RpcClient } from "../runtime/rpc.ts";
import { errorOfStatus } from "../runtime/rpc-types.ts";
import type { RpcLimits } from "../runtime/rpc-types.ts";
import { Backoff } from "./backoff.ts";
import { DEFAULT_LINK_LIMITS } from "./link-limits.ts";
import type { LinkLimits } from "./link-limits.ts";
import { reportToWire, segmentFromWire, signalsToWire, sizeOfReport, workerToWire } from "./link-wire.ts";
import type { CoordinatorLink, HostSignals, Registration, Withdrawal, WorkerFacts } from "./link.ts";

/** What the link tells of its line, for logs and metrics. */
export type LinkState =
  | {
      readonly kind: "connected";
      readonly address: string;
      /** Reports that are sent again. */ readonly redelivered: number;
    }
  | {
      readonly kind: "lost";
      readonly address: string;
      readonly error: CoppiceError;
      readonly retryInMs: number;
    }
  | { readonly kind: "closed"; readonly address: string };

export interface GrpcLinkOptions {
  /** "host:port" of the coordinator. */
  readonly address: string;
  readonly token?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits?: Partial<LinkLimits> | undefined;
  readonly rpcLimits?: Partial<RpcLimits> | undefined;
  readonly onState?: ((state: LinkState) => void) | undefined;
}

/**
 * A link to a coordinator. `connect` rejects at once when the coordinator refuses the worker or the token for good.
 * `report` rejects besides closing only for a report that the coordinator will never take: too large, malformed.
 */
export function createGrpcLink(options: GrpcLinkOptions): CoordinatorLink {
  return new GrpcLink(options);
}

/** A report that is not acknowledged. */
interface Kept {
  readonly report: Report;
  readonly wire: MessageInitShape<typeof ReportSchema>;
  readonly bytes: number;
  readonly resolve: () => void;
  readonly reject: (error: CoppiceError) => void;
  /** Set by the first refusal that may pass. */
  backoff: Backoff | null;
}

interface Line {
  readonly up: Feed<MessageInitShape<typeof ReportRequestSchema>>;
  readonly numbered: Map<number, Kept>;
  next: number;
}

class GrpcLink implements CoordinatorLink {
  readonly #options: GrpcLinkOptions;
  readonly #limits: LinkLimits;
  readonly #rpc: RpcClient<typeof Workers>;
  readonly #closing = new AbortController();
  /** In order of arrival; sent again in this order. */
  readonly #kept = new Set<Kept>();
  #keptBytes = 0;
  readonly #unsent: Kept[] = [];
  readonly #waiting: (() => void)[] = [];
  #line: Line | null = null;
  /** Not sent yet. */
  #signals: HostSignals | null = null;
  #flushTimer: Timer | null = null;
  #worker: string | null = null;
  #loop: Promise<void> | null = null;
  #listener: (withdrawal: Withdrawal) => void = () => {};

  constructor(options: GrpcLinkOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LINK_LIMITS, ...options.limits };
    this.#rpc = connectRpc(Workers, {
      address: options.address,
      token: options.token,
      limits: options.rpcLimits,
    });
  }

  connect(facts: WorkerFacts, signal?: AbortSignal): Promise<Registration> {
    if (this.#loop !== null)
      return Promise.reject(
        new CoppiceError("failed_precondition", `worker ${facts.id}: this link is already connected`),
      );
    return new Promise((resolve, reject) => {
      this.#worker = facts.id;
      this.#loop = this.#keepLine(facts, { resolve, reject, signal });
    });
  }

  /** Keeps a line open until the link closes. Never rejects. */
  async #keepLine(facts: WorkerFacts, first: FirstConnection): Promise<void> {
    let isFirst = true;
    const connecting =
      first.signal === undefined
        ? this.#closing.signal
        : AbortSignal.any([first.signal, this.#closing.signal]);
    const backoff = this.#createBackoff();
    for (;;) {
      const signal = isFirst ? connecting : this.#closing.signal;
      try {
        const request = workerToWire(facts);
        const { lanes, leaseMs } = await this.#rpc.call.register(request, { signal });
        await this.#serveLine({ worker: facts.id, leaseMs }, () => {
          backoff.reset();
          if (isFirst) first.resolve({ lanes, leaseMs });
          isFirst = false;
        });
        throw new CoppiceError("unavailable", `${this.#options.address} ended the line`);
      } catch (thrown) {
        if (signal.aborted || (isFirst && !asCoppiceError(thrown).isRetryable)) {
          if (isFirst) this.#loop = null;
          return first.reject(signal.aborted ? signal.reason : thrown);
        }
        const retryInMs = backoff.nextMs();
        this.#options.onState?.({
          kind: "lost",
          address: this.#options.address,
          error: asCoppiceError(thrown),
          retryInMs,
        });
        await backoff.wait(retryInMs, signal).catch(() => {});
      }
    }
  }

  /** Opens a line and serves it; returns or throws when it is over. */
  async #serveLine(
    { worker, leaseMs }: { readonly worker: string; readonly leaseMs: number },
    opened: () => void,
  ): Promise<void> {
    const line: Line = { up: new Feed(), numbered: new Map(), next: 1 };
    const silent = new AbortController();
    const { clock } = this.#options;
    // Silent thirds of the lease are counted and not time: if this process stalls, that is not the coordinator's silence.
    let silentThirds = 0;
    let timer: Timer | null = null;
    const beat = (): void => {
      silentThirds += 1;
      if (silentThirds > 3) {
        return silent.abort(
          new CoppiceError("unavailable", `${this.#options.address}: nothing heard for ${leaseMs} ms`),
        );
      }
      line.up.push({ ...this.#takeSignals() });
      timer = clock.after(leaseMs / 3, beat);
    };
    timer = clock.after(leaseMs / 3, beat);
    line.up.push({ worker });
    try {
      for await (const response of this.#rpc.call.report(line.up, {
        signal: AbortSignal.any([this.#closing.signal, silent.signal]),
      })) {
        silentThirds = 0;
        if (this.#line === line) this.#take(line, response);
        else this.#open(line, opened);
      }
    } finally {
      timer?.cancel();
      line.up.end();
      this.#line = null;
      this.#flushTimer?.cancel();
      this.#flushTimer = null;
    }
  }

  #open(line: Line, opened: () => void): void {
    this.#line = line;
    this.#unsent.splice(0, this.#unsent.length, ...this.#kept);
    opened();
    this.#options.onState?.({
      kind: "connected",
      address: this.#options.address,
      redelivered: this.#kept.size,
    });
    this.#flush();
  }

  #take(line: Line, response: ReportResponse): void {
    for (const number of response.acknowledged) this.#settle(line, number)?.resolve();
    for (const { number, code, message } of response.refused)
      this.#refused(line, number, errorOfStatus(code, message));
    for (const { job, asks } of response.withdrawn) this.#listener({ job, asks });
    if (this.#unsent.length > 0 && line.numbered.size === 0) this.#flush();
  }

  #refused(line: Line, number: number, error: CoppiceError): void {
    if (!error.isRetryable) return this.#settle(line, number)?.reject(error);
    const kept = line.numbered.get(number);
    if (kept === undefined) return;
    line.numbered.delete(number);
    kept.backoff ??= this.#createBackoff();
    this.#options.clock.after(
      kept.backoff.nextMs(),
      () => {
        // A line opened meanwhile has sent it again already, with everything that is kept.
        if (this.#line !== line || !this.#kept.has(kept)) return;
        this.#unsent.push(kept);
        this.#flush();
      },
      { keepAlive: true },
    );
  }

  #settle(line: Line, number: number): Kept | undefined {
    const kept = line.numbered.get(number);
    line.numbered.delete(number);
    if (kept === undefined || !this.#kept.delete(kept)) return undefined;
    this.#keptBytes -= kept.bytes;
    this.#waiting.shift()?.();
    return kept;
  }

  async report(report: Report): Promise<void> {
    const wire = reportToWire(report);
    const bytes = sizeOfReport(report);
    if (bytes > this.#limits.reportBytesMax) {
      throw new CoppiceError(
        "invalid_argument",
        `report of ask ${report.ask} of task ${report.task}: ${bytes} bytes, more than the ${this.#limits.reportBytesMax} allowed`,
      );
    }
    while (this.#isFull(bytes) && !this.#closing.signal.aborted)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#closing.signal.aborted) throw lostReport(report);
    await new Promise<void>((resolve, reject) => {
      const kept: Kept = { report, wire, bytes, resolve, reject, backoff: null };
      this.#kept.add(kept);
      this.#keptBytes += bytes;
      // One place may have made room for several that wait.
      if (!this.#isFull(0)) this.#waiting.shift()?.();
      if (this.#line === null) return;
      this.#unsent.push(kept);
      this.#flushSoon(this.#line);
    });
  }

  #isFull(bytes: number): boolean {
    const { unacknowledgedMax, unacknowledgedBytesMax } = this.#limits;
    return (
      this.#kept.size > 0 &&
      (this.#kept.size >= unacknowledgedMax || this.#keptBytes + bytes > unacknowledgedBytesMax)
    );
  }

  /** At once while nothing is in flight, for latency; together with others while something is, for throughput. */
  #flushSoon(line: Line): void {
    if (this.#unsent.length >= this.#limits.batchMax) return this.#flush();
    if (this.#flushTimer !== null) return;
    if (line.numbered.size > 0) {
      this.#flushTimer = this.#options.clock.after(this.#limits.flushMs, () => this.#flush(), {
        keepAlive: true,
      });
    } else if (this.#unsent.length === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    this.#flushTimer?.cancel();
    this.#flushTimer = null;
    const line = this.#line;
    if (line === null) return;
    if (this.#signals !== null) line.up.push({ ...this.#takeSignals() });
    const all = this.#unsent.splice(0, this.#unsent.length);
    for (let start = 0; start < all.length;) {
      const end = this.#endOfBatch(all, start);
      line.up.push({
        reports: all.slice(start, end).map((kept) => {
          const number = line.next++;
          line.numbered.set(number, kept);
          return { number, report: kept.wire };
        }),
      });
      start = end;
    }
  }

  signal(signals: HostSignals): void {
    this.#signals = signals;
    this.#flush();
  }

  #takeSignals(): { readonly host?: MessageInitShape<typeof HostSignalsSchema> } {
    const signals = this.#signals;
    this.#signals = null;
    return signals === null ? {} : { host: signalsToWire(signals) };
  }

  #endOfBatch(all: readonly Kept[], start: number): number {
    let bytes = all[start]?.bytes ?? 0;
    let end = start + 1;
    for (; end < all.length && end - start < this.#limits.batchMax; end += 1) {
      bytes += all[end]?.bytes ?? 0;
      if (bytes > this.#limits.batchBytesMax) break;
    }
    return end;
  }

  async segments(ids: readonly SegmentId[], signal?: AbortSignal): Promise<readonly Segment[]> {
    const until =
      signal === undefined ? this.#closing.signal : AbortSignal.any([signal, this.#closing.signal]);
    const giveUpMs = this.#options.clock.monotonicMs() + this.#limits.segmentsDeadlineMs;
    const backoff = this.#createBackoff();
    const found: Segment[] = [];
    while (found.length < ids.length) {
      try {
        const wanted = ids.slice(found.length, found.length + this.#limits.segmentsPerCallMax);
        const { segments } = await this.#rpc.call.segments(
          { worker: this.#worker ?? "", ids: wanted },
          { signal: until },
        );
        for (const segment of checkOrder(segments, wanted)) found.push(segmentFromWire(segment));
      } catch (error) {
        const waitMs = backoff.nextMs();
        if (
          until.aborted ||
          !asCoppiceError(error).isRetryable ||
          this.#options.clock.monotonicMs() + waitMs > giveUpMs
        )
          throw error;
        await backoff.wait(waitMs, until);
      }
    }
    return found;
  }

  onWithdraw(listener: (withdrawal: Withdrawal) => void): void {
    this.#listener = listener;
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new CoppiceError("cancelled", "the link is closed"));
    for (const kept of this.#kept) kept.reject(lostReport(kept.report));
    this.#kept.clear();
    for (const wake of this.#waiting.splice(0)) wake();
    await this.#loop;
    if (this.#worker !== null && this.#loop !== null) {
      // Best effort: a coordinator that does not hear it forgets the worker after the lease.
      await this.#rpc.call
        .leave({ worker: this.#worker }, { deadlineMs: this.#limits.leaveDeadlineMs })
        .catch(() => {});
    }
    this.#rpc.close();
    this.#options.onState?.({ kind: "closed", address: this.#options.address });
  }

  #createBackoff(): Backoff {
    const { clock, random } = this.#options;
    return new Backoff({ clock, random, minMs: this.#limits.backoffMinMs, maxMs: this.#limits.backoffMaxMs });
  }
}

interface FirstConnection {
  readonly resolve: (registration: Registration) => void;
  readonly reject: (reason: unknown) => void;
  readonly signal: AbortSignal | undefined;
}

function lostReport(report: Report): CoppiceError {
  return new CoppiceError(
    "cancelled",
    `the link closed before the report of ask ${report.ask} of task ${report.task} was acknowledged`,
  );
}

function checkOrder<S extends { readonly id: SegmentId }>(
  segments: readonly S[],
  wanted: readonly SegmentId[],
): readonly S[] {
  if (segments.length === 0)
    throw new CoppiceError("data_loss", `segments: expected ${wanted[0]} first, found nothing`);
  segments.forEach((segment, index) => {
    if (segment.id === wanted[index]) return;
    throw new CoppiceError("data_loss", `segments[${index}]: expected ${wanted[index]}, found ${segment.id}`);
  });
  return segments;
}
