/** What kinds that run programs in the sandbox have in common: their limits as options, and the sandboxes of a judge. */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import type { OutsideParts } from "../outside-verifier.ts";
import { provenTools } from "../sandbox/probe.ts";
import {
  DEFAULT_PROGRAM_LIMITS,
  type Program,
  type ProgramLimits,
  type ProgramOutcome,
} from "../sandbox/program.ts";
import { SandboxPool } from "../sandbox/sandbox-pool.ts";
import type { OptionValues, VerifierOptions } from "../verifier.ts";

export const LIMIT_OPTIONS = {
  timeout_ms: {
    type: "integer",
    default: DEFAULT_PROGRAM_LIMITS.wallMs,
    min: 1,
    max: 600_000,
    about: "Wall-clock limit of the program in milliseconds; past it the program is killed and incorrect.",
  },
  memory_mb: {
    type: "integer",
    default: DEFAULT_PROGRAM_LIMITS.memoryMib,
    min: 64,
    max: 65_536,
    about: "Memory of the program's processes together in MiB.",
  },
  processes_max: {
    type: "integer",
    default: DEFAULT_PROGRAM_LIMITS.processesMax,
    min: 16,
    max: 4_096,
    about: "Processes and threads at once; the interpreter of JavaScript has about a dozen of its own.",
  },
  tmp_mb: {
    type: "integer",
    default: DEFAULT_PROGRAM_LIMITS.tmpMib,
    min: 1,
    max: 16_384,
    about: "Files in /tmp, the only place to write, in MiB.",
  },
} as const satisfies VerifierOptions;

type LimitValues = OptionValues<typeof LIMIT_OPTIONS>;

/** Output is counted in bytes, of which a character has four at most: what is longer than told is cut later. */
const BYTES_PER_CHARACTER = 4;

export function limitsOf(options: LimitValues & { readonly output_chars_max: number }): ProgramLimits {
  return {
    wallMs: options.timeout_ms,
    memoryMib: options.memory_mb,
    processesMax: options.processes_max,
    tmpMib: options.tmp_mb,
    outputBytesMax: options.output_chars_max * BYTES_PER_CHARACTER,
  };
}

/** The sandboxes of one judge; there are none before the first program. */
export interface Sandboxes {
  /**
   * As `SandboxPool.run`; rejects with "failed_precondition" where the sandbox does not hold (I9).
   */
  run(program: Program, limits: ProgramLimits, signal: AbortSignal): Promise<ProgramOutcome>;
  close(): Promise<void>;
}

export function openSandboxes(parts: OutsideParts): Sandboxes {
  let pool: SandboxPool | null = null;
  let isClosed = false;
  const opened = async (): Promise<SandboxPool> => {
    const tools = await provenTools(parts);
    if (isClosed) throw new CoppiceError("unavailable", "the sandboxes are closed");
    return (pool ??= new SandboxPool({ clock: parts.clock, tools, spares: parts.concurrency }));
  };
  return {
    async run(program, limits, signal) {
      signal.throwIfAborted();
      if (isClosed) throw new CoppiceError("unavailable", "the sandboxes are closed");
      return await (await opened()).run(program, limits, signal);
    },
    async close() {
      isClosed = true;
      await pool?.close();
    },
  };
}
