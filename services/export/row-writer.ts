/** What an export writes: rows of named columns, one by one. Two files hold them: JSON Lines and Parquet. */

/** A turn of a chat. */
export interface Message {
  readonly role: "user" | "assistant";
  readonly content: string;
}

export type Cell = string | number | null | readonly Message[];
export type ExportRow = Readonly<Record<string, Cell>>;

export interface Column {
  readonly name: string;
  readonly type: "text" | "whole" | "number" | "messages";
  readonly isNullable: boolean;
}

export interface RowWriter {
  /** Resolves once more may be written; what was written may still wait in memory, up to a bound of the writer's own. */
  write(row: ExportRow): Promise<void>;
  /** Writes what waits, and the end of the file. Syncing and closing the file is its owner's. */
  end(): Promise<void>;
}

/** A column that every row fills. */
export function filled(name: string, type: Column["type"]): Column {
  return { name, type, isNullable: false };
}

export function nullable(name: string, type: Column["type"]): Column {
  return { name, type, isNullable: true };
}
