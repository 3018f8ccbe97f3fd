/** What may be called what: checked alike by every implementation of lanes, so that a name that works in one process works on Redis. */
import { CoppiceError } from "../runtime/errors.ts";

/** Longest name of a lane and longest id of a job, in characters. */
export const NAME_CHARACTERS_MAX = 256;

/** @throws CoppiceError "invalid_argument" for an empty or overlong name. */
export function checkLaneName(name: string): void {
  if (name.length > 0 && name.length <= NAME_CHARACTERS_MAX) return;
  throw new CoppiceError(
    "invalid_argument",
    `a lane's name has 1 to ${NAME_CHARACTERS_MAX} characters, found ${name.length}: ${JSON.stringify(name.slice(0, 40))}`,
  );
}

/** @throws CoppiceError "invalid_argument" for an id that BullMQ forbids: empty, with ":" in it, or a whole number. */
export function checkJobId(id: string, lane: string): void {
  const isWholeNumber = String(Number.parseInt(id, 10)) === id;
  if (id.length > 0 && id.length <= NAME_CHARACTERS_MAX && !id.includes(":") && !isWholeNumber) return;
  throw new CoppiceError(
    "invalid_argument",
    `lane ${lane}: a job's id has 1 to ${NAME_CHARACTERS_MAX} characters, no ":" and is not a whole number, ` +
      `found ${JSON.stringify(id.slice(0, NAME_CHARACTERS_MAX))}`,
  );
}

/** @throws CoppiceError "invalid_argument" unless `concurrency` is a whole number from 1. */
export function checkConcurrency(concurrency: number, lane: string): void {
  if (Number.isSafeInteger(concurrency) && concurrency >= 1) return;
  throw new CoppiceError(
    "invalid_argument",
    `lane ${lane}: concurrency is a whole number from 1, found ${concurrency}`,
  );
}
