/** A verifier as the command line takes it: `numeric`, `kind=numeric,tolerance=0.1`, or a map in YAML or JSON. */
import { parse } from "yaml";
import { CoppiceError, messageOf } from "../../runtime/errors.ts";

/**
 * A map with whatever keys were given; whether they are those of a verifier, the sweep's schema says.
 * @throws invalid_argument for what is none of the three.
 */
export function parseVerifierFlag(given: string): Readonly<Record<string, unknown>> {
  if (/^[a-z][a-z0-9-]*$/.test(given)) return { kind: given };
  const value = parseYaml(
    /^\w+=/.test(given) ? `{${given.replaceAll(/(^|,)\s*(\w+)=/g, "$1 $2: ")}}` : given,
    given,
  );
  // Checked just here: a map, read by whoever knows its keys.
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new CoppiceError(
    "invalid_argument",
    `--verifier ${given}: expected a kind, KEY=VALUE pairs with a kind, or a map such as '{kind: numeric}'`,
  );
}

function parseYaml(text: string, given: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new CoppiceError("invalid_argument", `--verifier ${given}: not YAML: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
