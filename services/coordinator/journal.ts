/**
 * The journal: an append-only record of what was settled, in settlement order (I2). Replaying it rebuilds every search.
 *
 * `journal/000001.jsonl`, `000002.jsonl`, ...: a line per entry, its CRC-32 in eight hex digits, a space, the
 * entry as JSON. Readable with `less`, and a line that was cut short by a crash is told by its missing newline or
 * its CRC. The first line of the first file is the header.
 *
 * Invariants: (1) an entry is on disk before `append` resolves, and they resolve in order; (2) a torn last line is cut
 * off when the journal is opened; a damaged line anywhere else is data loss and refused with file and offset.
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

export class Journal {
  readonly #directory: string;
  readonly #disk: Disk;
  #file: AppendFile;
  #number: number;
  #rotation: Promise<void> | null = null;

  private constructor(
    place: { readonly directory: string; readonly disk: Disk },
    file: AppendFile,
    number: number,
  ) {
    this.#directory = place.directory;
    this.#disk = place.disk;
    this.#file = file;
    this.#number = number;
  }

  /** Begins a journal in a new directory. */
  static async create(directory: string, header: JournalHeader, disk: Disk = systemDisk): Promise<Journal> {
    await disk.makeDirectory(directory);
    const file = await AppendFile.open(join(directory, fileName(1)), { disk });
    const journal = new Journal({ directory, disk }, file, 1);
    await journal.append(header);
    await disk.syncDirectory(directory);
    return journal;
  }

  /**
   * Reads every entry in order through `visit`, cuts a torn tail, and opens the journal for more.
   * @returns The journal, its header, and how many bytes of a torn line were cut.
   */
  static async reopen(
    directory: string,
    visit: (entry: JournalEntry) => void,
    disk: Disk = systemDisk,
  ): Promise<{ readonly journal: Journal; readonly header: JournalHeader; readonly tornBytes: number }> {
    const numbers = await fileNumbers(directory, disk);
    const last = numbers.at(-1);
    if (last === undefined)
      throw new CoppiceError("not_found", `${directory}: expected a journal, found no file of one`);
    let header: JournalHeader | null = null;
    let goodEnd = 0;
    for (const number of numbers) {
      const path = join(directory, fileName(number));
      goodEnd = await readEntries({ path, disk, isLast: number === last }, (entry) => {
        if (header !== null) visit(entry);
        else if (entry.kind === "sweep") header = entry;
        else
          throw new CoppiceError(
            "data_loss",
            `${path}: expected the journal's header, found "${entry.kind}"`,
          );
      });
    }
    const path = join(directory, fileName(last));
    if (header === null)
      throw new CoppiceError("data_loss", `${path}: expected the journal's header, found nothing`);
    const whole = await AppendFile.open(path, { disk });
    const tornBytes = whole.end - goodEnd;
    await whole.close();
    const file = await AppendFile.open(path, { truncateTo: goodEnd, disk });
    return { journal: new Journal({ directory, disk }, file, last), header, tornBytes };
  }

  /** Resolves once the entry is on disk. */
  async append(entry: JournalEntry | JournalHeader): Promise<void> {
    if (this.#file.end > JOURNAL_FILE_BYTES_MAX) this.#rotation ??= this.#rotate();
    if (this.#rotation !== null) await this.#rotation;
    await this.#file.append(encodeLine(entry));
  }

  async close(): Promise<void> {
    await this.#rotation;
    await this.#file.close();
  }

  /** The old file is whole on disk before the new one exists: only the last file may have a torn tail. */
  async #rotate(): Promise<void> {
    await this.#file.close();
    const path = join(this.#directory, fileName(this.#number + 1));
    this.#file = await AppendFile.open(path, { disk: this.#disk });
    await this.#disk.syncDirectory(this.#directory);
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
  for (const number of await fileNumbers(directory, systemDisk)) {
    const path = join(directory, fileName(number));
    const options = {
      name: path,
      bytesMax: JOURNAL_LINE_BYTES_MAX,
      ...(signal === undefined ? {} : { signal }),
    };
    for await (const line of readLines(path, options)) {
      if (!wants(line.bytes)) continue;
      const entry = line.isEnded ? decodeLine(lineText(line)) : null;
      if (entry === null) return;
      yield entry;
    }
  }
}

function fileName(number: number): string {
  return `${String(number).padStart(6, "0")}.jsonl`;
}

async function fileNumbers(directory: string, disk: Disk): Promise<readonly number[]> {
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

/** @returns The offset behind the last good line. */
async function readEntries(
  { path, disk, isLast }: { readonly path: string; readonly disk: Disk; readonly isLast: boolean },
  visit: (entry: JournalEntry | JournalHeader) => void,
): Promise<number> {
  let goodEnd = 0;
  let damagedAt: number | null = null;
  for await (const line of readLines(path, { name: path, bytesMax: JOURNAL_LINE_BYTES_MAX, disk })) {
    if (damagedAt !== null) throw damaged(path, damagedAt);
    const entry = line.isEnded ? decodeLine(lineText(line)) : null;
    if (entry === null) {
      damagedAt = line.offset;
    } else {
      visit(entry);
      goodEnd = line.offset + line.bytes.length + 1;
    }
  }
  if (damagedAt !== null && !isLast) throw damaged(path, damagedAt);
  return goodEnd;
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
