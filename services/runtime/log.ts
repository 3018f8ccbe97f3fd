/** Logs: facts as JSON lines, one event name each, fields from the words of the design. The only importer of pino. */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { type DestinationStream, type Logger, destination, pino, stdTimeFunctions } from "pino";

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(fields: LogFields, event: string): void;
  info(fields: LogFields, event: string): void;
  warn(fields: LogFields, event: string): void;
  error(fields: LogFields, event: string): void;
  /** A log whose every line carries these fields too. */
  child(fields: LogFields): Log;
}

export interface LogOptions {
  /** The part that speaks: "coordinator", "worker"... */
  readonly name: string;
  readonly level?: LogLevel;
  /** Where lines go: a file that is made with its directory and appended to, or a stream; standard error by default. */
  readonly file?: string;
  readonly stream?: DestinationStream;
}

/** A long field would make a line that no tool reads; what is longer is cut (characters). */
const FIELD_CHARS_MAX = 4_096;

/**
 * A log. Lines to a file are written before the call returns: what was logged survives a crash of the process.
 * @throws what the file system says when `file` cannot be opened.
 */
export function createLog(options: LogOptions): Log {
  const settings = {
    name: options.name,
    level: options.level ?? "info",
    messageKey: "event",
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }), log: cutFields },
    serializers: { error: errorFields },
  };
  if (options.file !== undefined) mkdirSync(dirname(options.file), { recursive: true });
  const sink = options.stream ?? openSink(options.file ?? 2);
  return wrap(pino(settings, sink));
}

/** For tests and for commands that log nothing. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

function wrap(logger: Logger): Log {
  return {
    debug: (fields, event) => logger.debug(fields, event),
    info: (fields, event) => logger.info(fields, event),
    warn: (fields, event) => logger.warn(fields, event),
    error: (fields, event) => logger.error(fields, event),
    child: (fields) => wrap(logger.child(fields)),
  };
}

/** Bytes of lines that could not be written and are kept for another try. */
const UNWRITTEN_BYTES_MAX = 1024 * 1024;

/** A full disk costs lines of the log and not the work: what logs has nothing to do about it. */
function openSink(dest: string | number): DestinationStream {
  const sink = destination({ dest, sync: true, maxLength: UNWRITTEN_BYTES_MAX });
  sink.on("error", () => undefined);
  return {
    write(line) {
      try {
        sink.write(line);
      } catch {
        // It is tried again with the next line.
      }
    },
  };
}

function cutFields(fields: Record<string, unknown>): Record<string, unknown> {
  const isLong = (value: unknown): value is string =>
    typeof value === "string" && value.length > FIELD_CHARS_MAX;
  if (!Object.values(fields).some(isLong)) return fields;
  const cut = Object.entries(fields).map(([key, value]) => {
    return [key, isLong(value) ? `${value.slice(0, FIELD_CHARS_MAX).toWellFormed()}...` : value];
  });
  return Object.fromEntries(cut);
}

function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack } = error;
  return { name, message, stack, ...("code" in error ? { code: error.code } : {}) };
}

/** Lines that may be kept until it is known where they go. */
const HELD_LINES_MAX = 10_000;

/** A sink for a log whose file is known only later: a run's log, whose directory is made when the sweep is accepted. */
export interface LateSink extends DestinationStream {
  /** From now on lines go to this file, those held so far first. The last call counts. */
  open(file: string): void;
}

/** Holds at most 10,000 lines until `open`; the oldest go first. */
export function createLateSink(): LateSink {
  let held: string[] = [];
  let sink: DestinationStream | null = null;
  return {
    write(line) {
      if (sink === null) held.push(line);
      else sink.write(line);
      if (held.length > HELD_LINES_MAX) held = held.slice(-HELD_LINES_MAX / 2);
    },
    open(file) {
      mkdirSync(dirname(file), { recursive: true });
      sink = openSink(file);
      for (const line of held) sink.write(line);
      held = [];
    },
  };
}
