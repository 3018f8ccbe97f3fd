/** Messages of a service descriptor to and from the bytes of a gRPC stream; for rpc.ts. */
import type { Writable } from "node:stream";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { CoppiceError, messageOf } from "./errors.ts";

/** The path of a method on the wire. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** Throws "invalid_argument" with the size of a message that is too large. */
export function encode(
  schema: DescMessage,
  message: MessageInitShape<DescMessage>,
  bytesMax: number,
): Buffer {
  const bytes = toBinary(schema, create(schema, message));
  if (bytes.byteLength > bytesMax) {
    throw new CoppiceError(
      "invalid_argument",
      `${schema.typeName}: a message of ${bytes.byteLength} bytes, more than the ${bytesMax} allowed`,
    );
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Throws "invalid_argument" for bytes that are no such message. */
export function decode(schema: DescMessage, bytes: Buffer, path: string): MessageShape<DescMessage> {
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    throw new CoppiceError(
      "invalid_argument",
      `${path}: expected a ${schema.typeName}, found bytes that are none: ${messageOf(error)}`,
    );
  }
}

/** The only message of a stream. Throws "invalid_argument" when there is none, or a second. */
export async function onlyOne(
  messages: AsyncIterable<MessageShape<DescMessage>>,
  what: string,
): Promise<MessageShape<DescMessage>> {
  let only: MessageShape<DescMessage> | null = null;
  for await (const message of messages) {
    if (only !== null)
      throw new CoppiceError("invalid_argument", `${what}: expected one message, found a second`);
    only = message;
  }
  if (only === null) throw new CoppiceError("invalid_argument", `${what}: expected one message, found none`);
  return only;
}

/** Waits while the reader is behind. Rejects with the signal's reason when it aborts. */
export async function write(stream: Writable, bytes: Buffer, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (stream.write(bytes)) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      stream.off("drain", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    stream.once("drain", done);
    signal.addEventListener("abort", done);
  });
  signal.throwIfAborted();
}
