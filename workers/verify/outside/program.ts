/**
 * One running program of the user's: lines in, lines out, its standard error to the log. It leads a process group of its
 * own, and nothing of that group outlives it. Calls the system only.
 *
 * 1. `ended` resolves once, after the last line: also of a program that cannot be started.
 * 2. A program that closed its standard input or output is of no use: it gets a grace to exit, then its group is killed.
 * 3. If this process dies, the program reads the end of its standard input.
 */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { getSystemErrorMessage } from "node:util";
import type { Clock, Timer } from "../../../services/runtime/clock.ts";
import { CoppiceError, messageOf } from "../../../services/runtime/errors.ts";
import type { Log } from "../../../services/runtime/log.ts";
import { createLineSplitter } from "./line-splitter.ts";

export interface ProgramLimits {
  /** Longest line of its standard output, in bytes. */
  readonly lineBytesMax: number;
  /** Longest line of its standard error that is logged whole, in bytes. */
  readonly errorLineBytesMax: number;
  /** Lines of its standard error that are logged. */
  readonly errorLinesMax: number;
  /** How much of the end of its standard error is kept for a message, in characters. */
  readonly errorTailCharsMax: number;
  /** How long it may take to exit once its input has ended, and its output to end once it exited. */
  readonly graceMs: number;
}

export const DEFAULT_PROGRAM_LIMITS: ProgramLimits = {
  lineBytesMax: 1024 * 1024,
  errorLineBytesMax: 4_096,
  errorLinesMax: 1_000,
  errorTailCharsMax: 300,
  graceMs: 1_000,
};

export type ProgramEnd =
  /** "failed_precondition", or "unavailable" where the machine has no room for one more process now. */
  | { readonly kind: "not-started"; readonly error: CoppiceError }
  /** `status` reads "exit status 1" or "signal SIGKILL"; `errors` is the end of its standard error, or "". */
  | { readonly kind: "ended"; readonly status: string; readonly errors: string };

export interface Program {
  readonly pid: number | null;
  readonly ended: Promise<ProgramEnd>;
  /** Whether it takes more at once; when not, `onRoom` is called later. */
  write(line: string): boolean;
  /** Ends its input, and kills its group when it does not exit within the grace. */
  finish(): void;
  /** Kills its group. */
  kill(): void;
}

export interface ProgramOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ProgramLimits;
  readonly onLine: (line: string, isCut: boolean) => void;
  readonly onRoom: () => void;
}

export function startProgram(options: ProgramOptions): Program {
  const { command, env } = options;
  const [file = "", ...args] = command;
  try {
    const child = spawn(file, args, { detached: true, windowsHide: true, env: { ...env }, stdio: "pipe" });
    if (child.pid !== undefined) return follow(child, options);
    return unstarted(new Promise((resolve) => child.once("error", resolve)).then((e) => notStarted(file, e)));
  } catch (error) {
    return unstarted(Promise.resolve(notStarted(file, error)));
  }
}

/** A program that the system refused. */
function unstarted(refusal: Promise<CoppiceError>): Program {
  const nothing = (): void => undefined;
  const ended = refusal.then((error): ProgramEnd => ({ kind: "not-started", error }));
  return { pid: null, ended, write: () => false, finish: nothing, kill: nothing };
}

function follow(child: ChildProcessWithoutNullStreams, options: ProgramOptions): Program {
  const { clock, limits } = options;
  const lines = createLineSplitter(limits.lineBytesMax, options.onLine);
  const errors = followErrors(child, options);
  let hasExited = false;
  let grace: Timer | null = null;

  function kill(): void {
    if (!hasExited) killGroup(child); // Later its number may be another's.
  }
  function killLater(): void {
    if (!hasExited) grace ??= clock.after(limits.graceMs, kill, { keepAlive: true });
  }
  const ended = new Promise<ProgramEnd>((resolve) => {
    child.once("exit", (code, signal) => {
      kill(); // What it started and left behind.
      hasExited = true;
      grace?.cancel();
      const status = code === null ? `signal ${signal ?? "unknown"}` : `exit status ${code}`;
      const end = (): void => {
        late.cancel();
        lines.end();
        for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
        resolve({ kind: "ended", status, errors: errors.tail() });
      };
      // Something that left the group may hold the output open.
      const late = clock.after(limits.graceMs, end, { keepAlive: true });
      child.once("close", end);
    });
  });
  child.stdout.on("data", (bytes: Buffer) => lines.feed(bytes));
  child.stdout.once("end", killLater);
  child.stdin.on("drain", options.onRoom);
  child.stdin.on("error", killLater); // It has gone, or closed its input; its exit says the rest.
  for (const stream of [child, child.stdout, child.stderr]) stream.on("error", () => undefined);
  return {
    pid: child.pid ?? null,
    ended,
    write: (line) => child.stdin.writable && child.stdin.write(line),
    finish() {
      child.stdin.end();
      killLater();
    },
    kill,
  };
}

/** Logs standard error line by line, up to a limit, and keeps its end. */
function followErrors(
  child: ChildProcessWithoutNullStreams,
  { log, limits }: ProgramOptions,
): { readonly tail: () => string } {
  const { errorLinesMax, errorTailCharsMax, errorLineBytesMax } = limits;
  const pid = child.pid ?? null;
  let count = 0;
  let tail = "";
  const lines = createLineSplitter(errorLineBytesMax, (line) => {
    tail = `${tail}\n${line}`.trim().slice(-errorTailCharsMax).toWellFormed();
    count += 1;
    if (count <= errorLinesMax) log.info({ pid, line }, "verifier_stderr");
    if (count === errorLinesMax) log.warn({ pid, lines: count }, "verifier_stderr_left_out");
  });
  child.stderr.on("data", (bytes: Buffer) => lines.feed(bytes));
  return {
    tail() {
      lines.end();
      return tail;
    },
  };
}

function killGroup(child: ChildProcessWithoutNullStreams): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    child.kill("SIGKILL"); // No group: it is gone, or this system has none.
  }
}

/** What the system may have more of later: processes, memory, open files. */
const PASSING_ERRNOS: ReadonlySet<unknown> = new Set(["EAGAIN", "ENOMEM", "EMFILE", "ENFILE"]);

function notStarted(file: string, error: unknown): CoppiceError {
  const errno = error instanceof Error && "errno" in error ? error.errno : null;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const words = typeof errno === "number" ? `${getSystemErrorMessage(errno)} (${code})` : messageOf(error);
  return new CoppiceError(
    PASSING_ERRNOS.has(code) ? "unavailable" : "failed_precondition",
    `expected to start the program ${JSON.stringify(file)} in ${process.cwd()}, found: ${words}`,
    { cause: error },
  );
}
