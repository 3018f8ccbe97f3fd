/** Lines of a file, split at "\n" alone: `node:readline` also splits at U+2028 and U+2029, which JSON allows in a string. */
import { createReadStream } from "node:fs";
import { CoppiceError } from "./errors.ts";

/** A longer line is refused: nobody wrote it on purpose, and it would have to fit in memory. */
export const LINE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Each line without its end ("\n" or "\r\n"); a last line without one counts. Reads as it goes (bounded memory).
 * @throws "invalid_argument" with file and line number for a line beyond `LINE_BYTES_MAX`; what the file system says.
 */
export async function* readLines(path: string): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  // Without an encoding a stream of files yields Buffers.
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10, start)) {
      number += 1;
      yield text(rest, start, end);
      start = end + 1;
    }
    rest = rest.subarray(start);
    if (rest.length > LINE_BYTES_MAX) {
      const found = `found a line of more than ${LINE_BYTES_MAX} bytes`;
      throw new CoppiceError("invalid_argument", `${path}:${number + 1}: expected lines of JSON, ${found}`);
    }
  }
  if (rest.length > 0) yield text(rest, 0, rest.length);
}

function text(bytes: Buffer, start: number, end: number): string {
  const isCrlf = end > start && bytes[end - 1] === 13;
  return bytes.toString("utf8", start, isCrlf ? end - 1 : end);
}
