/** A disk that is soon full: a file system in memory, for the run directories. Needs root. */
import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

const BYTES = 48 * 1024 * 1024;
const BLOCK = Buffer.alloc(64 * 1024);

export class SmallDisk {
  readonly path: string;
  readonly #filler: string;

  private constructor(path: string) {
    this.path = path;
    this.#filler = join(path, "filler");
  }

  /** Why there can be none here; null where there can. */
  static obstacle(): string | null {
    return process.getuid?.() === 0 ? null : "mounting a small file system needs root";
  }

  static mount(path: string): SmallDisk {
    mkdirSync(path, { recursive: true });
    run("mount", "-t", "tmpfs", "-o", `size=${BYTES}`, "coppice-chaos", path);
    return new SmallDisk(path);
  }

  /** Leaves no byte. */
  fill(): void {
    const file = openSync(this.#filler, "w");
    try {
      for (const block of [BLOCK, BLOCK.subarray(0, 1)]) while (writeSync(file, block) > 0);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(this.#filler, { force: true });
  }

  unmount(): void {
    // Lazily: whatever still holds a file of it does not keep the caller from ending.
    run("umount", "-l", this.path);
  }
}

function run(command: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, [...args], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr.trim()}`);
}
