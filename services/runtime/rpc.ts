/**
 * gRPC for generated service descriptors: `serveRpc` and `connectRpc`. The only importer of @grpc/grpc-js.
 *
 * Every method, whatever its kind, is carried as a stream of bytes both ways, because on the wire it is one; so there
 * is one path for decoding, back-pressure, cancellation and errors. Messages are decoded here and not in the
 * library's callbacks, so that bytes which are no message end their own call with INVALID_ARGUMENT and nothing else.
 *
 * Connections are not encrypted. On anything but loopback set a token and keep the network closed, or put a proxy
 * that speaks TLS in front.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isIPv4 } from "node:net";
import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import {
  Client,
  Metadata,
  Server,
  ServerCredentials,
  credentials,
  logVerbosity,
  setLogVerbosity,
  status as Status,
} from "@grpc/grpc-js";
import type { ClientDuplexStream, ServerDuplexStream, ServiceDefinition, StatusObject } from "@grpc/grpc-js";
import { systemClock } from "./clock.ts";
import type { Clock } from "./clock.ts";
import { CoppiceError, asCoppiceError } from "./errors.ts";
import { decode, encode, onlyOne, pathOf, write } from "./rpc-codec.ts";
import { DEFAULT_RPC_LIMITS, errorOfStatus, statusOfCode } from "./rpc-types.ts";
import type { RpcCall, RpcCallOptions, RpcClientMethods, RpcHandlers, RpcLimits } from "./rpc-types.ts";
import { widenReceiveWindow } from "./rpc-window.ts";

// The library writes to stderr by itself; whatever matters reaches the caller as an error.
setLogVerbosity(logVerbosity.NONE);

/** A service and what serves it; made by `rpcService`. */
export interface RpcService {
  readonly descriptor: DescService;
  readonly handlers: Readonly<Record<string, AnyHandler>>;
}

// A handler with its message types forgotten; `rpcService` checked them against the descriptor.
type AnyHandler = (request: never, call: RpcCall) => unknown;

/** Binds handlers to a service descriptor; the compiler checks that every method is there with its types. */
export function rpcService<S extends DescService>(descriptor: S, handlers: RpcHandlers<S>): RpcService {
  return { descriptor, handlers };
}

export interface RpcServerOptions {
  /** "host:port"; port 0 takes a free one. */
  readonly address: string;
  /** When given, every call must carry it as a bearer token, or gets UNAUTHENTICATED. */
  readonly token?: string | undefined;
  /** Told what an operator should know, once at the start. */
  readonly onWarning?: ((message: string) => void) | undefined;
  readonly limits?: Partial<RpcLimits> | undefined;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
}

export interface RpcServer {
  /** "host:port" with the port that was taken. */
  readonly address: string;
  /** Takes no more calls; calls in progress get `graceMs` (default `closeGraceMs`), then are cut. */
  close(graceMs?: number): Promise<void>;
}

/** Serves on an address. Rejects with "unavailable" naming the address when it cannot be had. */
export async function serveRpc(
  services: readonly RpcService[],
  options: RpcServerOptions,
): Promise<RpcServer> {
  const limits = { ...DEFAULT_RPC_LIMITS, ...options.limits };
  const clock = options.clock ?? systemClock;
  if (options.token === undefined && !isLoopback(options.address)) {
    options.onWarning?.(
      `serving on ${options.address} without a token: whoever reaches this port may run sweeps; set COPPICE_TOKEN`,
    );
  }
  const server = new Server({
    "grpc.max_receive_message_length": limits.messageBytesMax,
    "grpc.max_send_message_length": limits.messageBytesMax,
    "grpc.keepalive_time_ms": limits.keepaliveMs,
    "grpc.keepalive_timeout_ms": limits.keepaliveTimeoutMs,
    "grpc.max_concurrent_streams": limits.streamsMax,
  });
  const served = new Set<Promise<void>>();
  for (const service of services) {
    server.addService(
      definitionOf(service.descriptor),
      Object.fromEntries(
        service.descriptor.methods.map((method) => [
          method.localName,
          (stream: ServerStream): void => {
            const done = serveCall(service, method, { stream, limits, token: options.token }).finally(() =>
              served.delete(done),
            );
            served.add(done);
          },
        ]),
      ),
    );
    widenReceiveWindow(service.descriptor.typeName, limits.receiveWindowBytes);
  }
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(options.address, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) return resolve(bound);
      reject(
        new CoppiceError("unavailable", `cannot listen on ${options.address}: ${error.message}`, {
          cause: error,
        }),
      );
    });
  });
  return {
    address: `${options.address.slice(0, options.address.lastIndexOf(":"))}:${port}`,
    async close(graceMs = limits.closeGraceMs) {
      const cut = clock.after(graceMs, () => server.forceShutdown(), { keepAlive: true });
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      cut.cancel();
      // Handlers end when their signal aborts; one that does not must not hold up the process.
      await new Promise<void>((resolve) => {
        const giveUp = clock.after(limits.closeGraceMs, resolve, { keepAlive: true });
        void Promise.all(served).then(() => {
          giveUp.cancel();
          resolve();
        });
      });
    },
  };
}

type ServerStream = ServerDuplexStream<Buffer, Buffer>;

interface ServedCall {
  readonly stream: ServerStream;
  readonly limits: RpcLimits;
  readonly token: string | undefined;
}

/** Serves one call from its first byte to its status. Never rejects. */
async function serveCall(
  service: RpcService,
  method: DescMethod,
  { stream, limits, token }: ServedCall,
): Promise<void> {
  const gone = new AbortController();
  const leave = (): void => {
    if (!gone.signal.aborted) gone.abort(goneError(method));
  };
  stream.on("cancelled", leave);
  stream.on("close", leave);
  try {
    checkToken(stream.metadata, token);
    const call: RpcCall = { signal: gone.signal, peer: stream.getPeer() };
    const requests = readRequests(stream, method, gone.signal);
    const isStreamIn = method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
    const request = isStreamIn ? requests : await onlyOne(requests, `${pathOf(method)}: request`);
    const handler = service.handlers[method.localName];
    if (handler === undefined)
      throw new CoppiceError("unimplemented", `${pathOf(method)} is not served here`);
    // `request` is a message of the descriptor's input, or a stream of them: what the handler was checked to take.
    const answer = handler(request as never, call);
    if (method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming") {
      // ... and gives, for these kinds, a stream of the descriptor's output.
      for await (const message of answer as AsyncIterable<MessageInitShape<DescMessage>>) {
        await write(stream, encode(method.output, message, limits.messageBytesMax), gone.signal);
      }
    } else {
      await write(
        stream,
        encode(method.output, (await answer) as MessageInitShape<DescMessage>, limits.messageBytesMax),
        gone.signal,
      );
    }
    stream.end();
  } catch (error) {
    if (!stream.cancelled) stream.emit("error", statusFor(error, limits));
  }
}

/** One for all calls of a method: every call's stream closes in the end, and capturing a stack each time costs more than the rest. */
const GONE = new WeakMap<DescMethod, CoppiceError>();

function goneError(method: DescMethod): CoppiceError {
  const known = GONE.get(method);
  if (known !== undefined) return known;
  const error = new CoppiceError("cancelled", `${pathOf(method)}: the caller went away`);
  GONE.set(method, error);
  return error;
}

async function* readRequests(
  stream: ServerStream,
  method: DescMethod,
  signal: AbortSignal,
): AsyncGenerator<MessageShape<DescMessage>> {
  let wake = (): void => {};
  let isEnded = false;
  const notify = (): void => wake();
  stream.on("readable", notify);
  stream.on("end", () => {
    isEnded = true;
    wake();
  });
  signal.addEventListener("abort", notify);
  for (;;) {
    if (signal.aborted) throw signal.reason;
    // The library's stream is one of buffers: the definition below deserialises to the bytes themselves.
    const bytes = stream.read() as Buffer | null;
    if (bytes !== null) yield decode(method.input, bytes, pathOf(method));
    else if (isEnded) return;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}

export interface RpcClientOptions {
  /** "host:port". */
  readonly address: string;
  readonly token?: string | undefined;
  readonly limits?: Partial<RpcLimits> | undefined;
  /** Default: the system's. Deadlines travel as wall-clock times. */
  readonly clock?: Clock | undefined;
}

export interface RpcClient<S extends DescService> {
  readonly call: RpcClientMethods<S>;
  /** Cuts what is in progress. */
  close(): void;
}

/** A client of one service. Dials when first called, and again after the connection is lost. */
export function connectRpc<S extends DescService>(descriptor: S, options: RpcClientOptions): RpcClient<S> {
  const limits = { ...DEFAULT_RPC_LIMITS, ...options.limits };
  const client = new Client(options.address, credentials.createInsecure(), {
    "grpc.max_receive_message_length": limits.messageBytesMax,
    "grpc.max_send_message_length": limits.messageBytesMax,
    "grpc.keepalive_time_ms": limits.keepaliveMs,
    "grpc.keepalive_timeout_ms": limits.keepaliveTimeoutMs,
    "grpc.initial_reconnect_backoff_ms": limits.redialMinMs,
    "grpc.max_reconnect_backoff_ms": limits.redialMaxMs,
    "grpc-node.flow_control_window": limits.receiveWindowBytes,
    // Each client its own connection, no proxy from the environment, and no retries but our own.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_http_proxy": 0,
    "grpc.enable_retries": 0,
    "grpc.service_config_disable_resolution": 1,
  });
  const over = new AbortController();
  const { address, token, clock = systemClock } = options;
  const dialled: Dialled = { client, limits, address, token, clock, over: over.signal };
  const methods = descriptor.methods.map((method) => [method.localName, clientMethod(dialled, method)]);
  return {
    // One entry per method of the descriptor, made by kind in `clientMethod`: the shape that RpcClientMethods states.
    call: Object.fromEntries(methods) as RpcClientMethods<S>,
    close() {
      over.abort(new CoppiceError("cancelled", `the client of ${options.address} is closed`));
      client.close();
    },
  };
}

interface Dialled {
  readonly client: Client;
  readonly limits: RpcLimits;
  readonly address: string;
  readonly token: string | undefined;
  readonly clock: Clock;
  /** Aborts when the client is closed. */
  readonly over: AbortSignal;
}

type AnyInit = MessageInitShape<DescMessage>;

function clientMethod(dialled: Dialled, method: DescMethod): unknown {
  const { callDeadlineMs } = dialled.limits;
  switch (method.methodKind) {
    case "unary":
      return (request: AnyInit, options: RpcCallOptions = {}) =>
        onlyOne(
          openCall(dialled, method, { requests: [request], deadlineMs: callDeadlineMs, ...options }),
          pathOf(method),
        );
    case "client_streaming":
      return (requests: AsyncIterable<AnyInit>, options: RpcCallOptions = {}) =>
        onlyOne(openCall(dialled, method, { requests, ...options }), pathOf(method));
    case "server_streaming":
      return (request: AnyInit, options: RpcCallOptions = {}) =>
        openCall(dialled, method, { requests: [request], ...options });
    case "bidi_streaming":
      return (requests: AsyncIterable<AnyInit>, options: RpcCallOptions = {}) =>
        openCall(dialled, method, { requests, ...options });
  }
}

interface OpenedCall extends RpcCallOptions {
  readonly requests: AsyncIterable<AnyInit> | Iterable<AnyInit>;
}

/** Opens a call when first read; leaving the loop cancels it. Throws CoppiceError, or the signal's reason. */
async function* openCall(
  dialled: Dialled,
  method: DescMethod,
  { requests, signal, deadlineMs }: OpenedCall,
): AsyncGenerator<MessageShape<DescMessage>> {
  signal?.throwIfAborted();
  dialled.over.throwIfAborted();
  const metadata = new Metadata();
  if (dialled.token !== undefined) metadata.set("authorization", `Bearer ${dialled.token}`);
  const stream: ClientDuplexStream<Buffer, Buffer> = dialled.client.makeBidiStreamRequest(
    pathOf(method),
    sameBytes,
    sameBytes,
    metadata,
    deadlineMs === undefined ? {} : { deadline: new Date(dialled.clock.nowMs() + deadlineMs) },
  );
  let wake = (): void => {};
  let status: StatusObject | null = null;
  const ended = new AbortController();
  stream.on("readable", () => wake());
  stream.on("error", () => {}); // The status event says the same and always comes.
  stream.on("status", (final) => {
    status = final;
    ended.abort(new CoppiceError("cancelled", `${pathOf(method)}: the call has ended`));
    wake();
  });
  const cancel = (): void => stream.cancel();
  signal?.addEventListener("abort", cancel);
  dialled.over.addEventListener("abort", cancel);
  let unsendable: unknown = null;
  const sent = sendRequests(stream, requests, { method, limits: dialled.limits, signal: ended.signal }).catch(
    (error: unknown) => {
      if (ended.signal.aborted) return;
      unsendable = error;
      stream.cancel();
    },
  );
  try {
    for (;;) {
      // The definition deserialises to the bytes themselves.
      const bytes = stream.read() as Buffer | null;
      if (bytes !== null) yield decode(method.output, bytes, pathOf(method));
      else if (status !== null) break;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
    signal?.throwIfAborted();
    dialled.over.throwIfAborted();
    if (unsendable !== null) throw asCoppiceError(unsendable);
    throwStatus(status, dialled.address, method);
  } finally {
    signal?.removeEventListener("abort", cancel);
    dialled.over.removeEventListener("abort", cancel);
    if (status === null) stream.cancel();
    void sent;
  }
}

interface Sending {
  readonly method: DescMethod;
  readonly limits: RpcLimits;
  readonly signal: AbortSignal;
}

async function sendRequests(
  stream: ClientDuplexStream<Buffer, Buffer>,
  requests: OpenedCall["requests"],
  sending: Sending,
): Promise<void> {
  for await (const request of requests) {
    if (sending.signal.aborted) return;
    await write(
      stream,
      encode(sending.method.input, request, sending.limits.messageBytesMax),
      sending.signal,
    );
  }
  stream.end();
}

function throwStatus(status: StatusObject, address: string, method: DescMethod): void {
  if (status.code === Status.OK) return;
  if (status.code === Status.UNAUTHENTICATED) {
    throw new CoppiceError(
      "failed_precondition",
      `${address} refused the token: ${status.details}; set COPPICE_TOKEN to its token`,
    );
  }
  // A peer that dies resets its streams; the library reports that under these names, which mean something else.
  const isReset = /^(Received RST_STREAM|Call cancelled|Connection dropped|No connection established)/.test(
    status.details,
  );
  if (isReset || status.code === Status.UNAVAILABLE) {
    throw new CoppiceError("unavailable", `${address} cannot be reached (${method.name}): ${status.details}`);
  }
  if (status.code === Status.DEADLINE_EXCEEDED) {
    throw new CoppiceError(
      "deadline_exceeded",
      `${address} did not answer ${method.name} in time: ${status.details}`,
    );
  }
  throw errorOfStatus(status.code, status.details);
}

function statusFor(thrown: unknown, limits: RpcLimits): object {
  if (thrown instanceof Unauthenticated) return { code: Status.UNAUTHENTICATED, details: thrown.message };
  const error = asCoppiceError(thrown);
  return { code: statusOfCode(error.code), details: error.message.slice(0, limits.errorCharsMax) };
}

class Unauthenticated extends Error {}

function checkToken(metadata: Metadata, token: string | undefined): void {
  if (token === undefined) return;
  const given = metadata.get("authorization")[0];
  if (given === undefined) throw new Unauthenticated("expected a bearer token, found none");
  if (!timingSafeEqual(digest(String(given)), digest(`Bearer ${token}`)))
    throw new Unauthenticated("the bearer token is not the expected one");
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

const sameBytes = (bytes: Buffer): Buffer => bytes;

function definitionOf(descriptor: DescService): ServiceDefinition {
  const raw = {
    requestSerialize: sameBytes,
    requestDeserialize: sameBytes,
    responseSerialize: sameBytes,
    responseDeserialize: sameBytes,
  };
  return Object.fromEntries(
    descriptor.methods.map((method) => [
      method.localName,
      {
        path: pathOf(method),
        requestStream: true,
        responseStream: true,
        originalName: method.localName,
        ...raw,
      },
    ]),
  );
}

function isLoopback(address: string): boolean {
  const host = address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}
