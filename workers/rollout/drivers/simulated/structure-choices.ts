/** What a structure leaves to say, where it is a choice of texts: the only structures that simulated hosts follow. */
import { CoppiceError } from "../../../../services/runtime/errors.ts";

const WORD = "[A-Za-z0-9_ ,:-]*";
const REGEX = new RegExp(`^\\(?(${WORD}(?:\\|${WORD})*)\\)?$`);
const GRAMMAR = /^\s*root\s*::=\s*("[^"\\]*"(?:\s*\|\s*"[^"\\]*")*)\s*$/;

/**
 * @param structure vLLM's `structured_outputs`: {json: {enum}}, {choice}, {regex: "(a|b)"} or {grammar: 'root ::= "a" | "b"'}.
 * @throws CoppiceError "invalid_argument" for any other.
 */
export function choicesOf(structure: Readonly<Record<string, unknown>>): readonly string[] {
  const { json, choice, regex, grammar } = structure;
  const schema: unknown = typeof json === "string" ? parsed(json) : json;
  if (typeof schema === "object" && schema !== null && "enum" in schema && Array.isArray(schema.enum))
    return filled(schema.enum.map((value: unknown) => JSON.stringify(value)));
  if (Array.isArray(choice) && choice.every((each) => typeof each === "string")) return filled(choice);
  const words = typeof regex === "string" ? REGEX.exec(regex)?.[1] : undefined;
  if (words !== undefined) return words.split("|");
  const quoted = typeof grammar === "string" ? GRAMMAR.exec(grammar)?.[1] : undefined;
  if (quoted !== undefined) return quoted.split(/\s*\|\s*(?=")/).map((each) => each.slice(1, -1));
  throw refusal(structure);
}

function filled(choices: readonly string[]): readonly string[] {
  if (choices.length === 0) throw refusal({ choice: choices });
  return choices;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function refusal(structure: unknown): CoppiceError {
  return new CoppiceError(
    "invalid_argument",
    `structured_outputs: expected a choice of texts, since a simulated host follows no other structure; found ${JSON.stringify(structure).slice(0, 200)}`,
  );
}
