import { CoppiceError } from "../services/runtime/errors.ts";

/** A JSON object that the coordinator wrote. Throws "invalid_argument" for a text that is not a JSON object. */
export function parsedObject<T extends object>(text: string, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CoppiceError(
      "invalid_argument",
      `expected ${what} as JSON, found ${JSON.stringify(text.slice(0, 80))}`,
      { cause: error },
    );
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as T; // Written by the coordinator.
  throw new CoppiceError(
    "invalid_argument",
    `expected ${what} as a JSON object, found ${JSON.stringify(text.slice(0, 80))}`,
  );
}
