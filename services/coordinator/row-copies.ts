/**
 * Files of rows that take the place of others, while somebody who was taken for dead may wake up at any moment. A copy is written under
 * another name and synced; whoever writes it asks whether the run is still his, and renames it.
 *
 * Between that question and the rename he may be stopped and followed. So whoever opens a run takes all copies away once the journal's
 * fence stands, before it writes one of its own: a copy whose writer found the run to be his was there before the fence, and his late
 * rename finds nothing. Copies of those that died are taken away with them.
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { Disk, DiskFile } from "../runtime/disk.ts";

export interface Replacing {
  readonly disk: Disk;
  /** Asked right before the rename: rejects where the run is another's by now. */
  readonly confirm: () => Promise<void>;
}

/** @param write Fills the file that is to stand at `path`; where it rejects, what stood there stands. */
export async function replaceRows<T>(
  path: string,
  { disk, confirm }: Replacing,
  write: (file: DiskFile) => Promise<T>,
): Promise<T> {
  const copy = `${copyOf(path)}${randomUUID()}`;
  const file = await disk.append(copy, { isNew: true });
  try {
    const written = await write(file);
    await file.sync();
    await confirm();
    await disk.rename(copy, path);
    return written;
  } catch (error) {
    await disk.remove(copy);
    throw error;
  } finally {
    await file.close();
  }
}

/** @param names Of the files whose copies these are. */
export async function removeCopies(directory: string, names: readonly string[], disk: Disk): Promise<void> {
  const copies = names.map(copyOf);
  for (const name of await disk.list(directory))
    if (copies.some((copy) => name.startsWith(copy))) await disk.remove(join(directory, name));
}

function copyOf(path: string): string {
  return `${path}.partial-`;
}
