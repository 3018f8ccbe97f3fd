/** Opens the tasks of a sweep one after the other, as long as more are wanted. Owns the line of those that are not open yet. */
import type { TaskLine, TaskToOpen } from "./task-line.ts";

export class TaskOpener {
  readonly #line: TaskLine;
  readonly #open: (task: TaskToOpen) => void;
  #isOpening = false;
  #isAllOpened = false;

  constructor(line: TaskLine, open: (task: TaskToOpen) => void) {
    this.#line = line;
    this.#open = open;
  }

  get isAllOpened(): boolean {
    return this.#isAllOpened;
  }

  /** Whether a call of `openNext` would do something. */
  get isIdle(): boolean {
    return !this.#isOpening && !this.#isAllOpened;
  }

  /** Opens the next one, unless there is none. Rejects where the problems cannot be read. */
  async openNext(): Promise<void> {
    this.#isOpening = true;
    try {
      const next = await this.#line.next();
      if (next === null) this.#isAllOpened = true;
      else this.#open(next);
    } finally {
      this.#isOpening = false;
    }
  }

  close(): Promise<void> {
    return this.#line.close();
  }
}
