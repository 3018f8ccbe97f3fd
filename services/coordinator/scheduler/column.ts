/**
 * One number per row of a table, in one typed array: a million rows are a few megabytes that the garbage collector never
 * walks. A table is a class with one column for each thing it knows of a row.
 */
export type Column = Int32Array<ArrayBuffer>;

/** No row: the end of a list, an absent link. */
export const NONE = -1;

export function at(column: Column, row: number): number {
  // The tables hand out their rows, so a row is always within its columns.
  return column[row] as number;
}

/** @returns What the row holds now. */
export function add(column: Column, row: number, change: number): number {
  const value = at(column, row) + change;
  column[row] = value;
  return value;
}

/** The column with room for so many rows; new ones hold 0. */
export function grown(column: Column, rows: number): Column {
  const wider = new Int32Array(rows);
  wider.set(column);
  return wider;
}
