/** The coordinator's log: every line to standard error, those of a sweep to its run directory too. */
import { join } from "node:path";
import { beginAttempt } from "../coordinator/run-directory.ts";
import type { Coordinator } from "../coordinator/coordinator-api.ts";
import { messageOf } from "../runtime/errors.ts";
import { type LateSink, createLateSink } from "../runtime/log.ts";

export interface RunLogs {
  /** For `createLog`. */
  readonly stream: { write(line: string): void };
  /** The coordinator, with a new attempt's log folder for every sweep that it begins or goes on with. */
  watching(coordinator: Coordinator): Coordinator;
}

/** Lines name their sweep in a field of its own. */
const SWEEP_FIELD = /"sweep":"((?:[^"\\]|\\.)*)"/;

/** @param write Where every line goes. @param say Told when a run's log cannot be opened. */
export function createRunLogs(write: (line: string) => void, say: (line: string) => void): RunLogs {
  const sinks = new Map<string, LateSink>();
  /** Lines come before the directory does; they are held until then. */
  const sinkOf = (sweep: string): LateSink => {
    const sink = sinks.get(sweep) ?? createLateSink();
    sinks.set(sweep, sink);
    return sink;
  };
  async function open(sweep: string, output: string): Promise<void> {
    try {
      const { logs } = await beginAttempt(output);
      sinkOf(sweep).open(join(logs, "coordinator.log"));
    } catch (error) {
      say(`the log of sweep ${sweep} cannot be written: ${messageOf(error)}`);
    }
  }
  return {
    stream: {
      write(line) {
        write(line);
        const sweep = SWEEP_FIELD.exec(line)?.[1];
        if (sweep !== undefined) sinkOf(sweep).write(line);
      },
    },
    watching: (coordinator) => ({
      ...coordinator,
      async submit(sweep, problems, raw) {
        const run = await coordinator.submit(sweep, problems, raw);
        await open(run.id, sweep.output);
        return run;
      },
      async reopen(sweep, resolved) {
        const run = await coordinator.reopen(sweep, resolved);
        await open(run.id, sweep.output);
        return run;
      },
    }),
  };
}
