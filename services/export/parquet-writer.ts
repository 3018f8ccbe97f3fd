/**
 * Rows as Parquet (snappy, dictionaries where they pay), in row groups of bounded size: what pandas, pyarrow, polars and
 * Hugging Face datasets load. Texts are UTF-8 strings, whole numbers INT64, chats lists of {role, content}.
 */
import type { FileHandle } from "node:fs/promises";
import { ByteWriter, ParquetWriter, type SchemaElement } from "hyparquet-writer";
import type { Cell, Column, ExportRow, RowWriter } from "./row-writer.ts";

/** Characters of text in a row group before the next is begun; about three times as much is in memory meanwhile. */
export const ROW_GROUP_CHARS_MAX = 32 * 1024 * 1024;
export const ROW_GROUP_ROWS_MAX = 20_000;

export function createParquetWriter(file: FileHandle, columns: readonly Column[]): RowWriter {
  const bytes = new ByteWriter();
  const root: SchemaElement = { name: "root", num_children: columns.length };
  const schema = [root, ...columns.flatMap(schemaOf)];
  const parquet = new ParquetWriter({ writer: bytes, schema, createdBy: "coppice" });
  let rows: ExportRow[] = [];
  let chars = 0;

  const drain = async (): Promise<void> => {
    await file.writeFile(bytes.getBytes());
    // `offset` goes on: it is where the file ends.
    bytes.index = 0;
  };
  const writeGroup = async (): Promise<void> => {
    if (rows.length === 0) return;
    const group = rows;
    rows = [];
    chars = 0;
    const columnData = columns.map(({ name, type }) => {
      return { name, data: group.map((row) => parquetValue(row[name] ?? null, type)) };
    });
    await parquet.write({ columnData, rowGroupSize: group.length });
    await drain();
  };
  return {
    write: (row) => {
      rows.push(row);
      for (const cell of Object.values(row)) chars += charsOf(cell);
      const isFull = rows.length >= ROW_GROUP_ROWS_MAX || chars >= ROW_GROUP_CHARS_MAX;
      return isFull ? writeGroup() : Promise.resolve();
    },
    end: async () => {
      await writeGroup();
      await parquet.finish();
      await drain();
    },
  };
}

function schemaOf({ name, type, isNullable }: Column): readonly SchemaElement[] {
  const place = { name, repetition_type: isNullable ? "OPTIONAL" : "REQUIRED" } as const;
  switch (type) {
    case "text":
      return [{ ...place, type: "BYTE_ARRAY", converted_type: "UTF8" }];
    case "whole":
      return [{ ...place, type: "INT64" }];
    case "number":
      return [{ ...place, type: "DOUBLE" }];
    case "messages":
      return [
        { ...place, converted_type: "LIST", num_children: 1 },
        { name: "list", repetition_type: "REPEATED", num_children: 1 },
        { name: "element", repetition_type: "REQUIRED", num_children: 2 },
        { name: "role", repetition_type: "REQUIRED", type: "BYTE_ARRAY", converted_type: "UTF8" },
        { name: "content", repetition_type: "REQUIRED", type: "BYTE_ARRAY", converted_type: "UTF8" },
      ];
  }
}

function parquetValue(cell: Cell, type: Column["type"]): unknown {
  return type === "whole" && typeof cell === "number" ? BigInt(Math.round(cell)) : cell;
}

function charsOf(cell: Cell): number {
  if (typeof cell === "string") return cell.length;
  return Array.isArray(cell) ? cell.reduce((sum, { content }) => sum + content.length, 0) : 0;
}
