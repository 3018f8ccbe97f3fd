/** Rows as JSON Lines. */
import type { FileHandle } from "node:fs/promises";
import type { ExportRow, RowWriter } from "./row-writer.ts";

/** Characters that are written at once. */
const CHUNK_CHARS = 256 * 1024;

export function createJsonlWriter(file: FileHandle): RowWriter {
  let chunk = "";
  const flush = async (): Promise<void> => {
    const text = chunk;
    chunk = "";
    await file.writeFile(text);
  };
  return {
    write: (row: ExportRow) => {
      chunk += `${JSON.stringify(row)}\n`;
      return chunk.length < CHUNK_CHARS ? Promise.resolve() : flush();
    },
    end: flush,
  };
}
