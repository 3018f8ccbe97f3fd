/** What a command knows of the world around it: where its words go, the directory it was called from, time, environment. */
import { relative } from "node:path";
import type { Clock } from "../runtime/clock.ts";
import type { ProcessEvents } from "../runtime/lifecycle.ts";

export interface Shell {
  /** Where the person typed the command; relative paths on the command line are relative to it. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly process: ProcessEvents & { readonly pid: number };
  /** How the program was called: what a suggested command begins with. */
  readonly program: string;
  /** Whether a person looks at standard output; a live line is drawn only then. */
  readonly isTerminal: boolean;
  /** Width of the terminal in characters. */
  readonly columns: () => number;
  /** A line of results, to standard output. */
  readonly out: (line: string) => void;
  /** A line for the person, to standard error. */
  readonly say: (line: string) => void;
  /** Replaces the terminal's last line; "" takes it away. Only where `isTerminal`. */
  readonly redraw: (line: string) => void;
}

const CLEAR_LINE = "\r\u001B[2K";

/** The real one. `npm run` changes the directory to the package's and says in INIT_CWD where it was called. */
export function createShell(proc: NodeJS.Process, clock: Clock): Shell {
  const isNpmRun = proc.env["npm_lifecycle_event"] === "coppice";
  let isLineDrawn = false;
  // Whoever read our words may leave (`| head`): the work goes on, unheard.
  for (const stream of [proc.stdout, proc.stderr]) stream.on("error", ignoreClosedPipe);
  const clear = (): void => {
    if (isLineDrawn) proc.stdout.write(CLEAR_LINE);
    isLineDrawn = false;
  };
  return {
    cwd: (isNpmRun ? proc.env["INIT_CWD"] : undefined) ?? proc.cwd(),
    env: proc.env,
    clock,
    process: proc,
    program: isNpmRun ? "npm run -s coppice --" : programName(proc.argv[1] ?? "", proc.cwd()),
    isTerminal: proc.stdout.isTTY,
    columns: () => proc.stdout.columns ?? 80,
    out: (line) => {
      clear();
      proc.stdout.write(`${line}\n`);
    },
    say: (line) => {
      clear();
      proc.stderr.write(`${line}\n`);
    },
    redraw: (line) => {
      clear();
      if (line === "") return;
      proc.stdout.write(line);
      isLineDrawn = true;
    },
  };
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

/** Installed it is called by its name; from a checkout by the file. */
function programName(script: string, cwd: string): string {
  return script.endsWith("main.ts") ? `node ${quoteArgument(relative(cwd, script))}` : "coppice";
}

/** An argument as a POSIX shell takes it back. */
export function quoteArgument(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}
