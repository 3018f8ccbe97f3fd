/**
 * A verifier that is inference: it judges by asking the host of its lane, beside the prefixes that it judges. Siblings of
 * workers/verify/verifiers: the same declaration, the same verdicts. A new kind is one file here, one line in
 * `catalogue.ts`, one in services/queue/inference.ts.
 */
import type { InferenceKind } from "../../../services/queue/inference.ts";
import {
  type AttemptUsage,
  NO_TOKENS,
  type ProblemData,
  type PromptPiece,
  type VerdictResult,
  type VerifierSpec,
} from "../../../services/queue/job.ts";
import {
  type DeclaredVerifier,
  type OptionValues,
  parseDeclared,
  undecided,
  type VerifierOptions,
} from "../../verify/verifier.ts";
import type { Driver } from "../driver.ts";
import { promptText } from "../prompt.ts";

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

const FIELDS = /(\{prompt\}|\{text\}|\{reference\})/u;

/**
 * A template over a path, as a prompt in pieces: `{prompt}` is the path's first piece, `{text}` the others, `{reference}`
 * the problem's reference. Pieces keep their token ids, so a host finds the path that it sampled in its cache. Null where
 * the template names a reference and the problem has none.
 */
export function fillPath(
  template: string,
  { path: [prompt, ...rest], problem }: Pick<Judging, "path" | "problem">,
): readonly PromptPiece[] | null {
  const parts = template.split(FIELDS);
  const { reference } = problem;
  if (reference === null && parts.includes("{reference}")) return null;
  return parts.flatMap((part): readonly PromptPiece[] => {
    if (part === "{prompt}") return prompt === undefined ? [] : [prompt];
    if (part === "{text}") return rest;
    if (part === "{reference}") return [{ text: reference ?? "" }];
    return part === "" ? [] : [{ text: part }];
  });
}

/** What was written behind the prompt of a path. */
export function textOf(path: readonly PromptPiece[]): string {
  return promptText(path.slice(1));
}

/** Where there is nothing to ask the host. */
export function unasked(reason: string): Judged {
  return { result: undecided(null, reason), usage: NO_TOKENS };
}

/** Where a template asks for the reference that a problem does not have. */
export const NO_REFERENCE: Judged = unasked("the problem has no reference");

/** What several calls cost together; what one of them does not tell, nobody knows (I8). */
export function sumOfUsages(usages: readonly AttemptUsage[]): AttemptUsage {
  const sum = (count: (usage: AttemptUsage) => number | null): number | null =>
    usages.reduce<number | null>((total, usage) => {
      const tokens = count(usage);
      return total === null || tokens === null ? null : total + tokens;
    }, 0);
  return {
    promptTokens: sum(({ promptTokens }) => promptTokens),
    cachedTokens: sum(({ cachedTokens }) => cachedTokens),
    completionTokens: sum(({ completionTokens }) => completionTokens),
  };
}
