/** A program that a model wrote, what it may use, and what came of it. */

export type Language = "python" | "javascript";
export const LANGUAGES = ["python", "javascript"] as const;

export interface Program {
  readonly language: Language;
  readonly source: string;
  /** The line of the source, from 1, on which its tests begin: these may end the program by an exit. null: no tests. */
  readonly testsLine: number | null;
}

export interface ProgramLimits {
  /** From the program's start to its kill. */
  readonly wallMs: number;
  /** What all processes of the program together may hold; beside it the interpreter of JavaScript has its own. */
  readonly memoryMib: number;
  /** Processes and threads at once, the interpreter's own included. */
  readonly processesMax: number;
  /** Files in /tmp, the sandbox's only place to write; also the largest file. */
  readonly tmpMib: number;
  /** Of standard output and of standard error, each. */
  readonly outputBytesMax: number;
}

export const DEFAULT_PROGRAM_LIMITS: ProgramLimits = {
  wallMs: 3_000,
  memoryMib: 512,
  processesMax: 64,
  tmpMib: 64,
  outputBytesMax: 65_536,
};

/** A limit that is kept from outside, by a kill. */
export type KillingLimit = "wall" | "memory" | "output";

/** How a program ended. */
export type ProgramEnd =
  /** By itself, or by a signal of the kernel's: 128 and the signal's number, as in a shell. */
  | { readonly kind: "exited"; readonly status: number }
  /** It passed a limit and was killed, with all that it had started. */
  | { readonly kind: "killed"; readonly limit: KillingLimit };

export interface ProgramOutcome {
  readonly end: ProgramEnd;
  /** Whether the source ran to its last line, or its tests exited with status 0. */
  readonly isComplete: boolean;
  /** As UTF-8; what is none is replaced. At most `outputBytesMax`. */
  readonly stdout: string;
  readonly stderr: string;
  readonly wallMs: number;
}
