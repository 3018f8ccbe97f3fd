/** A PUB socket of ZeroMQ, byte by byte as libzmq speaks (ZMTP 3.1 with a peer of 3.0), for tests. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";

const GREETING = Buffer.concat([
  Buffer.from("ff00000000000000017f0301", "hex"),
  Buffer.from("NULL".padEnd(20, "\0"), "latin1"),
  Buffer.alloc(32),
]);
const READY_PUB = Buffer.concat([
  Buffer.from([0x04, 25, 5]),
  Buffer.from("READY", "latin1"),
  Buffer.from([11]),
  Buffer.from("Socket-Type", "latin1"),
  Buffer.from([0, 0, 0, 3]),
  Buffer.from("PUB", "latin1"),
]);
/** What a SUB socket of ZMTP 3.0 sends: greeting, READY, and a subscription to everything. */
const READY_SUB = Buffer.from(`041905${hex("READY")}0b${hex("Socket-Type")}00000003${hex("SUB")}`, "hex");
const SUBSCRIBE_ALL = Buffer.from("000101", "hex");

export interface ZmtpPublisher {
  readonly endpoint: string;
  /** Sockets that have subscribed. */
  subscribers(): number;
  /** What subscribers sent behind their subscription. */
  answers(): readonly Buffer[];
  /** Sends a message to all of them; in pieces of so many bytes where that is said. */
  publish(frames: readonly Buffer[], options?: { readonly pieceBytes?: number }): void;
  /** Sends bytes as they are. */
  send(bytes: Buffer): void;
  /** Cuts every connection. */
  cut(): void;
  close(): Promise<void>;
}

export async function startZmtpPublisher(
  options: { readonly greeting?: Buffer; readonly ready?: Buffer; readonly port?: number } = {},
): Promise<ZmtpPublisher> {
  const { greeting = GREETING, ready = READY_PUB } = options;
  const sockets = new Set<Socket>();
  const subscribed = new Set<Socket>();
  const answers: Buffer[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.setNoDelay(true);
    let heard = Buffer.alloc(0);
    let isReady = false;
    // libzmq sends its signature before it has heard anything, and the rest behind that.
    socket.write(greeting.subarray(0, 10));
    socket.write(greeting.subarray(10));
    socket.on("data", (bytes) => {
      if (subscribed.has(socket)) return void answers.push(bytes);
      heard = Buffer.concat([heard, bytes]);
      if (heard.length >= 64 && !isReady) {
        isReady = true;
        socket.write(ready);
      }
      const expected = Buffer.concat([READY_SUB, SUBSCRIBE_ALL]);
      if (heard.length >= 64 + expected.length && heard.subarray(64).equals(expected)) subscribed.add(socket);
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      sockets.delete(socket);
      subscribed.delete(socket);
    });
  });
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  // It listens on a port, so its address is not a pipe's name.
  const { port } = server.address() as AddressInfo;
  const send = (bytes: Buffer): void => {
    for (const socket of subscribed) socket.write(bytes);
  };
  return {
    endpoint: `tcp://127.0.0.1:${port}`,
    subscribers: () => subscribed.size,
    answers: () => answers,
    publish(frames, { pieceBytes = Infinity } = {}) {
      const bytes = Buffer.concat(frames.map((body, n) => frameOf(body, n < frames.length - 1)));
      for (let at = 0; at < bytes.length; at += pieceBytes) send(bytes.subarray(at, at + pieceBytes));
    },
    send,
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function frameOf(body: Buffer, hasMore: boolean): Buffer {
  const more = hasMore ? 1 : 0;
  if (body.length < 256) return Buffer.concat([Buffer.from([more, body.length]), body]);
  const head = Buffer.alloc(9);
  head.writeUInt8(more | 2);
  head.writeBigUInt64BE(BigInt(body.length), 1);
  return Buffer.concat([head, body]);
}

function hex(text: string): string {
  return Buffer.from(text, "latin1").toString("hex");
}
