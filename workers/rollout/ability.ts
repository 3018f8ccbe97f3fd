/** What hosts can and cannot do. */
import { abilitiesFor, type Ability, type Sampling } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";

/** Throws "invalid_argument" naming the decoding options that a host does not have. @param host As messages name it. */
export function refuseInability(sampling: Sampling, can: readonly Ability[], host: string): void {
  const missing = abilitiesFor(sampling).filter((ability) => !can.includes(ability));
  if (missing.length === 0) return;
  const found = can.length === 0 ? "none of its kind" : can.join(", ");
  throw new CoppiceError(
    "invalid_argument",
    `sampling asks for ${missing.join(", ")}; expected a host that can do that, found that ${host} can do ${found}`,
  );
}

/** For the calls that a host has no answer to. */
export function unable(ability: Ability, host: string): CoppiceError {
  return new CoppiceError("unimplemented", `${host} has no ${ability}: expected a host that can do that`);
}
