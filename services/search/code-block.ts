/** Programs in a model's answer. Pure. */

const FENCE = "```";

/**
 * What stands in the last fenced block of a text, without the line that opens it; null when there is none. A block that is
 * not closed reaches to the end: a model that stopped early still wrote its program.
 */
export function lastCodeBlock(text: string): string | null {
  const lines = text.split("\n");
  const fences = lines.flatMap((line, i) => (line.trimStart().startsWith(FENCE) ? [i] : []));
  const isClosed = fences.length % 2 === 0;
  const open = fences.at(isClosed ? -2 : -1);
  if (open === undefined) return null;
  return lines.slice(open + 1, isClosed ? fences.at(-1) : undefined).join("\n");
}
