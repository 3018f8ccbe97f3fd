/**
 * Operating errors: what may go wrong while the program is right. One class, one code per kind (the gRPC names),
 * thrown at the edge and mapped once (`rpc.ts`, `services/cli`). Programmer errors are `assert`.
 */

export type ErrorCode =
  | "invalid_argument" // the user's input is wrong; never retried
  | "not_found"
  | "already_exists"
  | "failed_precondition" // the state forbids it (another version, a lock held); never retried
  | "resource_exhausted" // 429, a full queue; retried later
  | "unavailable" // a peer is down or restarting; retried
  | "deadline_exceeded"
  | "aborted" // superseded; the caller decides
  | "cancelled"
  | "data_loss" // what was read is damaged
  | "unimplemented"
  | "internal";

const RETRYABLE: ReadonlySet<ErrorCode> = new Set(["resource_exhausted", "unavailable", "deadline_exceeded"]);

/**
 * @param message What was expected, what was found and where (which file and line, task, job or host).
 */
export class CoppiceError extends Error {
  override readonly name = "CoppiceError";
  readonly code: ErrorCode;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly isRetryable: boolean;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; isRetryable?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.isRetryable = options.isRetryable ?? RETRYABLE.has(code);
  }
}

/** The message of anything thrown, for a log line or a row. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Anything thrown as a CoppiceError; what is not one already becomes `internal`. */
export function asCoppiceError(error: unknown): CoppiceError {
  if (error instanceof CoppiceError) return error;
  return new CoppiceError("internal", messageOf(error), { cause: error });
}

/** For the `default` of an exhaustive switch: the compiler proves that it is never reached. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
