/** The key that a server wants, from the environment variable that `api_key_env` names: keys stand in no sweep file. */
import { CoppiceError } from "../services/runtime/errors.ts";

/** Null where no variable is named. Throws "invalid_argument" where the variable holds nothing. */
export function apiKeyOf(
  spec: { readonly url: string; readonly api_key_env: string | null },
  env: Readonly<Record<string, string | undefined>>,
): string | null {
  if (spec.api_key_env === null) return null;
  const key = env[spec.api_key_env]?.trim() ?? "";
  if (key !== "") return key;
  throw new CoppiceError(
    "invalid_argument",
    `expected the key of ${spec.url} in the environment variable ${spec.api_key_env} (api_key_env), found none`,
  );
}
