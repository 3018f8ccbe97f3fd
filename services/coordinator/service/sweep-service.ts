/** The client API over gRPC: serves the Sweeps service (proto/coppice/v1) on a `Coordinator`. */
import { randomUUID } from "node:crypto";
import { Sweeps } from "../../../proto/gen/coppice/v1/sweeps_pb.ts";
import type { SubmitRequest, SweepText } from "../../../proto/gen/coppice/v1/sweeps_pb.ts";
import { CoppiceError } from "../../runtime/errors.ts";
import { rpcService } from "../../runtime/rpc.ts";
import type { RpcService } from "../../runtime/rpc.ts";
import type { Coordinator, SweepRun } from "../coordinator-api.ts";
import { DEFAULT_EVENT_LOG_LIMITS, EventLog } from "./event-log.ts";
import type { EventLogLimits } from "./event-log.ts";
import type { Problem, Sweep } from "../sweep.ts";
import { eventToWire, problemFromLine, statusToWire } from "./sweep-wire.ts";

export interface SweepServiceLimits extends EventLogLimits {
  /** Sweeps in a page when the client does not say. */
  readonly pageDefault: number;
  readonly pageMax: number;
  readonly overridesMax: number;
}

export const DEFAULT_SWEEP_SERVICE_LIMITS: SweepServiceLimits = {
  ...DEFAULT_EVENT_LOG_LIMITS,
  pageDefault: 50,
  pageMax: 100,
  overridesMax: 256,
};

export interface SweepServiceOptions {
  /**
   * Parses a sweep's text; throws CoppiceError "invalid_argument" that names the key and the line.
   * @param source Where the text comes from, for messages. @param overrides "key.path=value" each.
   */
  readonly parseSweep: (text: string, source: string, overrides: readonly string[]) => Sweep;
  readonly limits?: Partial<SweepServiceLimits> | undefined;
}

/** The Sweeps service of a coordinator, for `serveRpc`. */
export function createSweepService(coordinator: Coordinator, options: SweepServiceOptions): RpcService {
  const limits: SweepServiceLimits = { ...DEFAULT_SWEEP_SERVICE_LIMITS, ...options.limits };
  const logs = new WeakMap<SweepRun, EventLog>();
  // Places in a log mean nothing to a coordinator that started later: tokens carry this.
  const epoch = randomUUID();

  const logOf = (run: SweepRun): EventLog => {
    const log = logs.get(run) ?? new EventLog(run, limits);
    logs.set(run, log);
    return log;
  };
  const find = (id: string): SweepRun => {
    if (id === "") throw new CoppiceError("invalid_argument", "sweep: required, found nothing");
    const run = coordinator.get(id);
    if (run === null)
      throw new CoppiceError(
        "not_found",
        `sweep ${JSON.stringify(id.slice(0, 200))}: this coordinator does not hold it`,
      );
    return run;
  };
  const answer = (run: SweepRun) => ({ status: statusToWire(run.status()) });

  return rpcService(Sweeps, {
    async submit(requests, { peer }) {
      const parts = requests[Symbol.asyncIterator]();
      const first = await parts.next();
      const text = sweepText(first.done === true ? undefined : first.value, limits);
      const sweep = options.parseSweep(text.resolved, `the sweep submitted by ${peer}`, text.overrides);
      const run = await coordinator.submit(sweep, readProblems(parts), {
        given: text.given,
        resolved: text.resolved,
      });
      logOf(run);
      return answer(run);
    },
    async *watch({ sweep, resumeToken }, { signal }) {
      const log = logOf(find(sweep));
      for await (const { event, place } of log.read(placeOf(resumeToken, epoch), signal)) {
        yield { event: eventToWire(event), resumeToken: `${epoch}:${place}` };
      }
    },
    get: ({ sweep }) => answer(find(sweep)),
    list({ pageSize, pageToken }) {
      if (pageSize > limits.pageMax)
        throw new CoppiceError(
          "invalid_argument",
          `page_size: expected at most ${limits.pageMax}, found ${pageSize}`,
        );
      const runs = coordinator.list();
      const start = pageToken === "" ? 0 : runs.findIndex(({ id }) => id === pageToken) + 1;
      if (pageToken !== "" && start === 0)
        throw new CoppiceError("invalid_argument", "page_token: names a sweep that is no longer held");
      const page = runs.slice(start, start + (pageSize === 0 ? limits.pageDefault : pageSize));
      const hasMore = start + page.length < runs.length;
      return {
        sweeps: page.map((run) => statusToWire(run.status())),
        nextPageToken: hasMore ? (page.at(-1)?.id ?? "") : "",
      };
    },
    async cancel({ sweep, reason }) {
      const run = find(sweep);
      await run.cancel(reason === "" ? "cancelled by a client" : reason);
      return answer(run);
    },
    pause({ sweep }) {
      const run = find(sweep);
      run.pause();
      return answer(run);
    },
    resume({ sweep }) {
      const run = find(sweep);
      run.resume();
      return answer(run);
    },
  });
}

function sweepText(request: SubmitRequest | undefined, limits: SweepServiceLimits): SweepText {
  if (request?.part.case !== "sweep") {
    throw new CoppiceError(
      "invalid_argument",
      `part: expected sweep in the first message, found ${request?.part.case ?? "nothing"}`,
    );
  }
  const text = request.part.value;
  if (text.resolved === "")
    throw new CoppiceError("invalid_argument", "sweep.resolved: required, found nothing");
  if (text.overrides.length > limits.overridesMax) {
    throw new CoppiceError(
      "invalid_argument",
      `sweep.overrides: expected at most ${limits.overridesMax}, found ${text.overrides.length}`,
    );
  }
  return text;
}

/** Reads as fast as the coordinator takes them; the line number counts over all messages. */
async function* readProblems(parts: AsyncIterator<SubmitRequest>): AsyncGenerator<Problem> {
  let line = 0;
  for (;;) {
    const next = await parts.next();
    if (next.done === true) return;
    const { part } = next.value;
    if (part.case !== "problems") {
      throw new CoppiceError(
        "invalid_argument",
        `part: expected problems in every message after the first, found ${part.case ?? "nothing"}`,
      );
    }
    for (const text of part.value.jsonLines.split("\n")) {
      if (text.trim() === "") continue;
      line += 1;
      yield problemFromLine(text, `problems line ${line}`);
    }
  }
}

function placeOf(token: string, epoch: string): number | null {
  if (!token.startsWith(`${epoch}:`)) return null;
  const place = Number(token.slice(epoch.length + 1));
  if (Number.isSafeInteger(place) && place >= 0) return place;
  throw new CoppiceError("invalid_argument", "resume_token: expected one that this coordinator gave");
}
