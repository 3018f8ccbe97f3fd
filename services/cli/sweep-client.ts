/** A typed client of a coordinator's client API (proto/coppice/v1, service Sweeps). */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Sweeps } from "../../proto/gen/coppice/v1/sweeps_pb.ts";
import type { SubmitRequestSchema } from "../../proto/gen/coppice/v1/sweeps_pb.ts";
import type { SweepEvent, SweepStatus } from "../coordinator/status.ts";
import type { Problem } from "../coordinator/sweep.ts";
import { eventFromWire, problemToLine, statusFromWire } from "../coordinator/service/sweep-wire.ts";
import { Backoff } from "../link/backoff.ts";
import type { Clock } from "../runtime/clock.ts";
import { CoppiceError, asCoppiceError } from "../runtime/errors.ts";
import type { Random } from "../runtime/random.ts";
import { connectRpc } from "../runtime/rpc.ts";
import type { RpcClient } from "../runtime/rpc.ts";
import type { RpcLimits } from "../runtime/rpc-types.ts";

export interface SweepClientLimits {
  /** Problems are sent in messages of about so many bytes; one larger problem is a message of its own. */
  readonly chunkBytes: number;
  /** How long `watch` tries to come back after the coordinator was lost. */
  readonly returnMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
}

export const DEFAULT_SWEEP_CLIENT_LIMITS: SweepClientLimits = {
  chunkBytes: 256 * 1024,
  returnMs: 60_000,
  backoffMinMs: 100,
  backoffMaxMs: 5_000,
};

export interface SweepClientOptions {
  readonly token?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits?: Partial<SweepClientLimits> | undefined;
  readonly rpcLimits?: Partial<RpcLimits> | undefined;
}

export interface SubmittedText {
  /** YAML as the user gave it, and with every default and override filled in. */
  readonly given: string;
  readonly resolved: string;
  /** "key.path=value" each, applied over `resolved` by the coordinator. */
  readonly overrides?: readonly string[];
}

/** Every method rejects with CoppiceError; "unavailable" names the address. */
export interface SweepClient {
  /** Resolves with the first status once the sweep runs; its `id` names it from then on. */
  submit(
    text: SubmittedText,
    problems: AsyncIterable<Problem> | Iterable<Problem>,
    signal?: AbortSignal,
  ): Promise<SweepStatus>;
  /** Events until `ended`, over lost connections; begins with a status, and again with one after each return. */
  watch(id: string, signal?: AbortSignal): AsyncIterable<SweepEvent>;
  get(id: string): Promise<SweepStatus>;
  /** Every sweep that the coordinator holds, oldest first. */
  list(): AsyncIterable<SweepStatus>;
  cancel(id: string, reason: string): Promise<SweepStatus>;
  pause(id: string): Promise<SweepStatus>;
  resume(id: string): Promise<SweepStatus>;
  close(): void;
}

/** A client of the coordinator at "host:port". Dials when first used. */
export function connectSweeps(address: string, options: SweepClientOptions): SweepClient {
  const limits = { ...DEFAULT_SWEEP_CLIENT_LIMITS, ...options.limits };
  const rpc = connectRpc(Sweeps, { address, token: options.token, limits: options.rpcLimits });
  const { call } = rpc;
  return {
    async submit(text, problems, signal) {
      const { status } = await call.submit(submission(text, problems, limits.chunkBytes), { signal });
      return statusFromWire(status);
    },
    watch: (id, signal) => watchOver(rpc, { id, signal, limits, options }),
    get: async (sweep) => statusFromWire((await call.get({ sweep })).status),
    async *list() {
      let pageToken = "";
      do {
        const page = await call.list({ pageToken });
        for (const status of page.sweeps) yield statusFromWire(status);
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
    },
    cancel: async (sweep, reason) => statusFromWire((await call.cancel({ sweep, reason })).status),
    pause: async (sweep) => statusFromWire((await call.pause({ sweep })).status),
    resume: async (sweep) => statusFromWire((await call.resume({ sweep })).status),
    close: () => rpc.close(),
  };
}

async function* submission(
  text: SubmittedText,
  problems: AsyncIterable<Problem> | Iterable<Problem>,
  chunkBytes: number,
): AsyncGenerator<MessageInitShape<typeof SubmitRequestSchema>> {
  const { given, resolved, overrides = [] } = text;
  yield { part: { case: "sweep", value: { given, resolved, overrides: [...overrides] } } };
  let lines: string[] = [];
  let bytes = 0;
  const chunk = (): MessageInitShape<typeof SubmitRequestSchema> => ({
    part: { case: "problems", value: { jsonLines: lines.join("\n") } },
  });
  for await (const problem of problems) {
    const line = problemToLine(problem);
    const size = Buffer.byteLength(line) + 1;
    if (lines.length > 0 && bytes + size > chunkBytes) {
      yield chunk();
      lines = [];
      bytes = 0;
    }
    lines.push(line);
    bytes += size;
  }
  if (lines.length > 0) yield chunk();
}

interface Watching {
  readonly id: string;
  readonly signal: AbortSignal | undefined;
  readonly limits: SweepClientLimits;
  readonly options: SweepClientOptions;
}

async function* watchOver(
  rpc: RpcClient<typeof Sweeps>,
  { id, signal, limits, options }: Watching,
): AsyncGenerator<SweepEvent> {
  const { clock, random } = options;
  const backoff = new Backoff({ clock, random, minMs: limits.backoffMinMs, maxMs: limits.backoffMaxMs });
  let resumeToken = "";
  let heardMs = clock.monotonicMs();
  for (;;) {
    try {
      for await (const response of rpc.call.watch({ sweep: id, resumeToken }, { signal })) {
        resumeToken = response.resumeToken;
        heardMs = clock.monotonicMs();
        backoff.reset();
        const event = eventFromWire(response.event);
        if (event !== null) yield event;
        if (event?.kind === "ended") return;
      }
      throw new CoppiceError(
        "unavailable",
        `sweep ${id}: the coordinator ended the stream before the sweep ended`,
      );
    } catch (error) {
      const waitMs = backoff.nextMs();
      if (
        signal?.aborted === true ||
        !asCoppiceError(error).isRetryable ||
        clock.monotonicMs() + waitMs - heardMs > limits.returnMs
      )
        throw error;
      await backoff.wait(waitMs, signal);
    }
  }
}
