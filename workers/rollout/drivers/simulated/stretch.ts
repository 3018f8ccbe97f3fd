/**
 * Steps in a row whose batch does not change, in closed form: step i lasts `firstMs + i * growthMs`, since each step leaves one
 * more token of each sequence for the next one to read. Times are computed from the beginning of the stretch always, so
 * they do not depend on how often one looks.
 */
export class Stretch {
  readonly startMs: number;
  readonly #firstMs: number;
  readonly #growthMs: number;
  /** Steps that will be done unless something comes between. */
  steps: number;
  /** Steps that were done. */
  done = 0;
  endMs: number;

  constructor(startMs: number, step: { firstMs: number; growthMs: number; steps: number }) {
    this.startMs = startMs;
    this.#firstMs = step.firstMs;
    this.#growthMs = step.growthMs;
    this.steps = step.steps;
    this.endMs = this.timeOf(step.steps);
  }

  /** When the first `steps` steps are done. */
  timeOf(steps: number): number {
    return this.startMs + steps * this.#firstMs + (this.#growthMs * steps * (steps - 1)) / 2;
  }

  /** The fewest steps that are not done before a time; at most `steps`. */
  stepsUntil(atMs: number): number {
    if (this.endMs <= atMs) return this.steps;
    let steps = Math.min(this.steps, Math.max(0, Math.floor(this.#solve(atMs - this.startMs))));
    while (steps > 0 && this.timeOf(steps - 1) >= atMs) steps -= 1;
    while (steps < this.steps && this.timeOf(steps) < atMs) steps += 1;
    return steps;
  }

  /** The steps that are done by a time. */
  stepsBy(atMs: number): number {
    const steps = this.stepsUntil(atMs);
    return this.timeOf(steps) <= atMs ? steps : Math.max(0, steps - 1);
  }

  /** Ends it earlier, but not before the step that is under way. */
  shorten(steps: number): void {
    const least = this.done + 1;
    if (steps >= this.steps) return;
    this.steps = Math.max(least, steps);
    this.endMs = this.timeOf(this.steps);
  }

  /** Steps, not whole, that take so many milliseconds. */
  #solve(ms: number): number {
    if (this.#growthMs === 0) return ms / this.#firstMs;
    const half = this.#firstMs - this.#growthMs / 2;
    // The stable form of the root: the growth is tiny beside the first step.
    return (2 * ms) / (half + Math.sqrt(half * half + 2 * this.#growthMs * ms));
  }
}
