/** A promise that the simulated world found broken. */
export class Violation extends Error {
  constructor(promise: string, found: string) {
    super(`${promise}: ${found}`);
    this.name = "Violation";
  }
}

/** What happened, as a hash over everything and the last lines in words: two worlds of one seed have equal traces. */
export class Trace {
  static readonly #linesMax = 60;
  readonly #lines: string[] = [];
  readonly #tell: ((line: string) => void) | null;
  #hash = 0x811c9dc5;
  #count = 0;

  constructor(tell: ((line: string) => void) | null = null) {
    this.#tell = tell;
  }

  add(atMs: number, what: string): void {
    const line = `${atMs.toFixed(1)} ${what}`;
    for (let at = 0; at < line.length; at += 1)
      this.#hash = Math.imul(this.#hash ^ line.charCodeAt(at), 0x01000193);
    this.#count += 1;
    this.#lines.push(line);
    if (this.#lines.length > Trace.#linesMax) this.#lines.shift();
    this.#tell?.(line);
  }

  get digest(): string {
    return `${this.#count}-${(this.#hash >>> 0).toString(16)}`;
  }

  get last(): readonly string[] {
    return this.#lines;
  }
}
