/**
 * A feed: pushed at one end, read with `for await` at the other. It does not bound itself: whoever pushes owns the
 * bound and says so. One reader.
 */
export class Feed<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  #end: { readonly error: unknown } | "clean" | null = null;
  #wake: (() => void) | null = null;

  /** Items pushed and not yet read. */
  get size(): number {
    return this.#items.length;
  }

  /** Does nothing after the end. */
  push(item: T): void {
    if (this.#end !== null) return;
    this.#items.push(item);
    this.#notify();
  }

  /** The reader gets what was pushed before, then the end. Safe to call twice. */
  end(): void {
    this.#end ??= "clean";
    this.#notify();
  }

  /** The reader gets what was pushed before, then `error` is thrown. Does nothing after the end. */
  fail(error: unknown): void {
    this.#end ??= { error };
    this.#notify();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      while (this.#items.length > 0) {
        // A chunk at a time, so that a long backlog is not shifted item by item.
        for (const item of this.#items.splice(0, this.#items.length)) yield item;
      }
      if (this.#end === "clean") return;
      if (this.#end !== null) throw this.#end.error;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}
