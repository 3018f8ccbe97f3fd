/**
 * A verifier that is inference: it judges by asking the host of its lane, beside the prefixes that it judges. Siblings of
 * workers/verify/verifiers: the same declaration, the same verdicts. A new kind is one file here, one line in
 * `catalogue.ts`, one in services/queue/inference.ts.
 */
import type { InferenceKind } from "../../../services/queue/inference.ts";
import type {
  AttemptUsage,
  ProblemData,
  PromptPiece,
  VerdictResult,
  VerifierSpec,
} from "../../../services/queue/job.ts";
import {
  type DeclaredVerifier,
  type OptionValues,
  parseDeclared,
  type VerifierOptions,
} from "../../verify/verifier.ts";
import type { Driver } from "../driver.ts";

/** What is up for a verdict. */
export interface Judging {
  /** The path: its prompt, then the pieces behind it. At least one. */
  readonly path: readonly PromptPiece[];
  readonly problem: ProblemData;
  /** Chance of a verifier that samples; 31 bits, the same on every attempt (I4). */
  readonly seed: number;
}

export interface Judged {
  readonly result: VerdictResult;
  readonly usage: AttemptUsage;
}

export interface InferenceVerifier<O extends VerifierOptions = VerifierOptions> extends DeclaredVerifier<O> {
  readonly kind: InferenceKind;
  /** Rejects as the driver does: what will be retried, and what fails the ask at once. */
  judge(
    judging: Judging,
    host: { readonly driver: Driver; readonly options: OptionValues<O> },
    signal: AbortSignal,
  ): Promise<Judged>;
}

/** Which model judges, for kinds that may have one of their own. */
export const MODEL_OPTION = {
  type: "text",
  default: null,
  about: "The model that judges, served by hosts of its own; the sweep's model when absent.",
} as const;

/** Keeps the types of the declared options, so that `judge` sees them. */
export function defineInferenceVerifier<const O extends VerifierOptions>(
  verifier: InferenceVerifier<O>,
): InferenceVerifier<O> {
  return verifier;
}

/** The options of a specification; throws "invalid_argument" naming what is wrong. */
export function parseInferenceOptions<O extends VerifierOptions>(
  verifier: InferenceVerifier<O>,
  spec: VerifierSpec,
): OptionValues<O> {
  // Checked against the declarations, which are these types.
  const options = parseDeclared(verifier.options, verifier.kind, spec) as OptionValues<O>;
  verifier.check?.(options);
  return options;
}

/**
 * A template over a path, as a prompt in pieces: `{prompt}` is the path's first piece, `{text}` the others. Pieces keep
 * their token ids, so a host finds the path that it sampled in its cache.
 */
export function fillPath(
  template: string,
  [prompt, ...rest]: readonly PromptPiece[],
): readonly PromptPiece[] {
  return template.split(/(\{prompt\}|\{text\})/u).flatMap((part): readonly PromptPiece[] => {
    if (part === "{prompt}") return prompt === undefined ? [] : [prompt];
    if (part === "{text}") return rest;
    return part === "" ? [] : [{ text: part }];
  });
}
