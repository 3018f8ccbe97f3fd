import type { CoppiceError } from "../../services/runtime/errors.ts";
import { refusalOf, SERVICE_UNAVAILABLE } from "../http-exchange.ts";

/** How the engines word that prompt and completion do not fit. */
const CONTEXT_OVERFLOW =
  /context (length|size|window)|exceed[a-z]* .*context|maximum (model|sequence) length|max_model_len/i;

/** The class of a failed ask, for counting. */
export function failureReason(error: CoppiceError): string {
  switch (error.code) {
    case "unavailable":
      return unavailableReason(refusalOf(error)?.status ?? null);
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

/** @param status What it answered; null: nobody answered. */
function unavailableReason(status: number | null): string {
  if (status === null) return "host_unreachable";
  return status === SERVICE_UNAVAILABLE ? "host_overloaded" : "host_error";
}
