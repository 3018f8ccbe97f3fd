/**
 * A file that only grows, with group commit: everything appended while one write is under way goes to disk in
 * the next one, under one fdatasync (spec: 64 appends a sync cost 2 us each, one a sync 200 us).
 *
 * Invariants: (1) appends reach the file in call order; (2) `append` resolves, in that order, only once its bytes are on
 * disk; (3) after the first failed write nothing more is written and every append rejects: the file's tail is then
 * unknown, and only reopening (which truncates to what is known to be good) may go on.
 */
import { type Disk, type DiskFile, systemDisk } from "../runtime/disk.ts";
import { CoppiceError, messageOf } from "../runtime/errors.ts";

/** Bytes that may wait for the disk before `append` is refused; far above what bounded lanes can produce. */
export const APPEND_BACKLOG_BYTES_MAX = 256 * 1024 * 1024;

const NOTHING_TO_CONFIRM = (): Promise<void> => Promise.resolve();

interface Waiting {
  readonly bytes: Buffer;
  readonly end: number;
  readonly resolve: (end: number) => void;
  readonly reject: (error: Error) => void;
}

export class AppendFile {
  readonly path: string;
  readonly #file: DiskFile;
  readonly #confirm: () => Promise<void>;
  #end: number;
  #waiting: Waiting[] = [];
  #backlogBytes = 0;
  #flushing: Promise<void> | null = null;
  #failure: CoppiceError | null = null;

  private constructor(path: string, file: DiskFile, end: number, confirm = NOTHING_TO_CONFIRM) {
    this.path = path;
    this.#file = file;
    this.#end = end;
    this.#confirm = confirm;
  }

  /** Makes the file; "already_exists" where it is there. */
  static async create(
    path: string,
    { disk, confirm }: { readonly disk: Disk; readonly confirm: () => Promise<void> },
  ): Promise<AppendFile> {
    try {
      return new AppendFile(path, await disk.append(path, { isNew: true }), 0, confirm);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
      throw new CoppiceError("already_exists", `${path}: expected a new file, found one that exists`);
    }
  }

  /**
   * Opens or creates the file and cuts it to `truncateTo` bytes when that is given. `endsLine`: where a crash cut its last line short,
   * that line is ended, so that what follows stands on lines of its own. `confirmCut`: asked before the file is cut; where it rejects
   * the file is not touched. `confirm`: asked after each sync, before its appends resolve; where it rejects the file has failed,
   * with its reason.
   */
  static async open(
    path: string,
    options: {
      readonly truncateTo?: number;
      readonly endsLine?: boolean;
      readonly disk?: Disk;
      readonly confirmCut?: () => Promise<void>;
      readonly confirm?: () => Promise<void>;
    } = {},
  ): Promise<AppendFile> {
    const opened = await (options.disk ?? systemDisk).append(path);
    const size = await opened.size();
    if (options.truncateTo === undefined || options.truncateTo === size) {
      const file = new AppendFile(path, opened, size, options.confirm);
      if (options.endsLine === true && !(await endsWithLine(opened, size))) await file.append("\n");
      return file;
    }
    if (options.truncateTo > size) {
      await opened.close();
      throw new CoppiceError(
        "data_loss",
        `${path}: expected at least ${options.truncateTo} bytes (the journal says so), found ${size}`,
      );
    }
    try {
      await options.confirmCut?.();
      await opened.truncate(options.truncateTo);
      await opened.sync();
    } catch (error) {
      await opened.close();
      throw error;
    }
    return new AppendFile(path, opened, options.truncateTo, options.confirm);
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
    await this.#file.close();
  }

  async #flush(): Promise<void> {
    // One turn of the event loop gathers what reports of the same network read append.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        await this.#file.write(group.map((entry) => entry.bytes));
        await this.#file.sync();
        await this.#confirm();
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
    this.#failure =
      error instanceof CoppiceError
        ? error
        : new CoppiceError("data_loss", `${this.path}: cannot write: ${messageOf(error)}`, { cause: error });
    for (const entry of [...group, ...this.#waiting]) entry.reject(this.#failure);
    this.#waiting = [];
  }
}

async function endsWithLine(file: DiskFile, size: number): Promise<boolean> {
  if (size === 0) return true;
  return (await file.read(size - 1, 1))[0] === 0x0a;
}
