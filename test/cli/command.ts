/** Runs the command as a person does: a process of its own. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const MAIN = resolve(import.meta.dirname, "../../services/cli/main.ts");

export interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly said: string;
}

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** What was written so far, to both outputs. */
  text(): string;
}

export function start(cwd: string, ...args: readonly string[]): Running {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const ended = once(child, "close").then(() => ({ status: child.exitCode, out, said }));
  return { child, ended, text: () => out + said };
}

export function run(cwd: string, ...args: readonly string[]): Promise<Ended> {
  return start(cwd, ...args).ended;
}

/** A directory with these files, and what removes it. */
export function folder(files: Readonly<Record<string, string | Uint8Array>>): {
  readonly path: string;
  readonly remove: () => void;
} {
  const path = mkdtempSync(join(tmpdir(), "coppice-cli-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A sweep of two puzzles over records: nothing to install, nothing to wait for. */
export const REPLAY_SWEEP = `name: replay
problems: puzzles.jsonl
model: recorded
hosts: [{ engine: replay, records: records.jsonl }]
strategies: [{ strategy: best-of-n, n: 2 }]
verifier: { kind: game24 }
sampling: { max_tokens: 64 }
`;

export const PUZZLES = `{"id": "a", "prompt": "4 6 10 10"}\n{"id": "b", "prompt": "1 1 1 1"}\n`;

export const RECORDS = [
  {
    problem: "a",
    prompt: "4 6 10 10",
    sample: 0,
    text: "Answer: 4 + 10 + 10 = 24",
    finish_reason: "stop",
    completion_tokens: 9,
  },
  {
    problem: "a",
    prompt: "4 6 10 10",
    sample: 1,
    text: "Answer: 4 * 6 * (10 / 10) = 24",
    finish_reason: "stop",
    completion_tokens: 12,
  },
  {
    problem: "b",
    prompt: "1 1 1 1",
    sample: 0,
    text: "Answer: 1 + 1",
    finish_reason: "stop",
    completion_tokens: 3,
  },
  {
    problem: "b",
    prompt: "1 1 1 1",
    sample: 1,
    text: "Answer: 1 * 1",
    finish_reason: "stop",
    completion_tokens: 3,
  },
]
  .map((record) => `${JSON.stringify(record)}\n`)
  .join("");
