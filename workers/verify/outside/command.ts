/** A program of the user's that judges: candidates as lines of JSON on its standard input, verdicts on its output. */
import { CoppiceError } from "../../../services/runtime/errors.ts";
import { defineOutsideVerifier, type OutsideJudge, type OutsideParts } from "../outside-verifier.ts";
import type { COMMON_OPTIONS, OptionValues } from "../verifier.ts";
import { PerSpecification } from "./per-specification.ts";
import {
  DEFAULT_PROGRAM_BENCH_LIMITS,
  ProgramBench,
  type ProgramBenchLimits,
  type ProgramBenchOptions,
} from "./program-bench.ts";

const OPTIONS = {
  command: {
    type: "strings",
    default: [],
    about: "The program and its arguments, run in the worker's directory with its environment; required.",
  },
  processes: {
    type: "integer",
    default: 1,
    min: 1,
    max: 64,
    about: "Programs at once; never more than the worker's verifications at once.",
  },
  in_flight: {
    type: "integer",
    default: 32,
    min: 1,
    max: 1_024,
    about: "Candidates that a program is sent before it has answered the first of them.",
  },
  restart_after: {
    type: "integer",
    default: 0,
    min: 0,
    max: 1_000_000_000,
    about: "Candidates after which a program is replaced by a new one; 0 is never.",
  },
  start_ms: {
    type: "integer",
    default: 30_000,
    min: 0,
    max: 600_000,
    about: "What the first answer of a program may take beyond timeout_ms, in milliseconds: imports, models.",
  },
} as const;

type Options = OptionValues<typeof OPTIONS & typeof COMMON_OPTIONS>;

export const command = defineOutsideVerifier({
  kind: "command",
  about: "A program of your own: candidates as JSON lines on its standard input, verdicts on its output.",
  options: OPTIONS,
  isRepeatable: false,
  runsCommands: true,
  queues: true,
  check(options) {
    const [file = ""] = options.command;
    const complain = (found: string): never => {
      const expected = "verifier command: command must be a list of a program and its arguments";
      throw new CoppiceError("invalid_argument", `${expected}, found ${found}`);
    };
    if (options.command.length === 0) complain("an empty list");
    if (file.trim() === "") complain("a program without a name");
    if (options.command.some((text) => text.includes("\0"))) complain("a text with a NUL character");
  },
  open: createCommandJudge,
});

/** Python holds back what it prints to a pipe, and a program that answers line by line would seem to hang. */
const UNBUFFERED = { PYTHONUNBUFFERED: "1" };

export function createCommandJudge(
  parts: OutsideParts,
  limits: Partial<ProgramBenchLimits> = {},
): OutsideJudge<typeof OPTIONS> {
  const log = parts.log.child({ verifier: "command" });
  const benchOptions = (options: Options): ProgramBenchOptions => ({
    command: options.command,
    processes: Math.max(1, Math.min(options.processes, parts.concurrency)),
    inFlight: options.in_flight,
    restartAfter: options.restart_after,
    timeoutMs: options.timeout_ms,
    startMs: options.start_ms,
    env: { ...UNBUFFERED, ...parts.env },
    clock: parts.clock,
    log,
    limits: { ...DEFAULT_PROGRAM_BENCH_LIMITS, ...limits },
  });
  const benches = new PerSpecification((options: Options) => new ProgramBench(benchOptions(options)));
  /** A process group of its own hears nothing of the signal that ends this process. */
  const onExit = (): void => {
    for (const bench of benches.benches()) bench.kill();
  };
  let isListening = false;
  return {
    async verify(candidate, options, signal) {
      if (!isListening) process.once("exit", onExit);
      isListening = true;
      return await benches.of(options).verify(candidate, signal);
    },
    async close() {
      await benches.close();
      process.off("exit", onExit);
    },
  };
}
