/** What a model that thinks and acts by turns wrote: an action, its answer, or neither. Tolerant, linear, pure. */
import { lastCodeBlock } from "./code-block.ts";

export type Move =
  /** `tool` is in lower case, and may be no tool at all. */
  | { readonly kind: "action"; readonly tool: string; readonly input: string }
  | { readonly kind: "final"; readonly text: string }
  | { readonly kind: "none" };

/** What stands before an action and before the answer, at the beginning of a line. */
export interface Markers {
  readonly action: string;
  readonly final: string;
}

/** What may stand before a marker on its line, and between it and what it marks: Markdown's emphasis, quotes, lists. */
const ORNAMENT = new Set([" ", "\t", "*", "_", "#", ">", "-", "`"]);
const NAME = /^[\s*_`]*([A-Za-z][\w-]*)[*_`]*/u;
const INPUT_LABEL = /^[\s*]*(?:action )?input[\s*]*:/iu;
const PAIRS: Readonly<Record<string, string>> = { "[": "]", "(": ")" };

/**
 * The first move of a text. Case, emphasis and space around markers do not matter. An action is
 * `tool[input]`, `tool(input)`, or a tool's name with its input behind it, on the next line (`Action Input:`
 * may stand before it) or in a code block.
 */
export function parseMove(text: string, markers: Markers): Move {
  const lines = text.split("\n");
  for (const [i, line] of lines.entries()) {
    const final = behindMarker(line, markers.final);
    if (final !== null) return { kind: "final", text: restOf(lines, i, final).trim() };
    const action = behindMarker(line, markers.action);
    if (action !== null) return parseAction(restOf(lines, i, action));
  }
  return { kind: "none" };
}

/** The line behind the marker that it begins with; null when it begins otherwise. */
function behindMarker(line: string, marker: string): string | null {
  const stem = marker.trim().replace(/:$/u, "");
  const begun = withoutOrnament(line);
  if (stem === "" || begun.slice(0, stem.length).toLowerCase() !== stem.toLowerCase()) return null;
  const rest = withoutOrnament(begun.slice(stem.length));
  if (!marker.trim().endsWith(":")) return rest;
  return rest.startsWith(":") ? rest.slice(1).replace(/^[*_]+/u, "") : null;
}

function withoutOrnament(line: string): string {
  let start = 0;
  while (ORNAMENT.has(line.charAt(start))) start++;
  return line.slice(start);
}

function restOf(lines: readonly string[], i: number, first: string): string {
  return [first, ...lines.slice(i + 1)].join("\n");
}

function parseAction(text: string): Move {
  const [matched, name] = NAME.exec(text) ?? [];
  if (matched === undefined || name === undefined) return { kind: "none" };
  const rest = text.slice(matched.length);
  const written = enclosed(rest) ?? rest.trimStart().replace(/^:/u, "").replace(INPUT_LABEL, "");
  return { kind: "action", tool: name.toLowerCase(), input: (lastCodeBlock(written) ?? written).trim() };
}

/**
 * What the pair of brackets behind a tool's name encloses, up to the one that closes it or else the last;
 * null without one. Round ones behind a space belong to the input: `calculator (1+2)*3`.
 */
function enclosed(text: string): string | null {
  const begun = text.replace(/^[ \t]+(?=\[)/u, "");
  const open = begun.charAt(0);
  const close = PAIRS[open];
  if (close === undefined) return null;
  let depth = 0;
  for (let i = 0; i < begun.length; i++) {
    if (begun.charAt(i) === open) depth++;
    if (begun.charAt(i) === close && --depth === 0) return begun.slice(1, i);
  }
  return begun.slice(1, begun.lastIndexOf(close) > 0 ? begun.lastIndexOf(close) : undefined);
}
