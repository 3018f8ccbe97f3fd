/**
 * A file that only grows, with group commit: everything appended while one write is under way goes to disk in
 * the next one, under one fdatasync (spec: 64 appends a sync cost 2 us each, one a sync 200 us).
 *
 * Invariants: (1) appends reach the file in call order; (2) `append` resolves, in that order, only once its bytes are on
 * disk; (3) after the first failed write nothing more is written and every append rejects: the file's tail is then
 * unknown, and only reopening (which truncates to what is known to be good) may go on.
 */
import { open, type FileHandle } from "node:fs/promises";
import { CoppiceError, messageOf } from "../runtime/errors.ts";

/** Bytes that may wait for the disk before `append` is refused; far above what bounded lanes can produce. */
export const APPEND_BACKLOG_BYTES_MAX = 256 * 1024 * 1024;

interface Waiting {
  readonly bytes: Buffer;
  readonly end: number;
  readonly resolve: (end: number) => void;
  readonly reject: (error: Error) => void;
}

export class AppendFile {
  readonly path: string;
  readonly #handle: FileHandle;
  #end: number;
  #waiting: Waiting[] = [];
  #backlogBytes = 0;
  #flushing: Promise<void> | null = null;
  #failure: CoppiceError | null = null;

  private constructor(path: string, handle: FileHandle, end: number) {
    this.path = path;
    this.#handle = handle;
    this.#end = end;
  }

  /**
   * Opens or creates the file and cuts it to `truncateTo` bytes when that is given. `endsLine`: where a crash cut its last line short,
   * that line is ended, so that what follows stands on lines of its own.
   */
  static async open(
    path: string,
    options: { readonly truncateTo?: number; readonly endsLine?: boolean } = {},
  ): Promise<AppendFile> {
    const handle = await open(path, "a+");
    const { size } = await handle.stat();
    if (options.truncateTo === undefined || options.truncateTo === size) {
      const file = new AppendFile(path, handle, size);
      if (options.endsLine === true && !(await endsWithLine(handle, size))) await file.append("\n");
      return file;
    }
    if (options.truncateTo > size) {
      await handle.close();
      throw new CoppiceError(
        "data_loss",
        `${path}: expected at least ${options.truncateTo} bytes (the journal says so), found ${size}`,
      );
    }
    await handle.truncate(options.truncateTo);
    await handle.datasync();
    return new AppendFile(path, handle, options.truncateTo);
  }

  /** Where the next append will begin, in bytes. */
  get end(): number {
    return this.#end;
  }

  /** Resolves with the offset behind the bytes once they are on disk. */
  append(text: string): Promise<number> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const bytes = Buffer.from(text, "utf8");
    if (this.#backlogBytes + bytes.length > APPEND_BACKLOG_BYTES_MAX) {
      return Promise.reject(
        new CoppiceError(
          "resource_exhausted",
          `${this.path}: ${this.#backlogBytes} bytes already wait for the disk`,
        ),
      );
    }
    this.#backlogBytes += bytes.length;
    this.#end += bytes.length;
    const end = this.#end;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, end, resolve, reject });
      this.#flushing ??= this.#flush();
    });
  }

  /** Waits for everything appended, then closes. */
  async close(): Promise<void> {
    await this.#flushing;
    this.#failure ??= new CoppiceError("failed_precondition", `${this.path}: closed`);
    await this.#handle.close();
  }

  async #flush(): Promise<void> {
    // One turn of the event loop gathers what reports of the same network read append.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        await writeAll(
          this.#handle,
          group.map((entry) => entry.bytes),
        );
        await this.#handle.datasync();
      } catch (error) {
        this.#fail(group, error);
        break;
      }
      for (const entry of group) {
        this.#backlogBytes -= entry.bytes.length;
        entry.resolve(entry.end);
      }
    }
    this.#flushing = null;
  }

  #fail(group: readonly Waiting[], error: unknown): void {
    this.#failure = new CoppiceError("data_loss", `${this.path}: cannot write: ${messageOf(error)}`, {
      cause: error,
    });
    for (const entry of [...group, ...this.#waiting]) entry.reject(this.#failure);
    this.#waiting = [];
  }
}

async function endsWithLine(handle: FileHandle, size: number): Promise<boolean> {
  if (size === 0) return true;
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
  return bytesRead === 1 && buffer[0] === 0x0a;
}

/** `writev` may write less than it was given (a full disk, a signal): goes on until all is written or it throws. */
async function writeAll(handle: FileHandle, buffers: readonly Buffer[]): Promise<void> {
  const { bytesWritten } = await handle.writev([...buffers]);
  const total = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
  if (bytesWritten === total) return;
  let rest = Buffer.concat([...buffers]).subarray(bytesWritten);
  while (rest.length > 0) {
    const written = await handle.write(rest);
    rest = rest.subarray(written.bytesWritten);
  }
}

/** Makes the names in a directory survive a loss of power: a new file's own sync does not. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
