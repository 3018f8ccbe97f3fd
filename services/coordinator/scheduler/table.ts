/**
 * Rows of whole numbers in one typed array: a million rows are a few tens of megabytes that the garbage collector never
 * walks, and a row of eight or sixteen fields lies in one line of a processor's cache. Rows that were released are
 * used again before the table grows.
 */

/** No row: the end of a list, an absent link. */
export const NONE = -1;

const ROWS = 1_024;

export class Table {
  readonly #width: number;
  #cells: Int32Array<ArrayBuffer>;
  #used = 0;
  /** First of the rows that are free again, linked by their first field. */
  #free = NONE;

  /** A power of two keeps rows within lines. */
  constructor(width: number) {
    this.#width = width;
    this.#cells = new Int32Array(width * ROWS);
  }

  get(row: number, field: number): number {
    // The table hands out its rows, so a row is always within its cells.
    return this.#cells[row * this.#width + field] as number;
  }

  set(row: number, field: number, value: number): void {
    this.#cells[row * this.#width + field] = value;
  }

  /** @returns What the field holds now. */
  add(row: number, field: number, change: number): number {
    const cell = row * this.#width + field;
    const value = (this.#cells[cell] as number) + change; // as in `get`
    this.#cells[cell] = value;
    return value;
  }

  /** A row of zeros. */
  allocate(): number {
    if (this.#free !== NONE) {
      const row = this.#free;
      this.#free = this.get(row, 0);
      this.#cells.fill(0, row * this.#width, (row + 1) * this.#width);
      return row;
    }
    if (this.#used * this.#width === this.#cells.length) {
      const cells = new Int32Array(2 * this.#cells.length);
      cells.set(this.#cells);
      this.#cells = cells;
    }
    this.#used += 1;
    return this.#used - 1;
  }

  release(row: number): void {
    this.set(row, 0, this.#free);
    this.#free = row;
  }
}
