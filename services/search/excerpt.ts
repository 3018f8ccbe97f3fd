/** Long texts made short, for prompts. Pure. */

const GAP = "\n...\n";

/** A text of at most `chars` UTF-16 units, or its beginning and its end with a gap between, of about that length. */
export function excerpt(text: string, chars: number): string {
  if (text.length <= chars) return text;
  const half = Math.max(1, Math.floor((chars - GAP.length) / 2));
  return `${text.slice(0, half).toWellFormed()}${GAP}${text.slice(-half).toWellFormed()}`;
}
