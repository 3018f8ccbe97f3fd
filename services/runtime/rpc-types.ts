/** What rpc.ts offers, without gRPC in it: shapes of handlers and clients for a service descriptor, limits, codes. */
import type { DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { CoppiceError } from "./errors.ts";
import type { ErrorCode } from "./errors.ts";

/** Limits of one server or client (I7). */
export interface RpcLimits {
  /** Of one message, both ways, in bytes. */
  readonly messageBytesMax: number;
  /** Of a unary call that names no deadline itself. */
  readonly callDeadlineMs: number;
  /** A connection that was silent for so long is pinged. */
  readonly keepaliveMs: number;
  /** ... and given up when the ping is not answered for so long. */
  readonly keepaliveTimeoutMs: number;
  /** Bytes that a peer may send before it must wait for the reader. gRPC's own 64 KiB halves the rate of reports. */
  readonly receiveWindowBytes: number;
  /** Calls open at once on one connection. */
  readonly streamsMax: number;
  /** First and last wait before a lost connection is dialled again. */
  readonly redialMinMs: number;
  readonly redialMaxMs: number;
  /** Time that calls in progress get when a server closes. */
  readonly closeGraceMs: number;
  /** Of an error's message on the wire, in characters; the rest is cut. */
  readonly errorCharsMax: number;
}

export const DEFAULT_RPC_LIMITS: RpcLimits = {
  messageBytesMax: 8 * 1024 * 1024,
  callDeadlineMs: 10_000,
  keepaliveMs: 20_000,
  keepaliveTimeoutMs: 10_000,
  receiveWindowBytes: 4 * 1024 * 1024,
  streamsMax: 1_024,
  redialMinMs: 100,
  redialMaxMs: 2_000,
  closeGraceMs: 1_000,
  errorCharsMax: 4_096,
};

/** What a handler knows of the call that it serves. */
export interface RpcCall {
  /** Aborts when the caller went away, its deadline passed, or the server closes. */
  readonly signal: AbortSignal;
  /** The caller's address, for messages. */
  readonly peer: string;
}

type In<M extends DescMethod> = MessageShape<M["input"]>;
type InInit<M extends DescMethod> = MessageInitShape<M["input"]>;
type Out<M extends DescMethod> = MessageShape<M["output"]>;
type OutInit<M extends DescMethod> = MessageInitShape<M["output"]>;

/** One method on the server. It throws CoppiceError; anything else reaches the caller as "internal". */
export type RpcHandler<M extends DescMethod> = M["methodKind"] extends "unary"
  ? (request: In<M>, call: RpcCall) => Promise<OutInit<M>> | OutInit<M>
  : M["methodKind"] extends "client_streaming"
    ? (requests: AsyncIterable<In<M>>, call: RpcCall) => Promise<OutInit<M>>
    : M["methodKind"] extends "server_streaming"
      ? (request: In<M>, call: RpcCall) => AsyncIterable<OutInit<M>>
      : (requests: AsyncIterable<In<M>>, call: RpcCall) => AsyncIterable<OutInit<M>>;

export type RpcHandlers<S extends DescService> = {
  readonly [K in keyof S["method"]]: RpcHandler<S["method"][K]>;
};

export interface RpcCallOptions {
  /** Aborting cancels the call on the server too, and the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Default: `callDeadlineMs` for a unary call, none for a stream (keepalive ends it when the peer is gone). */
  readonly deadlineMs?: number | undefined;
}

/** One method on the client. Rejects with CoppiceError. */
export type RpcClientMethod<M extends DescMethod> = M["methodKind"] extends "unary"
  ? (request: InInit<M>, options?: RpcCallOptions) => Promise<Out<M>>
  : M["methodKind"] extends "client_streaming"
    ? (requests: AsyncIterable<InInit<M>>, options?: RpcCallOptions) => Promise<Out<M>>
    : M["methodKind"] extends "server_streaming"
      ? (request: InInit<M>, options?: RpcCallOptions) => AsyncIterable<Out<M>>
      : (requests: AsyncIterable<InInit<M>>, options?: RpcCallOptions) => AsyncIterable<Out<M>>;

export type RpcClientMethods<S extends DescService> = {
  readonly [K in keyof S["method"]]: RpcClientMethod<S["method"][K]>;
};

const STATUS_BY_CODE: Readonly<Record<ErrorCode, number>> = {
  cancelled: 1,
  invalid_argument: 3,
  deadline_exceeded: 4,
  not_found: 5,
  already_exists: 6,
  resource_exhausted: 8,
  failed_precondition: 9,
  aborted: 10,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  data_loss: 15,
};

const CODE_BY_STATUS: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  // ErrorCode is exactly the keys of the table above.
  ...Object.entries(STATUS_BY_CODE).map(([code, status]) => [status, code as ErrorCode] as const),
  [7, "failed_precondition"], // PERMISSION_DENIED
  [11, "invalid_argument"], // OUT_OF_RANGE
  [16, "failed_precondition"], // UNAUTHENTICATED
]);

/** The gRPC status number of one of our codes. */
export function statusOfCode(code: ErrorCode): number {
  return STATUS_BY_CODE[code];
}

/** The error that a gRPC status stands for; whether it may be retried follows from its code. */
export function errorOfStatus(status: number, message: string): CoppiceError {
  return new CoppiceError(CODE_BY_STATUS.get(status) ?? "internal", message);
}
