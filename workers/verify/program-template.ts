/** The program that a candidate is judged by: a template of the user's with the candidate and its problem put in. */
import type { Candidate } from "./verifier.ts";

/** A doubled brace, or a place. Any other brace stands for itself: code needs no escaping. */
const PLACE = /\{\{|\}\}|\{([A-Za-z_][\w.-]*)\}/g;

export interface RenderedProgram {
  readonly source: string;
  /** The line, from 1, on which `{tests}` begins; null where the template has none. */
  readonly testsLine: number | null;
}

/** Whether a template asks for a place of this name. */
export function hasPlace(template: string, name: string): boolean {
  return [...template.matchAll(PLACE)].some(([, place]) => place === name);
}

/**
 * `{text}` is the candidate's, `{prompt}`, `{tests}`, `{reference}` and `{id}` are the problem's own; any other name is a key of
 * its metadata, with or without `metadata.` before it. `{{` and `}}` are braces. What the problem does not have is a text
 * that says which: a `missing` place.
 */
export function renderProgram(
  template: string,
  values: Candidate,
): RenderedProgram | { readonly missing: string } {
  let source = "";
  let testsLine: number | null = null;
  let at = 0;
  for (const match of template.matchAll(PLACE)) {
    const [written, place] = match;
    source += template.slice(at, match.index);
    at = match.index + written.length;
    if (place === undefined) {
      source += written.slice(0, 1);
      continue;
    }
    const value = valueOf(place, values);
    if (value === null) return { missing: place };
    if (place === "tests") testsLine ??= source.split("\n").length;
    source += value;
  }
  return { source: source + template.slice(at), testsLine };
}

function valueOf(place: string, { text, problem }: Candidate): string | null {
  switch (place) {
    case "text":
      return text;
    case "id":
    case "prompt":
    case "reference":
    case "tests":
      return problem[place];
    default: {
      const key = place.replace(/^metadata\./, "");
      const value = Object.hasOwn(problem.metadata, key) ? problem.metadata[key] : null;
      if (value === null || value === undefined) return null;
      return typeof value === "string" ? value : JSON.stringify(value);
    }
  }
}

const FENCE = /^[ \t]*(```+|~~~+)[^\n]*\n([\s\S]*?)^[ \t]*\1[ \t]*$/gm;

/** The last fenced block of code; the whole text where there is none. */
export function lastCodeBlock(text: string): string {
  return [...text.matchAll(FENCE)].at(-1)?.[2] ?? text;
}
