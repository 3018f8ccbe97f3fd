/**
 * The desk over gRPC: serves the Workers service on a `WorkerDesk`. Used by the coordinator's server.
 *
 * One line per worker: a second one ends the first. A report is acknowledged only after `desk.accept` resolved (I2).
 * A report that is wrong is refused by its number and costs no other report (I5). What a line may hold is bounded on
 * both sides: reports being accepted (the line is then not read), answers that the worker does not read (it is ended).
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Workers } from "../../proto/gen/coppice/v1/workers_pb.ts";
import type {
  NumberedReport,
  ReportRequest,
  ReportResponseSchema,
  SegmentsRequest,
} from "../../proto/gen/coppice/v1/workers_pb.ts";
import type { Segment } from "../queue/job.ts";
import { systemClock } from "../runtime/clock.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { CoppiceError, asCoppiceError } from "../runtime/errors.ts";
import { Feed } from "../runtime/feed.ts";
import { statusOfCode } from "../runtime/rpc-types.ts";
import type { RpcCall } from "../runtime/rpc-types.ts";
import { rpcService } from "../runtime/rpc.ts";
import type { RpcService } from "../runtime/rpc.ts";
import { DEFAULT_LINK_LIMITS } from "./link-limits.ts";
import type { LinkLimits } from "./link-limits.ts";
import { name, reportFromWire, segmentToWire, signalsFromWire, workerFromWire } from "./link-wire.ts";
import type { Withdrawal, WorkerDesk } from "./link.ts";

export interface WorkersServiceOptions {
  readonly clock?: Clock | undefined;
  readonly limits?: Partial<LinkLimits> | undefined;
}

/** Reports in one message that a foreign worker may send at most. */
const BATCH_ACCEPTED_MAX = 256;

/** The Workers service of a desk, for `serveRpc`. */
export function serveWorkers(desk: WorkerDesk, options: WorkersServiceOptions = {}): RpcService {
  const limits: LinkLimits = { ...DEFAULT_LINK_LIMITS, ...options.limits };
  const clock = options.clock ?? systemClock;
  /** Leases of registered workers, oldest first. A worker registers again before each line. */
  const leases = new Map<string, number>();
  const lines = new Map<string, Line>();

  return rpcService(Workers, {
    register(request) {
      const facts = workerFromWire(request);
      if (!leases.has(facts.id) && leases.size >= limits.workersMax) {
        throw new CoppiceError(
          "resource_exhausted",
          `worker ${facts.id}: ${limits.workersMax} workers are registered, the most allowed`,
        );
      }
      const registration = desk.register(facts);
      leases.set(facts.id, registration.leaseMs);
      desk.heard(facts.id);
      return { lanes: [...registration.lanes], leaseMs: registration.leaseMs };
    },
    async *report(requests, call) {
      const reader = requests[Symbol.asyncIterator]();
      const first = await reader.next();
      if (first.done === true) return;
      const worker = name(first.value.worker, "worker");
      const leaseMs = leases.get(worker);
      if (leaseMs === undefined)
        throw new CoppiceError(
          "failed_precondition",
          `worker ${worker}: expected it to register before it opens a line`,
        );
      lines.get(worker)?.end(new CoppiceError("aborted", `worker ${worker} opened another line`));
      const line = new Line(desk, { worker, leaseMs, clock, limits });
      lines.set(worker, line);
      try {
        yield* line.serve({ first: first.value, reader }, call);
      } finally {
        line.end(null);
        if (lines.get(worker) === line) {
          lines.delete(worker);
          leases.delete(worker);
        }
      }
    },
    segments: (request) => ({ segments: segmentsThatFit(desk, request, limits).map(segmentToWire) }),
    leave(request) {
      const worker = name(request.worker, "worker");
      lines.get(worker)?.end(null);
      lines.delete(worker);
      leases.delete(worker);
      desk.left(worker);
      return {};
    },
  });
}

interface LineOptions {
  readonly worker: string;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly limits: LinkLimits;
}

type ResponseInit = MessageInitShape<typeof ReportResponseSchema>;
interface Answers {
  readonly acknowledged: number[];
  readonly refused: { readonly number: number; readonly code: number; readonly message: string }[];
  readonly withdrawn: { readonly job: string; readonly asks: string[] }[];
}

/** One open line of one worker. */
class Line {
  readonly #desk: WorkerDesk;
  readonly #options: LineOptions;
  readonly #out = new Feed<ResponseInit>();
  readonly #lost: () => void;
  #answers: Answers | null = null;
  #accepting = 0;
  #accepted: () => void = () => {};
  #silentThirds = 0;
  #timer: Timer;
  #isEnded = false;

  constructor(desk: WorkerDesk, options: LineOptions) {
    this.#desk = desk;
    this.#options = options;
    this.#lost = desk.connected(options.worker, (withdrawal) => this.#withdraw(withdrawal));
    this.#timer = this.#watchLease();
  }

  /** What goes down the line, until it ends. */
  async *serve(
    up: { readonly first: ReportRequest; readonly reader: AsyncIterator<ReportRequest> },
    call: RpcCall,
  ): AsyncGenerator<ResponseInit> {
    const leave = (): void => this.end(null);
    call.signal.addEventListener("abort", leave);
    if (call.signal.aborted) leave();
    void this.#read(up).then(
      () => this.end(null),
      (error: unknown) => this.end(asCoppiceError(error)),
    );
    yield* this.#out;
  }

  /** Ends the line, with an error that the worker is told; the desk is told that it is lost. Safe to call twice. */
  end(error: CoppiceError | null): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#timer.cancel();
    this.#flush();
    if (error === null) this.#out.end();
    else this.#out.fail(error);
    this.#accepted();
    this.#lost();
  }

  async #read({
    first,
    reader,
  }: {
    readonly first: ReportRequest;
    readonly reader: AsyncIterator<ReportRequest>;
  }): Promise<void> {
    for (let request = first; !this.#isEnded;) {
      this.#silentThirds = 0;
      this.#desk.heard(this.#options.worker);
      if (request.reports.length > BATCH_ACCEPTED_MAX) {
        throw new CoppiceError(
          "invalid_argument",
          `reports: expected at most ${BATCH_ACCEPTED_MAX}, found ${request.reports.length}`,
        );
      }
      if (request.host !== undefined)
        this.#desk.signalled(this.#options.worker, signalsFromWire(request.host, "host"));
      if (request.reports.length === 0) this.#send({});
      for (const [index, report] of request.reports.entries())
        void this.#accept(report, `reports[${index}].report`);
      while (this.#accepting >= this.#options.limits.acceptingMax && !this.#isEnded) {
        await new Promise<void>((resolve) => (this.#accepted = resolve));
      }
      const next = await reader.next();
      if (next.done === true) return;
      request = next.value;
    }
  }

  async #accept(numbered: NumberedReport, at: string): Promise<void> {
    this.#accepting += 1;
    try {
      await this.#desk.accept(reportFromWire(numbered.report, at));
      this.#answer((answers) => answers.acknowledged.push(numbered.number));
    } catch (thrown) {
      const error = asCoppiceError(thrown);
      this.#answer((answers) =>
        answers.refused.push({
          number: numbered.number,
          code: statusOfCode(error.code),
          message: error.message,
        }),
      );
    }
    this.#accepting -= 1;
    this.#accepted();
  }

  #withdraw(withdrawal: Withdrawal): void {
    this.#answer((answers) => answers.withdrawn.push({ job: withdrawal.job, asks: [...withdrawal.asks] }));
  }

  /** Answers that come together (one group commit makes many reports durable) go down in one message. */
  #answer(add: (answers: Answers) => void): void {
    if (this.#isEnded) return;
    if (this.#answers === null) {
      this.#answers = { acknowledged: [], refused: [], withdrawn: [] };
      queueMicrotask(() => this.#flush());
    }
    add(this.#answers);
  }

  #flush(): void {
    const answers = this.#answers;
    this.#answers = null;
    if (answers !== null) this.#send(answers);
  }

  #send(response: ResponseInit): void {
    if (this.#out.size >= this.#options.limits.unreadMax) {
      return this.end(
        new CoppiceError(
          "resource_exhausted",
          `worker ${this.#options.worker} does not read: ${this.#out.size} answers wait for it`,
        ),
      );
    }
    this.#out.push(response);
  }

  /** Counts silent thirds of the lease and not time: if this process stalls, that is not the worker's silence. */
  #watchLease(): Timer {
    const { clock, leaseMs, worker } = this.#options;
    return clock.after(leaseMs / 3, () => {
      this.#silentThirds += 1;
      if (this.#silentThirds > 3)
        return this.end(new CoppiceError("unavailable", `worker ${worker}: nothing heard for ${leaseMs} ms`));
      this.#timer = this.#watchLease();
    });
  }
}

function segmentsThatFit(desk: WorkerDesk, request: SegmentsRequest, limits: LinkLimits): Segment[] {
  const { ids, worker } = request;
  if (worker !== "") desk.heard(name(worker, "worker"));
  if (ids.length === 0 || ids.length > limits.segmentsPerCallMax) {
    throw new CoppiceError(
      "invalid_argument",
      `ids: expected 1 to ${limits.segmentsPerCallMax}, found ${ids.length}`,
    );
  }
  const found = desk.segments(ids.map((id, index) => name(id, `ids[${index}]`)));
  let bytes = 0;
  const end = found.findIndex((segment, index) => {
    bytes += Buffer.byteLength(segment.text) + 4 * (segment.tokens?.length ?? 0) + segment.id.length + 16;
    return index > 0 && bytes > limits.segmentsBytesMax;
  });
  return found.slice(0, end === -1 ? found.length : end);
}
