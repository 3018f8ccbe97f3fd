/** What this program's sweeps may name: its strategies and its verifiers. */
import type { Catalogue } from "../coordinator/sweep-file/sweep-schema.ts";
import { STRATEGIES } from "../search/catalogue.ts";
import { OUTSIDE_VERIFIERS, VERIFIERS } from "../../workers/verify/catalogue.ts";
import { COMMON_OPTIONS, type DeclaredVerifier, parseOptions } from "../../workers/verify/verifier.ts";

/** Tools are for strategies: a sweep does not name one as its verifier. */
const NAMED: readonly DeclaredVerifier[] = [...VERIFIERS, ...OUTSIDE_VERIFIERS].filter(
  ({ isTool }) => isTool !== true,
);

export const CATALOGUE: Catalogue = {
  strategies: [...STRATEGIES.values()],
  verifiers: NAMED.map((verifier) => ({
    kind: verifier.kind,
    about: verifier.about,
    options: { ...COMMON_OPTIONS, ...verifier.options },
    check: (options) => void parseOptions(verifier, { kind: verifier.kind, ...options }),
  })),
};
