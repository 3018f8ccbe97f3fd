/** Token ids on the wire: four bytes each, lowest first (a third of the time and space of a repeated uint32). */
import { CoppiceError } from "../runtime/errors.ts";

const BYTES_PER_TOKEN = 4;
const TOKEN_MAX = 0xffff_ffff;

/** Throws "invalid_argument" for what is not a token id. @param at The field's path within its message. */
export function tokensToWire(tokens: readonly number[], at: string): Uint8Array<ArrayBuffer> {
  const bytes = new DataView(new ArrayBuffer(tokens.length * BYTES_PER_TOKEN));
  for (const [index, token] of tokens.entries()) {
    if (!Number.isInteger(token) || token < 0 || token > TOKEN_MAX)
      throw new CoppiceError(
        "invalid_argument",
        `${at}[${index}]: expected a token id from 0 to ${TOKEN_MAX}, found ${token}`,
      );
    bytes.setUint32(index * BYTES_PER_TOKEN, token, true);
  }
  return new Uint8Array(bytes.buffer);
}

/** Throws "invalid_argument" for a number of bytes that token ids cannot have. */
export function tokensFromWire(bytes: Uint8Array, at: string): readonly number[] {
  if (bytes.byteLength % BYTES_PER_TOKEN !== 0)
    throw new CoppiceError(
      "invalid_argument",
      `${at}: expected ${BYTES_PER_TOKEN} bytes for each token, found ${bytes.byteLength} bytes`,
    );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength / BYTES_PER_TOKEN }, (_, index) =>
    view.getUint32(index * BYTES_PER_TOKEN, true),
  );
}
