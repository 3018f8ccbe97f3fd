/**
 * The run directory: everything that a sweep leaves on disk. The layout is a contract with users (formats.md, "Run directory").
 *
 * Invariants: (1) a directory under its final name is complete enough to resume: it is filled under another name and
 * renamed; (2) rows of a task are on disk before the journal says that it settled, and what stands behind the last
 * settled entry is cut off on resume, so each task has its rows exactly once; (3) one process writes at a time (`run-lock.ts`); rows of a holder that was taken for dead go to files that are no longer these.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, rm, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Disk, systemDisk, writeNewFile } from "../runtime/disk.ts";
import { CoppiceError, messageOf } from "../runtime/errors.ts";
import { lineText, readLines } from "../runtime/lines.ts";
import { AppendFile } from "./append-file.ts";
import { replaceRows, type Replacing } from "./row-copies.ts";
import type { Problem } from "./sweep.ts";

export const RUN_FILES = {
  given: "sweep.yaml",
  resolved: "resolved.yaml",
  problems: "problems.jsonl",
  journal: "journal",
  rollouts: "rollouts.jsonl",
  results: "results.jsonl",
  metrics: "metrics.jsonl",
  decisions: "decisions.jsonl",
  summary: "summary.json",
  logs: "logs",
  lock: "lock",
} as const;

/** Bytes of the problems' file that are written at once. */
const PROBLEMS_CHUNK_BYTES = 256 * 1024;

export interface ProblemsFile {
  readonly count: number;
  readonly sha256: string;
}

/**
 * Writes a new run directory, all but its journal. Refuses a path that exists.
 * @param begin Called with the directory under its temporary name to begin the journal.
 */
export async function createRunDirectory(
  path: string,
  content: {
    readonly given: string;
    readonly resolved: string;
    readonly problems: Iterable<Problem> | AsyncIterable<Problem>;
  },
  begin: (path: string, problems: ProblemsFile) => Promise<void>,
  disk: Disk = systemDisk,
): Promise<void> {
  if (await disk.exists(path)) {
    throw new CoppiceError(
      "already_exists",
      `${path}: expected a new run directory, found one that exists; ` +
        `go on with it by \`coppice run --resume ${path}\`, or name another with \`--set output=...\``,
    );
  }
  // A name of its own: two clients may submit the same sweep at once, and a process may have died here before.
  const partial = join(dirname(path), `.${basename(path)}.partial-${randomUUID()}`);
  try {
    await disk.makeDirectory(join(partial, RUN_FILES.logs), { isDeep: true });
    await writeNewFile(disk, join(partial, RUN_FILES.given), content.given);
    await writeNewFile(disk, join(partial, RUN_FILES.resolved), content.resolved);
    await begin(partial, await writeProblems(disk, join(partial, RUN_FILES.problems), content.problems));
    await disk.syncDirectory(partial);
    await disk.rename(partial, path);
    await disk.syncDirectory(dirname(path));
  } catch (error) {
    await disk.remove(partial);
    if (error instanceof CoppiceError) throw error;
    throw new CoppiceError(
      "failed_precondition",
      `${path}: cannot write the run directory: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

/**
 * The problems of a run, in their order, one at a time (I6).
 * @throws data_loss naming the line that is damaged.
 */
export async function* readRunProblems(path: string, disk: Disk = systemDisk): AsyncGenerator<Problem> {
  const file = join(path, RUN_FILES.problems);
  for await (const line of readLines(file, { name: file, disk })) {
    let problem: Problem;
    try {
      // We wrote this file ourselves, from problems that were checked; its hash stands in the journal's header.
      problem = JSON.parse(lineText(line)) as Problem;
    } catch (error) {
      throw new CoppiceError("data_loss", `${file}:${line.number}: not JSON: ${messageOf(error)}`, {
        cause: error,
      });
    }
    yield problem;
  }
}

/** Counts and hashes the problems of a run that exists: the journal's header must agree. */
export async function hashRunProblems(path: string, disk: Disk = systemDisk): Promise<ProblemsFile> {
  const hash = createHash("sha256");
  let count = 0;
  const file = join(path, RUN_FILES.problems);
  if (!(await disk.exists(file)))
    throw new CoppiceError(
      "not_found",
      `${path}: expected a run directory, found no ${RUN_FILES.problems} in it`,
    );
  for await (const { bytes } of readLines(file, { name: file, disk })) {
    hash.update(bytes).update("\n");
    count += 1;
  }
  return { count, sha256: hash.digest("hex") };
}

export interface RowsOptions {
  readonly disk?: Disk;
  /** Somebody may still append to the files: they are copied, so that he appends to none of ours. */
  readonly isFenced?: boolean;
  /** Asked right before a file is replaced or cut: rejects where the run is another's by now, and the files are his. */
  readonly confirm?: () => Promise<void>;
}

/** The rows of a run. Both files end where the last settled entry of the journal says. */
export class Rows {
  readonly #rollouts: AppendFile;
  readonly #results: AppendFile;

  private constructor(rollouts: AppendFile, results: AppendFile) {
    this.#rollouts = rollouts;
    this.#results = results;
  }

  static async open(
    path: string,
    ends: { readonly rolloutsEnd: number; readonly resultsEnd: number },
    { disk = systemDisk, isFenced = false, confirm = async () => undefined }: RowsOptions = {},
  ): Promise<Rows> {
    if (isFenced) {
      const renew = (name: string, end: number): Promise<void> =>
        renewFile(join(path, name), end, { disk, confirm });
      await renew(RUN_FILES.rollouts, ends.rolloutsEnd);
      await renew(RUN_FILES.results, ends.resultsEnd);
      await disk.syncDirectory(path);
    }
    const open = (name: string, truncateTo: number): Promise<AppendFile> =>
      AppendFile.open(join(path, name), { truncateTo, disk, confirmCut: confirm });
    const rollouts = await open(RUN_FILES.rollouts, ends.rolloutsEnd);
    return new Rows(rollouts, await open(RUN_FILES.results, ends.resultsEnd));
  }

  /** Resolves with the files' ends once the rows of one task are on disk. */
  async append(
    rollouts: readonly Readonly<Record<string, unknown>>[],
    result: Readonly<Record<string, unknown>>,
  ): Promise<{ readonly rolloutsEnd: number; readonly resultsEnd: number }> {
    const [rolloutsEnd, resultsEnd] = await Promise.all([
      this.#rollouts.append(rollouts.map((row) => `${JSON.stringify(row)}\n`).join("")),
      this.#results.append(`${JSON.stringify(result)}\n`),
    ]);
    return { rolloutsEnd, resultsEnd };
  }

  async close(): Promise<void> {
    await Promise.all([this.#rollouts.close(), this.#results.close()]);
  }
}

/** Puts the first `end` bytes of a file in its place, as another file: who holds the old one open writes nowhere. */
async function renewFile(path: string, end: number, replacing: Replacing): Promise<void> {
  const { disk } = replacing;
  if (!(await disk.exists(path))) return;
  await replaceRows(path, replacing, async (file) => {
    let left = end;
    for await (const chunk of disk.chunks(path)) {
      const counts = chunk.subarray(0, left);
      await file.write([counts]);
      left -= counts.length;
      if (left === 0) break;
    }
  });
}

/** Writes a whole file so that a reader sees the old one or the new one. */
export async function replaceFile(path: string, text: string, disk: Disk = systemDisk): Promise<void> {
  const partial = `${path}.partial-${process.pid}`;
  // One that died here left its own behind.
  await disk.remove(partial);
  await writeNewFile(disk, partial, text);
  await disk.rename(partial, path);
}

/** Makes `logs/attempt-N` for the next attempt at the run, points `logs/latest` at it, and says where it is. */
export async function beginAttempt(
  path: string,
): Promise<{ readonly attempt: number; readonly logs: string }> {
  for (let attempt = 1; ; attempt += 1) {
    const logs = join(path, RUN_FILES.logs, `attempt-${attempt}`);
    if (await exists(logs)) continue;
    await mkdir(logs, { recursive: true });
    const latest = join(path, RUN_FILES.logs, "latest");
    await rm(latest, { force: true });
    await symlink(`attempt-${attempt}`, latest);
    return { attempt, logs };
  }
}

async function writeProblems(
  disk: Disk,
  path: string,
  problems: Iterable<Problem> | AsyncIterable<Problem>,
): Promise<ProblemsFile> {
  const hash = createHash("sha256");
  const file = await disk.append(path, { isNew: true });
  let count = 0;
  let chunk = "";
  try {
    for await (const problem of problems) {
      chunk += `${JSON.stringify(problem)}\n`;
      count += 1;
      if (chunk.length < PROBLEMS_CHUNK_BYTES) continue;
      hash.update(chunk);
      await file.write([Buffer.from(chunk, "utf8")]);
      chunk = "";
    }
    hash.update(chunk);
    await file.write([Buffer.from(chunk, "utf8")]);
    await file.sync();
  } finally {
    await file.close();
  }
  if (count === 0)
    throw new CoppiceError("invalid_argument", "problems: expected at least one problem, found none");
  return { count, sha256: hash.digest("hex") };
}

/** Whether anything stands at this path. */
export function exists(path: string): Promise<boolean> {
  return systemDisk.exists(path);
}
