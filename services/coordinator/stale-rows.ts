/**
 * Takes the rows of tasks that were taken up again out of a run's files: each task has its rows once. Doing it
 * again, after a crash between the two files, changes nothing more.
 */
import { join } from "node:path";
import { lineText, readLines } from "../runtime/lines.ts";
import type { RowsEntry } from "./journal-entry.ts";
import { replaceRows, type Replacing } from "./row-copies.ts";
import { RUN_FILES } from "./run-directory.ts";

/** Bytes that are written at once. */
const CHUNK_BYTES = 1024 * 1024;
/** How rows begin. */
const TASK = /^\{"task":("(?:[^"\\]|\\.)*")/;

export interface StaleRows extends Replacing {
  /** Tasks whose rows do not count. */
  readonly tasks: ReadonlySet<string>;
  /** How much of the files the journal vouches for. */
  readonly rolloutsEnd: number;
  readonly resultsEnd: number;
}

/** @returns The ends of the files without these rows, to be journaled. */
export async function dropStaleRows(directory: string, stale: StaleRows): Promise<RowsEntry> {
  const rolloutsEnd = await dropFrom(join(directory, RUN_FILES.rollouts), stale.rolloutsEnd, stale);
  const resultsEnd = await dropFrom(join(directory, RUN_FILES.results), stale.resultsEnd, stale);
  await stale.disk.syncDirectory(directory);
  return { kind: "rows", rolloutsEnd, resultsEnd };
}

async function dropFrom(path: string, end: number, { tasks, disk, confirm }: StaleRows): Promise<number> {
  if (!(await disk.exists(path))) return 0;
  return replaceRows(path, { disk, confirm }, async (file) => {
    let size = 0;
    let chunk: Buffer[] = [];
    let chunkBytes = 0;
    const write = async (): Promise<void> => {
      await file.write(chunk);
      size += chunkBytes;
      chunk = [];
      chunkBytes = 0;
    };
    for await (const line of readLines(path, { name: path, disk })) {
      if (line.offset >= end) break;
      if (tasks.has(taskOf(lineText(line)))) continue;
      chunk.push(Buffer.from(line.bytes), Buffer.from("\n"));
      chunkBytes += line.bytes.length + 1;
      if (chunkBytes >= CHUNK_BYTES) await write();
    }
    await write();
    return size;
  });
}

function taskOf(row: string): string {
  const quoted = TASK.exec(row)?.[1];
  // We wrote these rows ourselves.
  const { task } =
    quoted === undefined ? (JSON.parse(row) as { task: string }) : { task: JSON.parse(quoted) as string };
  return task;
}
