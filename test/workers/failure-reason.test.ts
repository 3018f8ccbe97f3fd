import { expect, test } from "vitest";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { RETRY_RULES } from "../../services/queue/failure-classes.ts";
import { failureReason } from "../../workers/rollout/failure-reason.ts";

test.each([
  ["host_unreachable", "unavailable", null],
  ["host_overloaded", "unavailable", 503],
  ["host_overloaded", "resource_exhausted", 429],
  ["host_error", "unavailable", 500],
  ["host_error", "unavailable", 502],
  ["host_timeout", "deadline_exceeded", 504],
  ["host_refused", "failed_precondition", 401],
] as const)("%s: %s with status %s; its rule is in the table", (reason, code, status) => {
  const cause = status === null ? {} : { cause: { status, retryAfterMs: null } };
  expect(failureReason(new CoppiceError(code, "made up", cause))).toBe(reason);
  expect(RETRY_RULES).toHaveProperty(reason);
});

test("a prompt that does not fit is told from a request that the host refuses", () => {
  const refused = (message: string): string => failureReason(new CoppiceError("invalid_argument", message));
  expect(refused("This model's maximum context length is 10 tokens")).toBe("context_overflow");
  expect(refused("top_p must be in (0, 1]")).toBe("request_refused");
});
