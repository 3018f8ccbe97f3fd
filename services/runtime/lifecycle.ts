/**
 * The life of a process: it is told to leave by a signal, once, and then closes its parts in order, within a limit.
 *
 * 1. The first SIGINT, SIGTERM or SIGUSR1 (Slurm's warning before a time limit) aborts `leaving`; the command drains.
 * 2. A second SIGINT leaves at once with 130: nothing is lost that was acknowledged (I2).
 * 3. A drain that passes its limit leaves too, and says so (I7).
 * 4. Parts are closed last-added first: what was started on top of others goes before them.
 */
import type { Clock, Timer } from "./clock.ts";
import { CoppiceError, messageOf } from "./errors.ts";
import type { Log } from "./log.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGUSR1"] as const;
type LeavingSignal = (typeof SIGNALS)[number];

/** Interrupted: the shells' 128 + SIGINT. */
export const EXIT_INTERRUPTED = 130;
/** The program is at fault, or something it cannot do without failed. */
export const EXIT_FAILED = 1;

/** What a lifecycle needs of the process; `process` itself in production. */
export interface ProcessEvents {
  on(
    event: LeavingSignal | "uncaughtException" | "unhandledRejection",
    listener: (value: unknown) => void,
  ): unknown;
  off(
    event: LeavingSignal | "uncaughtException" | "unhandledRejection",
    listener: (value: unknown) => void,
  ): unknown;
  exit(status: number): void;
}

export interface LifecycleOptions {
  readonly process: ProcessEvents;
  readonly clock: Clock;
  /** Lines for the person at the terminal. */
  readonly tell: (line: string) => void;
  readonly log: Log;
  readonly limits?: Partial<LifecycleLimits>;
}

export interface LifecycleLimits {
  /** From the first signal to leaving without having finished. */
  readonly drainMs: number;
  /** For closing one part. */
  readonly closeMs: number;
}

export const DEFAULT_LIFECYCLE_LIMITS: LifecycleLimits = { drainMs: 30_000, closeMs: 10_000 };

/** From the first signal to giving up, where what runs may finish for so long: the rest is for closing. */
export function drainLimitMs(seconds: number): number {
  return seconds * 1_000 + DEFAULT_LIFECYCLE_LIMITS.drainMs;
}

export interface Lifecycle {
  /** Aborts when the process is asked to leave; the reason is a CoppiceError "cancelled" naming the signal. */
  readonly leaving: AbortSignal;
  /** Where log lines go from now on: a run's log exists only once its directory does. */
  setLog(log: Log): void;
  /** The last line of a process that leaves without having finished: how to go on. */
  lastWords(line: string): void;
  /** Takes over the closing of a part, and gives it back. */
  own<T>(name: string, part: T, close: (part: T) => void | Promise<void>): T;
  /** Closes every part, last-added first; what fails or passes its limit is logged and left. Safe to call twice. */
  close(): Promise<void>;
}

interface OwnedPart {
  readonly name: string;
  readonly close: () => void | Promise<void>;
}

/** Listens for signals and for errors that nobody caught, until `close`. */
export function createLifecycle(options: LifecycleOptions): Lifecycle {
  const { process, clock, tell } = options;
  const limits = { ...DEFAULT_LIFECYCLE_LIMITS, ...options.limits };
  const leaving = new AbortController();
  const parts: OwnedPart[] = [];
  let log = options.log;
  let lastWords: string | null = null;
  let drainTimer: Timer | null = null;
  let closed: Promise<void> | null = null;

  const onSignal = (signal: LeavingSignal): void => {
    if (leaving.signal.aborted) {
      if (signal !== "SIGINT") return;
      if (lastWords !== null) tell(`left at once; ${lastWords}`);
      process.exit(EXIT_INTERRUPTED);
      return;
    }
    log.info({ signal }, "leaving");
    drainTimer = clock.after(limits.drainMs, () => {
      tell(
        `gave up after ${limits.drainMs / 1_000} s of draining; what was not acknowledged will be computed again`,
      );
      if (lastWords !== null) tell(lastWords);
      process.exit(EXIT_INTERRUPTED);
    });
    leaving.abort(new CoppiceError("cancelled", `interrupted by ${signal}`));
  };
  const onError = (error: unknown): void => {
    log.error({ error }, "unhandled_error");
    tell(
      `a defect of the program, please report it: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
    process.exit(EXIT_FAILED);
  };
  const listeners = SIGNALS.map((signal) => [signal, () => onSignal(signal)] as const);
  for (const [signal, listener] of listeners) process.on(signal, listener);
  process.on("uncaughtException", onError);
  process.on("unhandledRejection", onError);

  async function closeParts(): Promise<void> {
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) await closePart(part);
    drainTimer?.cancel();
    for (const [signal, listener] of listeners) process.off(signal, listener);
    process.off("uncaughtException", onError);
    process.off("unhandledRejection", onError);
  }

  async function closePart({ name, close }: OwnedPart): Promise<void> {
    let timer: Timer | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = clock.after(limits.closeMs, () => reject(new Error(`not closed within ${limits.closeMs} ms`)), {
        keepAlive: true,
      });
    });
    try {
      await Promise.race([close(), limit]);
    } catch (error) {
      log.warn({ part: name, message: messageOf(error) }, "part_not_closed");
    } finally {
      timer?.cancel();
    }
  }

  return {
    leaving: leaving.signal,
    setLog: (next) => {
      log = next;
    },
    lastWords: (line) => {
      lastWords = line;
    },
    own: (name, part, close) => {
      parts.push({ name, close: () => close(part) });
      return part;
    },
    close: () => (closed ??= closeParts()),
  };
}
