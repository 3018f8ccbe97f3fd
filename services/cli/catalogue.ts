/** What this program's sweeps may name: its strategies and its verifiers. */
import type { Catalogue } from "../coordinator/sweep-file/sweep-schema.ts";
import { STRATEGIES } from "../search/catalogue.ts";
import { OUTSIDE_VERIFIERS, VERIFIERS } from "../../workers/verify/catalogue.ts";
import { COMMON_OPTIONS, type DeclaredVerifier, parseOptions } from "../../workers/verify/verifier.ts";
import { INFERENCE_VERIFIERS } from "../../workers/rollout/inference/catalogue.ts";
import { parseInferenceOptions } from "../../workers/rollout/inference/inference-verifier.ts";

type Options = Readonly<Record<string, unknown>>;

/** Tools are for strategies: a sweep does not name one as its verifier. */
function isNamed({ isTool = false }: DeclaredVerifier): boolean {
  return !isTool;
}

export const CATALOGUE: Catalogue = {
  strategies: STRATEGIES,
  verifiers: [
    ...[...VERIFIERS, ...OUTSIDE_VERIFIERS].filter(isNamed).map((verifier: DeclaredVerifier) => ({
      kind: verifier.kind,
      about: verifier.about,
      options: { ...COMMON_OPTIONS, ...verifier.options },
      check: (options: Options) => void parseOptions(verifier, { kind: verifier.kind, ...options }),
    })),
    ...INFERENCE_VERIFIERS.filter(isNamed).map((verifier) => ({
      kind: verifier.kind,
      about: verifier.about,
      options: verifier.options,
      check: (options: Options) => void parseInferenceOptions(verifier, { kind: verifier.kind, ...options }),
    })),
  ],
};
