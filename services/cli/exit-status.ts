/** Exit statuses of the command (formats.md). */
import { type CoppiceError, asCoppiceError } from "../runtime/errors.ts";
import type { Summary } from "../coordinator/status.ts";
import { type FailLimit, isPast } from "./fail-limit.ts";

export const EXIT = {
  /** Every task settled, failed ones within `--fail-on-error`. */
  settled: 0,
  /** The sweep or an option is wrong, or the command could not do what it was asked. */
  wrong: 1,
  /** More tasks failed than `--fail-on-error` allows. */
  tasksFailed: 2,
  interrupted: 130,
} as const;

/** The status that a sweep's end deserves. */
export function exitStatusOf(summary: Summary, failLimit: FailLimit): number {
  if (summary.state === "interrupted") return EXIT.interrupted;
  if (summary.state === "failed") return EXIT.wrong;
  return isPast(failLimit, summary.tasks) ? EXIT.tasksFailed : EXIT.settled;
}

/** What a person reads of an error: messages of our own say enough, a defect's stack is needed. */
export function describeError(thrown: unknown): string {
  const error: CoppiceError = asCoppiceError(thrown);
  if (error.code !== "internal") return error.message;
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : error.message;
}
