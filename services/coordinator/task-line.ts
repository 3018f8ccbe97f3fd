/** The tasks of a sweep that are still to be opened, in their order: problem by problem, every arm of one before the next. */
import { type Disk, systemDisk } from "../runtime/disk.ts";
import { readRunProblems } from "./run-directory.ts";
import type { Arm, Problem, Sweep } from "./sweep.ts";

export interface TaskToOpen {
  readonly arm: Arm;
  readonly problem: Problem;
  /** Its position among all tasks of the sweep, from 0. */
  readonly ordinal: number;
}

/** Ordinals of tasks. */
interface Settled {
  has(ordinal: number): boolean;
}

export class TaskLine {
  readonly #tasks: AsyncGenerator<TaskToOpen>;

  /** @param settled Ordinals of tasks that an earlier attempt settled. */
  constructor(sweep: Sweep, settled: Settled, disk: Disk = systemDisk) {
    this.#tasks = remaining(sweep, settled, disk);
  }

  /** Null when there are no more. Reads the problems' file as far as it needs to (I6). */
  async next(): Promise<TaskToOpen | null> {
    const { value, done } = await this.#tasks.next();
    return done === true ? null : value;
  }

  async close(): Promise<void> {
    await this.#tasks.return(undefined);
  }
}

async function* remaining(sweep: Sweep, settled: Settled, disk: Disk): AsyncGenerator<TaskToOpen, undefined> {
  let ordinal = 0;
  for await (const problem of readRunProblems(sweep.output, disk)) {
    for (const arm of sweep.arms) {
      if (!settled.has(ordinal)) yield { arm, problem, ordinal };
      ordinal += 1;
    }
  }
  return undefined;
}
