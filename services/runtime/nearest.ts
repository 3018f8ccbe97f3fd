/** For messages about misspelt words: which of the known words was probably meant. */

/** The known word nearest to `word`, or null when none is near: at most two edits, or one in three letters. */
export function nearestWord(word: string, known: readonly string[]): string | null {
  let nearest: string | null = null;
  let fewestEdits = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const edits = countEdits(word.toLowerCase(), candidate.toLowerCase());
    if (edits < fewestEdits) [nearest, fewestEdits] = [candidate, edits];
  }
  return nearest;
}

/** ` ; did you mean "x"?`, or the known words where none is near. To be put behind a message. */
export function suggestion(word: string, known: readonly string[]): string {
  const nearest = nearestWord(word, known);
  return nearest === null ? `; known: ${known.join(", ")}` : `; did you mean "${nearest}"?`;
}

/** Levenshtein's distance, two rows at a time. */
function countEdits(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? a.length;
}
