/**
 * The lock of a run directory: one process works on a run at a time.
 *
 * `lock/000001.json`, `lock/000002.json`, ...: a file for each holder so far, of which the newest stays; its number is the
 * holder's generation. The holder touches its file every `beatMs`.
 *
 * 1. A generation is taken by creating its file exclusively, so of many that find one holder gone exactly one follows it. Numbers
 *    never go back: only files below the newest are removed, and letting go marks a file instead of removing it.
 * 2. A holder of this machine is gone when its process is: one that was only stopped is not, and must be killed first. A holder
 *    elsewhere (another machine, another container) is gone when its file was not touched for `leaseMs` while we watched: clocks
 *    are never compared. That needs hard exclusive creation, which POSIX and NFS from version 3 on give.
 * 3. The lock alone fences nobody off: a holder that sleeps through its lease learns of its successor at its next beat. What makes
 *    its late writes worth nothing is the journal (`journal.ts`, 3) and new files for the rows (`Rows.open`). `lock/7.not-alone`
 *    says that holder 7 needs such files; it stands until somebody has made them, whoever dies or lets go before.
 */
import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, readlink, rename, rm, stat, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { type Clock, sleep, systemClock, type Timer } from "../runtime/clock.ts";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import { RUN_FILES } from "./run-directory.ts";

export interface LockLimits {
  /** Between two touches of the file by its holder. */
  readonly beatMs: number;
  /** A holder elsewhere that did not touch its file for so long, as we watched, is gone. */
  readonly leaseMs: number;
  /** Between two looks at the file of a holder elsewhere. */
  readonly lookMs: number;
  /** Generations that others may take before us while we try. */
  readonly racesMax: number;
}

/** Ends the names of the files that `notAlone` reads. */
const NOT_ALONE = ".not-alone";

export const DEFAULT_LOCK_LIMITS: LockLimits = { beatMs: 4_000, leaseMs: 20_000, lookMs: 200, racesMax: 16 };

/** Who holds a lock. */
export interface Holder {
  readonly host: string;
  /** Tells where pids mean the same: the machine's boot and the namespace of its pids. Empty where the system does not say. */
  readonly place: string;
  readonly pid: number;
  /** Tells a process from a later one with the same pid; empty where the system does not say. */
  readonly started: string;
}

export interface LockOptions {
  readonly clock?: Clock;
  readonly limits?: Partial<LockLimits>;
  /** Who takes it: this process when absent. */
  readonly holder?: Holder;
  /** Told, once, that the holder is elsewhere and is watched for a while. */
  readonly onWatching?: (message: string) => void;
  /** Told, once, that another process took the run over; whatever this one writes from now on counts for nothing. */
  readonly onLost?: (error: CoppiceError) => void;
}

export interface HeldRun {
  /** From 1; each holder's is larger than that of the one before. */
  readonly generation: number;
  /**
   * Whether nobody who held the run before can write to its rows any more. Otherwise one of them was only silent, and no holder since has
   * made the rows its own.
   */
  readonly isAlone: boolean;
  /** To be told once the rows are files that nobody else has open. */
  madeOwn(): Promise<void>;
  /** Rejects with "aborted" once another process has taken the run over. */
  check(): Promise<void>;
  release(): Promise<void>;
}

/** How a run directory is taken: `lockRunDirectory`, or what stands in for it. */
export type RunLock = (path: string, options: LockOptions) => Promise<HeldRun>;

/**
 * Takes the run directory for this process.
 * @throws failed_precondition naming who works on it.
 */
export async function lockRunDirectory(path: string, options: LockOptions = {}): Promise<HeldRun> {
  const limits = { ...DEFAULT_LOCK_LIMITS, ...options.limits };
  const holder = options.holder ?? (await holderOf(process.pid));
  const directory = join(path, RUN_FILES.lock);
  await prepare(directory);
  for (let race = 0; race < limits.racesMax; race += 1) {
    const newest = (await generations(directory)).at(-1) ?? 0;
    const isPriorGone = newest === 0 || (await awaitGone(path, newest, { ...options, limits, holder }));
    const generation = newest + 1;
    // Before it is taken: should we die at once, the next one knows.
    if (!isPriorGone) await noteNotAlone(directory, generation);
    const handle = await take(directory, generation, holder);
    if (handle === null) continue;
    const all = await generations(directory);
    if (all.at(-1) !== generation) {
      // Others came and went since we looked, and had removed the file that we made again.
      await handle.close();
      continue;
    }
    for (const old of all.slice(0, -1)) await rm(join(directory, fileName(old)), { force: true });
    const isAlone = (await notAlone(directory)).length === 0;
    return new HeldLock({ ...options, path, generation, isAlone, handle, holder, limits });
  }
  throw new CoppiceError(
    "failed_precondition",
    `${path}: ${limits.racesMax} other processes took this run before this one could; only one may work on it`,
  );
}

/** This machine's word on a process of its own. */
export async function holderOf(pid: number): Promise<Holder> {
  const fields = await statOf(pid);
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  const pids = await readlink("/proc/self/ns/pid").catch(() => "");
  return { host: hostname(), place: `${boot.trim()} ${pids}`.trim(), pid, started: fields[19] ?? "" };
}

class HeldLock implements HeldRun {
  readonly generation: number;
  readonly isAlone: boolean;
  readonly #path: string;
  readonly #directory: string;
  readonly #handle: FileHandle;
  readonly #holder: Holder;
  readonly #clock: Clock;
  readonly #limits: LockLimits;
  readonly #onLost: (error: CoppiceError) => void;
  #timer: Timer | null = null;
  #beating: Promise<void> = Promise.resolve();
  #isReleased = false;

  constructor(options: {
    readonly path: string;
    readonly generation: number;
    readonly isAlone: boolean;
    readonly handle: FileHandle;
    readonly holder: Holder;
    readonly clock?: Clock;
    readonly limits: LockLimits;
    readonly onLost?: (error: CoppiceError) => void;
  }) {
    this.generation = options.generation;
    this.isAlone = options.isAlone;
    this.#path = options.path;
    this.#directory = join(options.path, RUN_FILES.lock);
    this.#handle = options.handle;
    this.#holder = options.holder;
    this.#clock = options.clock ?? systemClock;
    this.#limits = options.limits;
    this.#onLost = options.onLost ?? (() => undefined);
    this.#beatLater();
  }

  async madeOwn(): Promise<void> {
    for (const generation of await notAlone(this.#directory))
      if (generation <= this.generation)
        await rm(join(this.#directory, `${generation}${NOT_ALONE}`), { force: true });
  }

  async check(): Promise<void> {
    const newest = (await generations(this.#directory)).at(-1) ?? 0;
    if (newest <= this.generation) return;
    const by = await contentOf(this.#directory, newest);
    const who = by.kind === "held" ? describe(by.holder) : "another process";
    throw new CoppiceError(
      "aborted",
      `${this.#path}: ${who} took this run over while this process did not move; nothing that this one writes counts any more`,
    );
  }

  async release(): Promise<void> {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#timer?.cancel();
    await this.#beating;
    await this.#handle.close();
    const partial = join(this.#directory, `.${randomUUID()}`);
    try {
      // Replaced as a whole: whoever reads it meanwhile sees the one or the other.
      await writeFile(partial, textOf(this.#holder, { isReleased: true }));
      await rename(partial, join(this.#directory, fileName(this.generation)));
    } catch {
      // A disk that is full or gone: the next one finds this process gone, or silent.
      await rm(partial, { force: true }).catch(() => undefined);
    }
  }

  #beatLater(): void {
    this.#timer = this.#clock.after(this.#limits.beatMs, () => {
      this.#beating = this.#beat();
    });
  }

  async #beat(): Promise<void> {
    try {
      const now = new Date(this.#clock.nowMs());
      // One that cannot be touched now can be later; a store that is away for long lets others think that we are gone.
      await this.#handle.utimes(now, now).catch(() => undefined);
      await this.check();
    } catch (error) {
      if (error instanceof CoppiceError) return this.#onLost(error);
    }
    if (!this.#isReleased) this.#beatLater();
  }
}

/** Resolves with whether the holder can write no more; false: it was only silent. Rejects while it is there. */
async function awaitGone(
  path: string,
  generation: number,
  options: LockOptions & { readonly limits: LockLimits; readonly holder: Holder },
): Promise<boolean> {
  const { clock = systemClock, limits, holder, onWatching } = options;
  const directory = join(path, RUN_FILES.lock);
  const firstTouched = touchedOf(await contentOf(directory, generation));
  const untilMs = clock.monotonicMs() + limits.leaseMs;
  for (let isTold = false; ;) {
    const content = await contentOf(directory, generation);
    if (content.kind === "released" || content.kind === "absent") return true;
    if (content.kind === "held" && isSamePlace(content.holder, holder)) {
      const trouble = await aliveNote(content.holder);
      if (trouble === null) return true;
      throw busy(path, `${describe(content.holder)}${trouble}`);
    }
    const who = content.kind === "held" ? describe(content.holder) : "a process that has just begun";
    if (touchedOf(content) !== firstTouched) throw busy(path, who);
    if (clock.monotonicMs() >= untilMs) return false;
    if (!isTold)
      onWatching?.(
        `${path}: ${who} held this run; watching for ${limits.leaseMs / 1_000} s whether it still does`,
      );
    isTold = true;
    await sleep(clock, limits.lookMs);
  }
}

function busy(path: string, who: string): CoppiceError {
  return new CoppiceError(
    "failed_precondition",
    `${path}: another process works on this run (${who}); only one may`,
  );
}

/** Whether a pid of the one means the same process to the other. */
function isSamePlace(a: Holder, b: Holder): boolean {
  return a.place === b.place && (a.place !== "" || a.host === b.host);
}

/** Null: the process is gone. Otherwise what there is to say of it. Of its own machine only. */
async function aliveNote(holder: Holder): Promise<string | null> {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if (!isErrno(error, "EPERM")) return null;
  }
  const fields = await statOf(holder.pid);
  if ((fields[19] ?? "") !== holder.started) return null;
  if (fields[0] === "Z") return null;
  return fields[0] === "T" ? `, which is stopped: kill -9 ${holder.pid} ends it` : "";
}

/** The fields of a process from its state on; none where it is gone or the system does not say. */
async function statOf(pid: number): Promise<readonly string[]> {
  const line = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The command's name before them may contain spaces, and ends with ")".
  return line.slice(line.lastIndexOf(")") + 2).split(" ");
}

function describe({ host, pid }: Holder): string {
  return `process ${pid} on ${host}`;
}

type Content =
  | { readonly kind: "held"; readonly holder: Holder; readonly touched: string }
  /** It is being written, or its writer died at that. */
  | { readonly kind: "unreadable"; readonly touched: string }
  | { readonly kind: "released" }
  | { readonly kind: "absent" };

function touchedOf(content: Content): string | null {
  return "touched" in content ? content.touched : null;
}

async function contentOf(directory: string, generation: number): Promise<Content> {
  let text: string;
  let touched: string;
  try {
    // Opened each time: on a network file system that is what asks the server.
    const handle = await open(join(directory, fileName(generation)), "r");
    try {
      const { mtimeNs, size } = await handle.stat({ bigint: true });
      touched = `${mtimeNs} ${size}`;
      text = await handle.readFile("utf8");
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isErrno(error, "ENOENT")) return { kind: "absent" };
    throw error;
  }
  try {
    // Ours, or cut short: then it does not parse.
    const parsed = JSON.parse(text) as Holder & { readonly released?: boolean };
    return parsed.released === true ? { kind: "released" } : { kind: "held", holder: parsed, touched };
  } catch {
    return { kind: "unreadable", touched };
  }
}

/** Null: another was first. */
async function take(directory: string, generation: number, holder: Holder): Promise<FileHandle | null> {
  const file = join(directory, fileName(generation));
  try {
    const handle = await open(file, "wx");
    await handle.writeFile(textOf(holder, { isReleased: false }));
    await handle.datasync();
    return handle;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return null;
    throw cannotLock(directory, error);
  }
}

function textOf(holder: Holder, { isReleased }: { readonly isReleased: boolean }): string {
  return `${JSON.stringify({ ...holder, ...(isReleased ? { released: true } : {}) })}\n`;
}

async function prepare(directory: string): Promise<void> {
  const found = await stat(directory).catch(() => null);
  if (found?.isDirectory() === true) return;
  if (found !== null) {
    // An older version kept a file here, and removed it when it let go.
    const text = await readFile(directory, "utf8").catch(() => "");
    throw new CoppiceError(
      "failed_precondition",
      `${directory}: locked by an older version of this program (${text.trim()}); if that process is gone, remove the file`,
    );
  }
  await mkdir(directory, { recursive: true }).catch((error: unknown) => {
    throw cannotLock(directory, error);
  });
}

function cannotLock(directory: string, error: unknown): CoppiceError {
  return new CoppiceError(
    "failed_precondition",
    `${directory}: cannot lock the run directory: ${messageOf(error)}`,
    {
      cause: error,
    },
  );
}

async function noteNotAlone(directory: string, generation: number): Promise<void> {
  await writeFile(join(directory, `${generation}${NOT_ALONE}`), "").catch((error: unknown) => {
    throw cannotLock(directory, error);
  });
}

/** Generations whose holder took the run over from one that was only silent, until the rows are the own files of it or a later one. */
async function notAlone(directory: string): Promise<readonly number[]> {
  const names = await readdir(directory);
  return names.filter((name) => name.endsWith(NOT_ALONE)).map((name) => Number.parseInt(name, 10));
}

/** Ascending. */
async function generations(directory: string): Promise<readonly number[]> {
  const names = await readdir(directory);
  const numbers = names.flatMap((name) => (/^\d{6,}\.json$/.test(name) ? [Number.parseInt(name, 10)] : []));
  return numbers.toSorted((a, b) => a - b);
}

function fileName(generation: number): string {
  return `${String(generation).padStart(6, "0")}.json`;
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
