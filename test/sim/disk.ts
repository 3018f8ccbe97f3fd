/**
 * A disk in memory that takes time, fails, fills up, and forgets in a crash what was not synced: of a file's unsynced bytes a prefix of
 * any length may have reached it, so that lines are torn. Names are durable at once: what it does not simulate is a directory that
 * loses an entry.
 */
import type { Disk, DiskFile } from "../../services/runtime/disk.ts";
import type { Random } from "../../services/runtime/random.ts";
import type { Life } from "./time.ts";

export type DiskTrouble = "EIO" | "ENOSPC";

export interface SimulatedDiskOptions {
  readonly random: Random;
  /** Milliseconds that an operation takes. */
  readonly delayMs: (operation: "write" | "sync" | "other") => number;
  /** Asked before each write and sync; null: it works. */
  readonly trouble: () => DiskTrouble | null;
  /** Told of bytes of a file that are durable now, and where they begin. */
  readonly onDurable?: (path: string, bytes: Buffer, at: number) => void;
}

/** A file's bytes, and how many of them a crash leaves. */
class Content {
  #bytes = Buffer.alloc(1024);
  size = 0;
  synced = 0;
  /** What a cut that is not synced yet may still bring back. */
  cut: Buffer | null = null;

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.size);
  }

  add(chunk: Buffer): void {
    if (this.size + chunk.length > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(2 * this.#bytes.length, this.size + chunk.length));
      this.#bytes.copy(larger, 0, 0, this.size);
      this.#bytes = larger;
    }
    chunk.copy(this.#bytes, this.size);
    this.size += chunk.length;
  }

  truncate(bytes: number): void {
    if (bytes >= this.size) return;
    this.cut = Buffer.from(this.bytes.subarray(bytes, this.synced));
    this.size = bytes;
    this.synced = Math.min(this.synced, bytes);
  }
}

export class SimulatedDisk {
  readonly #options: SimulatedDiskOptions;
  readonly #files = new Map<string, Content>();
  readonly #directories = new Set<string>(["/"]);

  constructor(options: SimulatedDiskOptions) {
    this.#options = options;
  }

  /** The disk as one process sees it. */
  of(life: Life): Disk {
    const { delayMs } = this.#options;
    const other = <T>(act: () => T): Promise<T> => life.later(delayMs("other"), act);
    return {
      append: (path, options) =>
        other(() => {
          if (options?.isNew === true && this.#files.has(path)) throw errno("EEXIST", path);
          if (!this.#directories.has(parentOf(path))) throw errno("ENOENT", path);
          const content = this.#files.get(path) ?? new Content();
          this.#files.set(path, content);
          return this.#open(path, content, life);
        }),
      chunks: (path) => this.#chunks(path, life),
      list: (path) =>
        other(() => {
          if (!this.#directories.has(path)) throw errno("ENOENT", path);
          const inside = [...this.#files.keys(), ...this.#directories].filter(
            (each) => parentOf(each) === path,
          );
          return inside.map((each) => each.slice(path.length + 1));
        }),
      exists: (path) => other(() => this.#files.has(path) || this.#directories.has(path)),
      makeDirectory: (path, options) =>
        other(() => {
          if (options?.isDeep === true) return this.#makeDeep(path);
          if (this.#directories.has(path) || this.#files.has(path)) throw errno("EEXIST", path);
          if (!this.#directories.has(parentOf(path))) throw errno("ENOENT", path);
          this.#directories.add(path);
        }),
      rename: (from, to) => other(() => this.#rename(from, to)),
      remove: (path) => other(() => this.#remove(path)),
      syncDirectory: (path) =>
        other(() => {
          if (!this.#directories.has(path)) throw errno("ENOENT", path);
        }),
    };
  }

  /** The power is gone: of what was not synced some may be there. */
  crash(): void {
    const { random } = this.#options;
    for (const content of this.#files.values()) {
      if (content.cut !== null && random.next() < 0.5 && content.size === content.synced)
        content.add(content.cut);
      content.cut = null;
      const unsynced = content.size - content.synced;
      if (unsynced > 0) content.size = content.synced + Math.floor(random.next() * (unsynced + 1));
      content.synced = content.size;
    }
  }

  /** What a file holds at this moment, whoever asks; null where there is none. */
  peek(path: string): string | null {
    return this.#files.get(path)?.bytes.toString("utf8") ?? null;
  }

  #open(path: string, content: Content, life: Life): DiskFile {
    const { delayMs, trouble, onDurable } = this.#options;
    let isClosed = false;
    const during = <T>(operation: "write" | "sync" | "other", act: () => T): Promise<T> =>
      life.later(delayMs(operation), () => {
        if (isClosed) throw errno("EBADF", path);
        return act();
      });
    return {
      size: () => during("other", () => content.size),
      write: (chunks) =>
        during("write", () => {
          const bytes = Buffer.concat([...chunks]);
          const wrong = trouble();
          if (wrong === null) return content.add(bytes);
          content.add(bytes.subarray(0, Math.floor(this.#options.random.next() * bytes.length)));
          throw errno(wrong, path);
        }),
      sync: () =>
        during("sync", () => {
          const wrong = trouble();
          if (wrong !== null) throw errno(wrong, path);
          const at = content.synced;
          const fresh = Buffer.from(content.bytes.subarray(at));
          content.synced = content.size;
          content.cut = null;
          if (fresh.length > 0) onDurable?.(path, fresh, at);
        }),
      truncate: (bytes) => during("other", () => content.truncate(bytes)),
      read: (at, length) => during("other", () => Buffer.from(content.bytes.subarray(at, at + length))),
      close: () =>
        during("other", () => {
          isClosed = true;
        }),
    };
  }

  async *#chunks(path: string, life: Life): AsyncGenerator<Buffer> {
    const content = await life.later(this.#options.delayMs("other"), () => {
      const found = this.#files.get(path);
      if (found === undefined) throw errno("ENOENT", path);
      return found;
    });
    if (content.size > 0) yield Buffer.from(content.bytes);
  }

  #makeDeep(path: string): void {
    for (let each = path; each !== "/"; each = parentOf(each)) this.#directories.add(each);
  }

  #rename(from: string, to: string): void {
    if (!this.#files.has(from) && !this.#directories.has(from)) throw errno("ENOENT", from);
    const isMoving = (path: string): boolean => path === from || path.startsWith(`${from}/`);
    const target = (path: string): string => `${to}${path.slice(from.length)}`;
    for (const path of [...this.#files.keys()].filter(isMoving)) {
      const content = this.#files.get(path);
      this.#files.delete(path);
      if (content !== undefined) this.#files.set(target(path), content);
    }
    for (const path of [...this.#directories].filter(isMoving)) {
      this.#directories.delete(path);
      this.#directories.add(target(path));
    }
  }

  #remove(path: string): void {
    for (const names of [this.#files, this.#directories])
      for (const each of names.keys()) if (each === path || each.startsWith(`${path}/`)) names.delete(each);
  }
}

function parentOf(path: string): string {
  const end = path.lastIndexOf("/");
  return end <= 0 ? "/" : path.slice(0, end);
}

function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, '${path}'`), { code });
}
