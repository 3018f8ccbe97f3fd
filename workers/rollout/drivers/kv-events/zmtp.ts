/**
 * As much of ZeroMQ's wire (ZMTP 3.0, RFC 23, NULL mechanism) as a SUB socket needs: the greeting, READY, a subscription to
 * everything, and messages of several frames. Pure: bytes in, bytes and messages out.
 */

/** What is wrong with the bytes of the other side; the connection is of no use any more. */
export class ZmtpError extends Error {}

export interface ZmtpLimits {
  /** Bytes of one message. */
  readonly messageBytesMax: number;
  /** Frames of one message. */
  readonly framesMax: number;
}

const GREETING_BYTES = 64;
/** Signature, version 3.0, mechanism NULL, no server. A peer of a later version falls back to ours. */
const GREETING = Buffer.concat([
  Buffer.from([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]),
  Buffer.from("NULL".padEnd(20, "\0"), "latin1"),
  Buffer.alloc(32),
]);
const MORE = 0x01;
const LONG = 0x02;
const COMMAND = 0x04;
/** In ZMTP 3.0 a subscription is a message: a one, and what topics begin with. */
const SUBSCRIBE_ALL = frame(0, Buffer.from([1]));

/** What a SUB socket says as soon as it is connected. */
export function greeting(): Buffer {
  return GREETING;
}

export interface ZmtpListener {
  /** To be sent to the other side. */
  readonly send: (bytes: Buffer) => void;
  /** The other side publishes from now on. */
  readonly ready: () => void;
  readonly message: (frames: readonly Buffer[]) => void;
}

/** Reads what a PUB socket sends. Throws `ZmtpError`. */
export class ZmtpSubscriber {
  readonly #to: ZmtpListener;
  readonly #limits: ZmtpLimits;
  #rest: Buffer = Buffer.alloc(0);
  #state: "greeting" | "handshake" | "traffic" = "greeting";
  #frames: Buffer[] = [];
  #frameBytes = 0;

  constructor(to: ZmtpListener, limits: ZmtpLimits) {
    this.#to = to;
    this.#limits = limits;
  }

  feed(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (this.#step());
  }

  /** Whether there was enough for one step. */
  #step(): boolean {
    return this.#state === "greeting" ? this.#greet() : this.#readFrame();
  }

  #greet(): boolean {
    const said = this.#rest;
    const isZmtp = said[0] === 0xff && (said.length < 10 || said[9] === 0x7f);
    if (said.length > 0 && !isZmtp) throw new ZmtpError("expected a ZeroMQ socket, found something else");
    if (said.length > 10 && (said[10] ?? 0) < 3)
      throw new ZmtpError(`expected ZMTP 3, found version ${said[10]}`);
    if (said.length < GREETING_BYTES) return false;
    const mechanism = said.toString("latin1", 12, 32).replaceAll("\0", "");
    if (mechanism !== "NULL")
      throw new ZmtpError(`expected a socket without security (NULL), found ${JSON.stringify(mechanism)}`);
    this.#rest = said.subarray(GREETING_BYTES);
    this.#state = "handshake";
    this.#to.send(frame(COMMAND, Buffer.concat([shortText("READY"), property("Socket-Type", "SUB")])));
    return true;
  }

  #readFrame(): boolean {
    const said = this.#rest;
    const flags = said[0];
    if (flags === undefined) return false;
    if ((flags & ~(MORE | LONG | COMMAND)) !== 0)
      throw new ZmtpError(`expected a frame, found the flags ${flags}`);
    const isLong = (flags & LONG) !== 0;
    const headBytes = isLong ? 9 : 2;
    if (said.length < headBytes) return false;
    const size = isLong ? said.readBigUInt64BE(1) : BigInt(said[1] ?? 0);
    const roomBytes = this.#limits.messageBytesMax - this.#frameBytes;
    if (size > BigInt(roomBytes)) {
      const most = this.#limits.messageBytesMax;
      throw new ZmtpError(`expected a message of at most ${most} bytes, found a frame of ${size}`);
    }
    const end = headBytes + Number(size);
    if (said.length < end) return false;
    const body = said.subarray(headBytes, end);
    this.#rest = said.subarray(end);
    if ((flags & COMMAND) !== 0) this.#takeCommand(body);
    else this.#takeFrame(body, (flags & MORE) !== 0);
    return true;
  }

  #takeCommand(body: Buffer): void {
    const nameEnd = 1 + (body[0] ?? 0);
    const name = body.toString("latin1", 1, nameEnd);
    if (name === "ERROR") throw new ZmtpError(`the publisher says: ${body.toString("utf8", nameEnd + 1)}`);
    // Two bytes of a time to live stand before what the pong must repeat.
    if (name === "PING") {
      this.#to.send(frame(COMMAND, Buffer.concat([shortText("PONG"), body.subarray(nameEnd + 2)])));
      return;
    }
    if (name !== "READY" || this.#state !== "handshake") return;
    const type = propertiesIn(body.subarray(nameEnd)).get("socket-type");
    if (type !== "PUB" && type !== "XPUB")
      throw new ZmtpError(`expected a PUB socket, found ${JSON.stringify(type ?? "none")}`);
    this.#state = "traffic";
    this.#to.send(SUBSCRIBE_ALL);
    this.#to.ready();
  }

  #takeFrame(body: Buffer, hasMore: boolean): void {
    if (this.#state !== "traffic") throw new ZmtpError("expected READY, found a message");
    if (this.#frames.length >= this.#limits.framesMax)
      throw new ZmtpError(`expected a message of at most ${this.#limits.framesMax} frames, found more`);
    // Copied: the buffer that it lies in is as large as what came with it.
    this.#frames.push(Buffer.from(body));
    this.#frameBytes += body.length;
    if (hasMore) return;
    const frames = this.#frames;
    this.#frames = [];
    this.#frameBytes = 0;
    this.#to.message(frames);
  }
}

function frame(flags: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([flags, body.length]), body]);
}

/** A text behind its length in one byte. */
function shortText(text: string): Buffer {
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, "latin1")]);
}

function property(name: string, value: string): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(value.length);
  return Buffer.concat([shortText(name), size, Buffer.from(value, "latin1")]);
}

/** By their names in lower case: these know no case. */
function propertiesIn(bytes: Buffer): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < bytes.length;) {
    const nameEnd = at + 1 + (bytes[at] ?? 0);
    if (nameEnd + 4 > bytes.length) throw new ZmtpError("expected properties in READY, found half of one");
    const valueEnd = nameEnd + 4 + bytes.readUInt32BE(nameEnd);
    found.set(
      bytes.toString("latin1", at + 1, nameEnd).toLowerCase(),
      bytes.toString("latin1", nameEnd + 4, valueEnd),
    );
    at = valueEnd;
  }
  return found;
}
