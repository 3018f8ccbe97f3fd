/**
 * The journal: an append-only record of what was settled, in settlement order (I2). Replaying it rebuilds every search.
 *
 * `journal/000001.jsonl`, `000002.jsonl`, ...: a line per entry, its CRC-32 in eight hex digits, a space, the
 * entry as JSON. Readable with `less`, and a line that was cut short by a crash is told by its missing newline or
 * its CRC. The first line of the first file is the header.
 *
 * Invariants: (1) an entry is on disk before `append` resolves, and they resolve in order; (2) a damaged line with entries behind
 * it is data loss and refused with file and offset; a torn last line, of a crash, is cut off.
 * (3) Fence. Whoever opens the journal begins the next file, created exclusively, then reads the files before it, and notes in its
 * first line how much of each counts. A holder that was taken for dead, or stopped, and goes on holds the old file: each of its
 * appends resolves only if, after its sync, there is no next file. So what it acknowledged is what its successor has read, and what
 * it writes later is never acknowledged, never read, and ends its attempt. This holds on any file system with exclusive creation
 * and where a name that another machine made is seen once it is made: on NFS, mount with `lookupcache=positive`, or a successor's
 * file may be missed for as long as the client remembers that it was not there, and what is acknowledged then is computed again.
 */
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { type Disk, systemDisk } from "../runtime/disk.ts";
import { CoppiceError } from "../runtime/errors.ts";
import { lineText, readLines } from "../runtime/lines.ts";
import { AppendFile } from "./append-file.ts";
import type { JournalEntry, JournalHeader } from "./journal-entry.ts";
import { decodeEntry } from "./journal-entry.ts";

/** A journal file is closed and the next begun when it is larger than this. */
export const JOURNAL_FILE_BYTES_MAX = 64 * 1024 * 1024;
/** No entry is longer: a rollout's text is bounded by the message size of the link. */
export const JOURNAL_LINE_BYTES_MAX = 16 * 1024 * 1024;

interface Place {
  readonly directory: string;
  readonly disk: Disk;
}

interface Reopened {
  readonly journal: Journal;
  readonly header: JournalHeader;
  readonly tornBytes: number;
}

/** Files that the holder before may begin while we try to begin the next. */
const NEXT_FILE_RACES_MAX = 16;

export class Journal {
  readonly #place: Place;
  #file: AppendFile;
  #number: number;
  #rotation: Promise<void> | null = null;

  private constructor(place: Place, file: AppendFile, number: number) {
    this.#place = place;
    this.#file = file;
    this.#number = number;
  }

  /** Begins a journal in a new directory. */
  static async create(directory: string, header: JournalHeader, disk: Disk = systemDisk): Promise<Journal> {
    await disk.makeDirectory(directory);
    const place = { directory, disk };
    const journal = new Journal(place, await beginFile(place, 1), 1);
    await journal.append(header);
    return journal;
  }

  /**
   * Fences off whoever wrote it before, reads every entry in order through `visit`, and opens the journal for more.
   * @param generation Of the run's lock.
   * @returns The journal, its header, and how many bytes behind the last entry do not count: a torn line, or what came late.
   */
  static async reopen(
    directory: string,
    visit: (entry: JournalEntry) => void,
    { disk = systemDisk, generation = 0 }: { readonly disk?: Disk; readonly generation?: number } = {},
  ): Promise<Reopened> {
    const place = { directory, disk };
    // Nobody held the run before the first holder: it goes on in the file that the run was made with.
    if (generation === 1) return Journal.#openLast(place, visit);
    const { file, number } = await beginNextFile(place);
    const journal = new Journal(place, file, number);
    try {
      const { header, ends } = await readFiles(place, number - 1, visit);
      await journal.append({ kind: "fence", generation, ends });
      return { journal, header, tornBytes: await cutFiles(place, ends) };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  static async #openLast(place: Place, visit: (entry: JournalEntry) => void): Promise<Reopened> {
    const number = (await fileNumbers(place)).length;
    if (number === 0) throw noJournal(place);
    const { header, ends } = await readFiles(place, number, visit);
    const tornBytes = await cutFiles(place, ends);
    const options = { disk: place.disk, confirm: () => assertNotFollowed(place, number) };
    const file = await AppendFile.open(pathIn(place, number), options);
    return { journal: new Journal(place, file, number), header, tornBytes };
  }

  /** Resolves once the entry is on disk. */
  async append(entry: JournalEntry | JournalHeader): Promise<void> {
    if (this.#file.end > JOURNAL_FILE_BYTES_MAX) this.#rotation ??= this.#rotate();
    if (this.#rotation !== null) await this.#rotation;
    await this.#file.append(encodeLine(entry));
  }

  /** Every entry so far, again, in order. Nothing is appended meanwhile. */
  async reread(visit: (entry: JournalEntry) => void): Promise<void> {
    await readFiles(this.#place, this.#number, visit);
  }

  /** Rejects with "aborted" where another process has taken the run over. */
  confirm(): Promise<void> {
    return assertNotFollowed(this.#place, this.#number);
  }

  async close(): Promise<void> {
    await this.#rotation;
    await this.#file.close();
  }

  /** The old file is whole on disk before the new one exists: only the last file may have a torn tail. */
  async #rotate(): Promise<void> {
    await this.#file.close();
    this.#file = await beginFile(this.#place, this.#number + 1);
    this.#number += 1;
    this.#rotation = null;
  }
}

/**
 * The entries of a journal that somebody else may be writing, header first; one that is not whole yet ends them.
 * @param wants Told the JSON of each entry before it is parsed: those it does not want cost little.
 */
export async function* readJournal(
  directory: string,
  { wants, signal }: { readonly wants: (json: Buffer) => boolean; readonly signal?: AbortSignal },
): AsyncGenerator<JournalEntry | JournalHeader> {
  const place = { directory, disk: systemDisk };
  const count = (await fileNumbers(place)).length;
  for (const { path, end } of await extentsOf(place, count)) {
    const options = {
      name: path,
      bytesMax: JOURNAL_LINE_BYTES_MAX,
      ...(signal === undefined ? {} : { signal }),
    };
    for await (const line of readLines(path, options)) {
      if (end !== null && line.offset >= end) break;
      if (!wants(line.bytes)) continue;
      const entry = line.isEnded ? decodeLine(lineText(line)) : null;
      if (entry === null) return;
      yield entry;
    }
  }
}

/** A new file of the journal; "aborted" where another process has begun it. */
async function beginFile(place: Place, number: number): Promise<AppendFile> {
  const { directory, disk } = place;
  try {
    const confirm = (): Promise<void> => assertNotFollowed(place, number);
    const file = await AppendFile.create(pathIn(place, number), { disk, confirm });
    await disk.syncDirectory(directory);
    return file;
  } catch (error) {
    if (error instanceof CoppiceError && error.code === "already_exists") throw fencedOff(place, number);
    throw error;
  }
}

/** Rejects with "aborted" where there is a file behind this one. */
async function assertNotFollowed(place: Place, number: number): Promise<void> {
  if (await place.disk.exists(pathIn(place, number + 1))) throw fencedOff(place, number + 1);
}

/** The file behind the last. The one who wrote that may be about to begin it too: then it is the one behind that. */
async function beginNextFile(place: Place): Promise<{ readonly file: AppendFile; readonly number: number }> {
  for (let race = 1; ; race += 1) {
    const number = (await fileNumbers(place)).length + 1;
    if (number === 1) throw noJournal(place);
    try {
      return { file: await beginFile(place, number), number };
    } catch (error) {
      if (race === NEXT_FILE_RACES_MAX) throw error;
      if (!(error instanceof CoppiceError) || error.code !== "aborted") throw error;
    }
  }
}

function noJournal({ directory }: Place): CoppiceError {
  return new CoppiceError("not_found", `${directory}: expected a journal, found no file of one`);
}

function fencedOff({ directory }: Place, number: number): CoppiceError {
  return new CoppiceError(
    "aborted",
    `${directory}: another process took this run over (it began ${fileName(number)}); nothing that this one writes counts any more`,
  );
}

/** How much of a file counts. */
interface Extent {
  readonly path: string;
  /** Null: all of it. */
  readonly end: number | null;
  /** Whether a line that is not whole may end it. */
  readonly mayBeTorn: boolean;
}

/**
 * What counts of the first `count` files: as the last fence among them says; all of those that follow it, of which only the last
 * may end in a torn line; and nothing of one that whoever began it had written nothing to.
 */
async function extentsOf(place: Place, count: number): Promise<readonly Extent[]> {
  let ends: readonly number[] = [];
  const begun: boolean[] = [];
  for (let number = 1; number <= count; number += 1) {
    const first = await firstEntry(pathIn(place, number), place.disk);
    begun.push(first !== "none");
    if (typeof first === "object" && first.kind === "fence") ({ ends } = first);
  }
  const last = begun.lastIndexOf(true);
  return begun.map((isBegun, index) => ({
    path: pathIn(place, index + 1),
    end: ends[index] ?? (isBegun ? null : 0),
    mayBeTorn: index === last,
  }));
}

/** "none": the file has no line, or one that was torn. "damaged": lines follow one that is not whole. */
async function firstEntry(path: string, disk: Disk): Promise<JournalEntry | "none" | "damaged"> {
  let isFirst = true;
  for await (const line of readLines(path, { name: path, bytesMax: JOURNAL_LINE_BYTES_MAX, disk })) {
    if (!isFirst) return "damaged";
    const entry = line.isEnded ? decodeLine(lineText(line)) : null;
    if (entry !== null) return entry;
    isFirst = false;
  }
  return "none";
}

/** @returns The header, and the end of what counts in each file. */
async function readFiles(
  place: Place,
  count: number,
  visit: (entry: JournalEntry) => void,
): Promise<{ readonly header: JournalHeader; readonly ends: readonly number[] }> {
  let header: JournalHeader | null = null;
  const ends: number[] = [];
  for (const extent of await extentsOf(place, count)) {
    const end = await readEntries(extent, place.disk, (entry) => {
      if (header !== null) visit(entry);
      else if (entry.kind === "sweep") header = entry;
      else
        throw new CoppiceError(
          "data_loss",
          `${extent.path}: expected the journal's header, found "${entry.kind}"`,
        );
    });
    ends.push(end);
    if (extent.end === null) await syncFile(place.disk, extent.path);
  }
  if (header !== null) return { header, ends };
  throw new CoppiceError("data_loss", `${pathIn(place, 1)}: expected the journal's header, found nothing`);
}

/** What was read may not be durable yet, and a fence is to vouch for it: its writer may have died before its own sync. */
async function syncFile(disk: Disk, path: string): Promise<void> {
  const file = await disk.append(path);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** What does not count is cut off, so that the files read well; should we die here, the fence says it all the same. */
async function cutFiles(place: Place, ends: readonly number[]): Promise<number> {
  let cut = 0;
  for (const [index, end] of ends.entries()) {
    const file = await place.disk.append(pathIn(place, index + 1));
    try {
      const size = await file.size();
      if (size <= end) continue;
      await file.truncate(end);
      await file.sync();
      cut += size - end;
    } finally {
      await file.close();
    }
  }
  return cut;
}

function pathIn({ directory }: Place, number: number): string {
  return join(directory, fileName(number));
}

function fileName(number: number): string {
  return `${String(number).padStart(6, "0")}.jsonl`;
}

async function fileNumbers({ directory, disk }: Place): Promise<readonly number[]> {
  const names = await disk.list(directory).catch(() => [] as string[]);
  const numbers = names
    .filter((name) => /^\d{6}\.jsonl$/.test(name))
    .map((name) => Number.parseInt(name, 10));
  numbers.sort((a, b) => a - b);
  const gap = numbers.findIndex((number, index) => number !== index + 1);
  if (gap === -1) return numbers;
  throw new CoppiceError(
    "data_loss",
    `${directory}: expected ${fileName(gap + 1)}, found ${fileName(numbers[gap] ?? 0)}`,
  );
}

function encodeLine(entry: JournalEntry | JournalHeader): string {
  const json = JSON.stringify(entry);
  return `${crc32(json).toString(16).padStart(8, "0")} ${json}\n`;
}

/** @returns The offset behind the last entry that counts. */
async function readEntries(
  { path, end, mayBeTorn }: Extent,
  disk: Disk,
  visit: (entry: JournalEntry | JournalHeader) => void,
): Promise<number> {
  let goodEnd = 0;
  let damagedAt: number | null = null;
  if (end === 0) return 0;
  for await (const line of readLines(path, { name: path, bytesMax: JOURNAL_LINE_BYTES_MAX, disk })) {
    if (end !== null && line.offset >= end) break;
    if (damagedAt !== null) throw damaged(path, damagedAt);
    const entry = line.isEnded ? decodeLine(lineText(line)) : null;
    if (entry === null) {
      damagedAt = line.offset;
    } else {
      visit(entry);
      goodEnd = line.offset + line.bytes.length + 1;
    }
  }
  if (damagedAt !== null && (end !== null || !mayBeTorn)) throw damaged(path, damagedAt);
  if (end === null || goodEnd === end) return goodEnd;
  throw new CoppiceError(
    "data_loss",
    `${path}: expected ${end} bytes of entries (a later file says so), found ${goodEnd}`,
  );
}

function decodeLine(line: string): JournalEntry | JournalHeader | null {
  const json = line.slice(9);
  if (line[8] !== " " || Number.parseInt(line.slice(0, 8), 16) !== crc32(json)) return null;
  return decodeEntry(json);
}

function damaged(path: string, offset: number): CoppiceError {
  return new CoppiceError(
    "data_loss",
    `${path}: expected a journal entry at byte ${offset}, found a damaged line; entries follow it`,
  );
}
