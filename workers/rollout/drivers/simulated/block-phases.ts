/**
 * When decoding sequences need their next block. Each needs one every `blockTokens` steps, so the sequences are counted by the
 * phase of the step (its number modulo `blockTokens`) in which they do.
 */
export class BlockPhases {
  readonly #blockTokens: number;
  readonly #counts: number[];
  /** Sequences that are counted. */
  #all = 0;

  constructor(blockTokens: number) {
    this.#blockTokens = blockTokens;
    this.#counts = Array.from({ length: blockTokens }, () => 0);
  }

  /** @param origin Computed tokens of the sequence less the number of the step. */
  add(origin: number): void {
    this.#change(origin, 1);
  }

  remove(origin: number): void {
    this.#change(origin, -1);
  }

  /** Blocks that `steps` steps from the step `from` on need. */
  needs(from: number, steps: number): number {
    const whole = Math.floor(steps / this.#blockTokens);
    let blocks = whole * this.#all;
    const rest = steps - whole * this.#blockTokens;
    let phase = from % this.#blockTokens;
    for (let step = 0; step < rest; step += 1) {
      blocks += this.#counts[phase] ?? 0;
      phase = phase + 1 === this.#blockTokens ? 0 : phase + 1;
    }
    return blocks;
  }

  /** How many steps from the step `from` on need no more than `blocks`; at most `stepsMax`. */
  stepsWithin(from: number, blocks: number, stepsMax: number): number {
    // Cheap and nearly always enough: no step of a whole round needs more than one block each.
    if (Math.ceil(stepsMax / this.#blockTokens) * this.#all <= blocks) return stepsMax;
    const whole = this.#all === 0 ? stepsMax : Math.floor(blocks / this.#all);
    let steps = Math.min(stepsMax, whole * this.#blockTokens);
    let left = blocks - this.needs(from, steps);
    while (steps < stepsMax) {
      left -= this.#counts[(from + steps) % this.#blockTokens] ?? 0;
      if (left < 0) break;
      steps += 1;
    }
    return steps;
  }

  #change(origin: number, by: number): void {
    const phase =
      (this.#blockTokens - (((origin % this.#blockTokens) + this.#blockTokens) % this.#blockTokens)) %
      this.#blockTokens;
    this.#counts[phase] = (this.#counts[phase] ?? 0) + by;
    this.#all += by;
  }
}
