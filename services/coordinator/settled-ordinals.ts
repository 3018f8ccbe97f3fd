/**
 * Which tasks of a run are settled, by ordinal. Tasks settle roughly in the order in which they were opened, so all but a few of the
 * settled ones are those below the first that is not: memory grows with what overtook it, not with the sweep (I6).
 */
export class SettledOrdinals {
  /** Every ordinal below this one is settled. */
  #until = 0;
  readonly #beyond = new Set<number>();

  get size(): number {
    return this.#until + this.#beyond.size;
  }

  has(ordinal: number): boolean {
    return ordinal < this.#until || this.#beyond.has(ordinal);
  }

  /** Again is safe. */
  add(ordinal: number): void {
    if (ordinal < this.#until) return;
    this.#beyond.add(ordinal);
    while (this.#beyond.delete(this.#until)) this.#until += 1;
  }
}
