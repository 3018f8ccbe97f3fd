/** What this program's sweeps may name: its strategies and its verifiers. */
import type { Catalogue } from "../coordinator/sweep-file/sweep-schema.ts";
import { STRATEGIES } from "../search/catalogue.ts";
import { VERIFIERS } from "../../workers/verify/catalogue.ts";
import { COMMON_OPTIONS, parseOptions } from "../../workers/verify/verifier.ts";

export const CATALOGUE: Catalogue = {
  strategies: [...STRATEGIES.values()],
  verifiers: VERIFIERS.map((verifier) => ({
    kind: verifier.kind,
    about: verifier.about,
    options: { ...COMMON_OPTIONS, ...verifier.options },
    check: (options) => void parseOptions(verifier, { kind: verifier.kind, ...options }),
  })),
};
