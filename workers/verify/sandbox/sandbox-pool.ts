/**
 * Sandboxes that wait for their programs, so that a program does not wait for its sandbox. Calls `sandbox.ts`.
 *
 * 1. A sandbox is used once and never again; one that was taken is replaced at once.
 * 2. Spares are kept for the confinements asked for last, never more than `sparesMax` of them in all.
 */
import type { Clock } from "../../../services/runtime/clock.ts";
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { Confinement, Tools } from "./confinement.ts";
import type { Program, ProgramLimits, ProgramOutcome } from "./program.ts";
import { Sandbox } from "./sandbox.ts";

export interface SandboxPoolOptions {
  readonly clock: Clock;
  readonly tools: Tools;
  /** Sandboxes that wait for one confinement; 0 starts each when it is needed. */
  readonly spares: number;
}

/** Confinements for which spares are kept. */
const CONFINEMENTS_MAX = 2;
const MS_PER_S = 1_000;

export class SandboxPool {
  readonly #options: SandboxPoolOptions;
  /** By confinement, that asked for last at the end. */
  readonly #spares = new Map<string, Sandbox[]>();
  readonly #alive = new Set<Sandbox>();
  readonly #closed = new AbortController();

  constructor(options: SandboxPoolOptions) {
    this.#options = options;
  }

  /**
   * Runs a program in a sandbox of its own, which is gone when this settles. Rejects with the signal's reason when it
   * aborts, and with "unavailable" when a sandbox does not start or the pool is closed.
   */
  async run(program: Program, limits: ProgramLimits, signal: AbortSignal): Promise<ProgramOutcome> {
    signal.throwIfAborted();
    this.#closed.signal.throwIfAborted();
    const { memoryMib, processesMax, tmpMib, wallMs } = limits;
    // The limit of wall time comes first for a program of one thread.
    const cpuSeconds = Math.ceil(wallMs / MS_PER_S) + 1;
    const sandbox = this.#take({ language: program.language, memoryMib, processesMax, tmpMib, cpuSeconds });
    return await sandbox.run(program, limits, AbortSignal.any([signal, this.#closed.signal]));
  }

  /** Kills every sandbox; resolves when nothing of them is left. What runs rejects with "unavailable". */
  async close(): Promise<void> {
    this.#closed.abort(new CoppiceError("unavailable", "the sandboxes are closed"));
    this.#spares.clear();
    const alive = [...this.#alive];
    for (const sandbox of alive) sandbox.kill();
    await Promise.all(alive.map((sandbox) => sandbox.gone));
  }

  #take(confinement: Confinement): Sandbox {
    const key = JSON.stringify(confinement);
    const spares = (this.#spares.get(key) ?? []).filter((spare) => !spare.isGone);
    const taken = spares.shift() ?? this.#start(confinement);
    while (spares.length < this.#options.spares) spares.push(this.#start(confinement));
    this.#spares.delete(key);
    this.#spares.set(key, spares);
    this.#dropOldest();
    return taken;
  }

  #dropOldest(): void {
    for (const [key, spares] of this.#spares) {
      if (this.#spares.size <= CONFINEMENTS_MAX) return;
      this.#spares.delete(key);
      for (const spare of spares) spare.kill();
    }
  }

  #start(confinement: Confinement): Sandbox {
    const sandbox = new Sandbox(confinement, this.#options);
    this.#alive.add(sandbox);
    void sandbox.gone.then(() => this.#alive.delete(sandbox));
    return sandbox;
  }
}
