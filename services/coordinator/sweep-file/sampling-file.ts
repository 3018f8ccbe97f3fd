/** The keys of `sampling` in a sweep file, and what they are inside. */
import type { Sampling, Structure } from "../../queue/job.ts";
import type { SweepFile } from "./sweep-schema.ts";

export type SamplingFile = SweepFile["sampling"];

/** Keys that hold a text to a form; a text has one form at most. */
export const STRUCTURE_KEYS = ["json_schema", "regex", "grammar"] as const;

export function toSampling(file: SamplingFile): Sampling {
  const structure = structureOf(file);
  return {
    temperature: file.temperature,
    topP: file.top_p,
    topK: file.top_k,
    minP: file.min_p,
    maxTokens: file.max_tokens,
    stop: typeof file.stop === "string" ? [file.stop] : file.stop,
    ...(file.logprobs ? { logprobs: true } : {}),
    ...(structure === null ? {} : { structure }),
    ...(file.beam_width === undefined ? {} : { beamWidth: file.beam_width }),
  };
}

function structureOf({ json_schema, regex, grammar }: SamplingFile): Structure | null {
  if (json_schema !== undefined) return { kind: "json-schema", schema: json_schema };
  if (regex !== undefined) return { kind: "regex", pattern: regex };
  return grammar === undefined ? null : { kind: "grammar", grammar };
}

export function fromSampling(sampling: Sampling): SamplingFile {
  return {
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: sampling.topK,
    min_p: sampling.minP,
    max_tokens: sampling.maxTokens,
    stop: [...sampling.stop],
    logprobs: sampling.logprobs ?? false,
    ...fromStructure(sampling.structure),
    ...(sampling.beamWidth === undefined ? {} : { beam_width: sampling.beamWidth }),
  };
}

function fromStructure(structure: Structure | undefined): Partial<SamplingFile> {
  switch (structure?.kind) {
    case undefined:
      return {};
    case "json-schema":
      return { json_schema: structure.schema };
    case "regex":
      return { regex: structure.pattern };
    case "grammar":
      return { grammar: structure.grammar };
  }
}
