/**
 * The disk as an argument: what a run directory asks of a file system, and no more. Production takes `systemDisk`; the simulator takes
 * one that loses what was not synced, fails and fills up (test/sim), and both pass one conformance suite.
 */
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from "node:fs/promises";

/** A file that is open to be added to. */
export interface DiskFile {
  /** In bytes. */
  size(): Promise<number>;
  /** Adds all of it at the end, or rejects: how much of it stands then is unknown. */
  write(chunks: readonly Buffer[]): Promise<void>;
  /** Resolves once what was written survives a loss of power. */
  sync(): Promise<void>;
  /** Cuts the file to this size. Durable after `sync`. */
  truncate(bytes: number): Promise<void>;
  /** At most `length` bytes from `at` on; fewer at the file's end. */
  read(at: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

export interface Disk {
  /** Opens a file to be added to, and makes it where there is none. `isNew`: rejects with EEXIST where there is one. */
  append(path: string, options?: { readonly isNew?: boolean }): Promise<DiskFile>;
  /** What a file holds, a piece at a time. */
  chunks(path: string): AsyncIterable<Buffer>;
  /** Names in a directory, in no order. */
  list(path: string): Promise<readonly string[]>;
  /** Whether anything stands there. Rejects where the disk fails. */
  exists(path: string): Promise<boolean>;
  /** With its parents where `isDeep`; rejects with EEXIST otherwise, where something stands there. */
  makeDirectory(path: string, options?: { readonly isDeep?: boolean }): Promise<void>;
  /** Takes the place of what stood under the new name. */
  rename(from: string, to: string): Promise<void>;
  /** A file, or a directory with all that is in it; nothing there is no error. */
  remove(path: string): Promise<void>;
  /** Makes the names in a directory survive a loss of power: a new file's own sync does not. */
  syncDirectory(path: string): Promise<void>;
}

/** Bytes that are read at once. */
const CHUNK_BYTES = 256 * 1024;

export const systemDisk: Disk = {
  append: async (path, options) => new SystemFile(await open(path, options?.isNew === true ? "ax+" : "a+")),
  // Without an encoding a stream of a file yields Buffers.
  chunks: (path) => createReadStream(path, { highWaterMark: CHUNK_BYTES }),
  list: (path) => readdir(path),
  async exists(path) {
    try {
      await stat(path);
      return true;
    } catch (error) {
      // Where the disk itself fails nobody can say.
      if (error instanceof Error && "code" in error && ["EIO", "ESTALE"].includes(String(error.code)))
        throw error;
      return false;
    }
  },
  async makeDirectory(path, options) {
    await mkdir(path, { recursive: options?.isDeep === true });
  },
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { recursive: true, force: true }),
  async syncDirectory(path) {
    const handle = await open(path, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

class SystemFile implements DiskFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  /** `writev` may write less than it was given (a full disk, a signal): goes on until all is written or it throws. */
  async write(chunks: readonly Buffer[]): Promise<void> {
    const { bytesWritten } = await this.#handle.writev([...chunks]);
    const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    if (bytesWritten === total) return;
    let rest = Buffer.concat([...chunks]).subarray(bytesWritten);
    while (rest.length > 0) {
      const written = await this.#handle.write(rest);
      rest = rest.subarray(written.bytesWritten);
    }
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(bytes: number): Promise<void> {
    return this.#handle.truncate(bytes);
  }

  async read(at: number, length: number): Promise<Buffer> {
    const { buffer, bytesRead } = await this.#handle.read(Buffer.alloc(length), 0, length, at);
    return buffer.subarray(0, bytesRead);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** Writes a file that is not there yet, and resolves once what it holds is durable. */
export async function writeNewFile(disk: Disk, path: string, text: string): Promise<void> {
  const file = await disk.append(path, { isNew: true });
  try {
    await file.write([Buffer.from(text, "utf8")]);
    await file.sync();
  } finally {
    await file.close();
  }
}
