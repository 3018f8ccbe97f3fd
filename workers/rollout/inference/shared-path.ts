/** What a verifier's prompts have in common with the path that they judge: as much of a host's cache serves both. */
import type { VerifierSpec } from "../../../services/queue/job.ts";
import type { PromptPath } from "../prompt-path.ts";
import { INFERENCE_VERIFIERS } from "./catalogue.ts";
import { parseInferenceOptions } from "./inference-verifier.ts";

/**
 * The part of the path that the verifier's prompts begin with, for a specification that `createJudge` took. A reward model
 * pools over a whole text and keeps nothing of it.
 */
export function sharedPath(spec: VerifierSpec, path: PromptPath): PromptPath {
  const verifier = INFERENCE_VERIFIERS.find(({ kind }) => kind === spec.kind);
  if (verifier === undefined || verifier.kind === "reward-model") return [];
  if (verifier.kind === "likelihood") return path;
  const options: Readonly<Record<string, unknown>> = parseInferenceOptions(verifier, spec);
  const template = options["template"] ?? options["prompt"];
  if (typeof template !== "string") return [];
  // Where steps are marked, the text behind the prompt is written anew.
  const isVerbatim = template.startsWith("{prompt}{text}") && (options["steps"] ?? null) === null;
  if (isVerbatim) return path;
  return template.startsWith("{prompt}") ? path.slice(0, 1) : [];
}
