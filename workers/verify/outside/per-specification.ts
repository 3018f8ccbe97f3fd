/** What a judge keeps per specification: two sweeps with the same options share it, others have their own. */
import { CoppiceError } from "../../../services/runtime/errors.ts";

/** What judges under one specification. */
export interface Bench {
  /** Whether nobody waits for it. */
  isIdle(): boolean;
  /** Stops everything that it started; what runs rejects with "unavailable". Safe to call twice. */
  close(): Promise<void>;
}

/** Specifications of one kind that a worker judges under at once. */
export const SPECIFICATIONS_MAX = 16;

export class PerSpecification<Options extends object, B extends Bench> {
  /** The least recently used first. */
  readonly #benches = new Map<string, B>();
  readonly #closing = new Set<Promise<void>>();
  readonly #create: (options: Options) => B;
  #isClosed = false;

  constructor(create: (options: Options) => B) {
    this.#create = create;
  }

  /**
   * Throws "resource_exhausted" where too many are at work, "unavailable" when closed.
   * @param options Parsed: keys always in the same order.
   */
  of(options: Options): B {
    if (this.#isClosed) throw new CoppiceError("unavailable", "the judge is closed");
    const key = JSON.stringify(options);
    const bench = this.#benches.get(key) ?? this.#add(options);
    this.#benches.delete(key);
    this.#benches.set(key, bench);
    return bench;
  }

  #add(options: Options): B {
    if (this.#benches.size >= SPECIFICATIONS_MAX) this.#dropIdle();
    return this.#create(options);
  }

  #dropIdle(): void {
    const idle = [...this.#benches].find(([, bench]) => bench.isIdle());
    if (idle === undefined) {
      throw new CoppiceError(
        "resource_exhausted",
        `expected at most ${SPECIFICATIONS_MAX} specifications of a verifier at once, found one more`,
      );
    }
    this.#benches.delete(idle[0]);
    const closed = idle[1].close().finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }

  benches(): Iterable<B> {
    return this.#benches.values();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#closing, ...[...this.#benches.values()].map((bench) => bench.close())]);
  }
}
