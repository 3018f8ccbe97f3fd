/**
 * Lines of a file, split at "\n" alone: `node:readline` also splits at U+2028 and U+2029, which JSON allows in a
 * string. Reads as it goes, in bounded memory.
 */
import type { FileHandle } from "node:fs/promises";
import { type Disk, systemDisk } from "./disk.ts";
import { CoppiceError } from "./errors.ts";

export interface Line {
  /** Without its end. Valid until the next line is asked for. */
  readonly bytes: Buffer;
  /** From 1. */
  readonly number: number;
  /** Where its first byte stands in the file. */
  readonly offset: number;
  /** Whether it ends with a line end; only the last line of a file may not. */
  readonly isEnded: boolean;
}

export interface LineOptions {
  /** What the file is called in an error; its path by default. */
  readonly name: string;
  /** A longer line is refused: it would have to fit in memory. */
  readonly bytesMax?: number;
  readonly signal?: AbortSignal;
  /** Where a path leads; the system's by default. */
  readonly disk?: Disk;
}

export const LINE_BYTES_MAX = 64 * 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;
const LINE_END = 0x0a;

/**
 * A last line without an end counts unless it is empty.
 * @throws "invalid_argument" with name and line number for a line that is too long; what the file system says.
 */
export async function* readLines(source: string | FileHandle, options: LineOptions): AsyncGenerator<Line> {
  const { name, bytesMax = LINE_BYTES_MAX, signal } = options;
  let held: Buffer[] = [];
  let heldBytes = 0;
  let number = 1;
  let offset = 0;
  for await (const chunk of chunksOf(source, options.disk ?? systemDisk)) {
    signal?.throwIfAborted();
    let from = 0;
    for (let end = chunk.indexOf(LINE_END); end !== -1; end = chunk.indexOf(LINE_END, from)) {
      const rest = chunk.subarray(from, end);
      const bytes = held.length === 0 ? rest : Buffer.concat([...held, rest]);
      yield { bytes, number, offset, isEnded: true };
      offset += bytes.length + 1;
      number += 1;
      from = end + 1;
      held = [];
      heldBytes = 0;
    }
    if (from === chunk.length) continue;
    held.push(chunk.subarray(from));
    heldBytes += chunk.length - from;
    if (heldBytes > bytesMax) {
      const message = `${name}:${number}: expected a line of at most ${bytesMax} bytes, found a longer one`;
      throw new CoppiceError("invalid_argument", message);
    }
  }
  if (heldBytes > 0) yield { bytes: Buffer.concat(held), number, offset, isEnded: false };
}

/** Its text, without the carriage return of a "\r\n". Bytes that are not UTF-8 become U+FFFD. */
export function lineText({ bytes }: Line): string {
  const isCrlf = bytes.at(-1) === 0x0d;
  return bytes.toString("utf8", 0, isCrlf ? bytes.length - 1 : bytes.length);
}

function chunksOf(source: string | FileHandle, disk: Disk): AsyncIterable<Buffer> {
  if (typeof source === "string") return disk.chunks(source);
  // A handle is its owner's to close. Without an encoding a stream of a file yields Buffers.
  return source.createReadStream({ highWaterMark: CHUNK_BYTES, start: 0, autoClose: false });
}
