/** The receive window of gRPC servers; for rpc.ts. */
import { subscribe } from "node:diagnostics_channel";
import type { Http2Session } from "node:http2";

const windowByService = new Map<string, number>();
const widened = new WeakSet<Http2Session>();

/**
 * Gives a service's connections a wider HTTP/2 receive window. grpc-js has an option for that on clients only; Node
 * tells of every HTTP/2 stream that a server opens, and a session may be widened at any time. Where Node does not
 * tell, reports are slower and nothing else changes. Per process, because the channel is: it touches only sessions
 * that call one of our services.
 */
export function widenReceiveWindow(typeName: string, bytes: number): void {
  if (windowByService.size === 0) subscribe("http2.server.stream.created", (event) => widenSessionOf(event));
  windowByService.set(typeName, bytes);
}

function widenSessionOf(event: unknown): void {
  // Documented by Node for this channel: { stream: ServerHttp2Stream, headers: IncomingHttpHeaders }.
  const { stream, headers } = event as {
    stream: { session?: Http2Session };
    headers: Record<string, string | undefined>;
  };
  const bytes = windowByService.get(headers[":path"]?.split("/")[1] ?? "");
  if (bytes === undefined || stream.session === undefined || widened.has(stream.session)) return;
  widened.add(stream.session);
  stream.session.settings({ initialWindowSize: bytes });
  stream.session.setLocalWindowSize(bytes);
}
