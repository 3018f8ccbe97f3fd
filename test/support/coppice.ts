/** The command as a user runs it: a process of its own. */
import { spawn } from "node:child_process";
import { resolve } from "node:path";

/** The command's main file. */
export const CLI = resolve(import.meta.dirname, "../../services/cli/main.ts");

export interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Resolves when the command ends; never rejects for its exit status. */
export function coppice(
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Ended> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [CLI, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
    child.once("close", (status) => done({ status, out, err }));
  });
}
