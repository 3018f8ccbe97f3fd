import type { CoppiceError } from "../../services/runtime/errors.ts";

/** How the engines word that prompt and completion do not fit. */
const CONTEXT_OVERFLOW =
  /context (length|size|window)|exceed[a-z]* .*context|maximum (model|sequence) length|max_model_len/i;

/** The class of a failed ask, for counting. */
export function failureReason(error: CoppiceError): string {
  switch (error.code) {
    case "unavailable":
      return "host_unreachable";
    case "resource_exhausted":
      return "host_overloaded";
    case "deadline_exceeded":
      return "host_timeout";
    case "data_loss":
      return "host_rubbish";
    case "not_found":
      return "no_record";
    case "invalid_argument":
      return CONTEXT_OVERFLOW.test(error.message) ? "context_overflow" : "request_refused";
    case "failed_precondition":
      return "host_refused";
    case "unimplemented":
      return "host_cannot";
    default:
      return error.code;
  }
}
