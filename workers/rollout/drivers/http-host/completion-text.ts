/** What dialects have in common of a completion's text and structure. Pure. */
import type { Structure } from "../../../../services/queue/job.ts";
import type { Finish } from "./dialect.ts";

/** The value of a structure, as engines take it: a schema, a pattern, a grammar. */
export function structureValue(structure: Structure): unknown {
  switch (structure.kind) {
    case "json-schema":
      return structure.schema;
    case "regex":
      return structure.pattern;
    case "grammar":
      return structure.grammar;
  }
}

/**
 * The text with the stop string that ended it, and that string. Where the server does not say which it was: a text that is
 * not empty was ended by the first of the stop strings, an empty one by the model itself. That is a guess, made only for
 * servers that are none of vLLM, SGLang and llama-server.
 */
export function withStopString(
  text: string,
  finish: Finish,
  stop: readonly string[],
): { readonly text: string; readonly stopString: string | null } {
  const guess = finish.reason === "stop" && text !== "" ? (stop[0] ?? null) : null;
  const stopString = finish.stopString === undefined ? guess : finish.stopString;
  return { text: stopString === null || text.endsWith(stopString) ? text : text + stopString, stopString };
}
