/** How alike two texts are, word by word. Pure. */

/** The most words of a text that are compared, from its end: what an answer comes to stands there. */
const WORDS_MAX = 1024;
/** Cells of distance tables that one comparison of all pairs may fill, about 0.2 s. More texts are compared by fewer words. */
const CELLS_MAX = 1 << 26;

/**
 * 1 - d(a, b) / max(|a|, |b|) for every pair of texts, with d the Levenshtein distance over words and |.| their number; 1 for
 * two texts without words. Symmetric, in [0, 1]. Only the last 1024 words of a text count, fewer where many are compared.
 */
export function editSimilarities(texts: readonly string[]): readonly (readonly number[])[] {
  const wordsMax = Math.min(WORDS_MAX, Math.floor(Math.sqrt((2 * CELLS_MAX) / texts.length ** 2)));
  const numbers = new Map<string, number>();
  const words = texts.map((text) => numbered(text.match(/\S+/gu)?.slice(-wordsMax) ?? [], numbers));
  const rows = texts.map(() => texts.map(() => 1));
  for (const [i, a] of words.entries()) {
    for (let j = 0; j < i; j++) {
      // `j` is below `i`, and there is a row for each text.
      const similarity = texts[i] === texts[j] ? 1 : similarityOf(a, words[j] as Int32Array);
      (rows[i] as number[])[j] = similarity;
      (rows[j] as number[])[i] = similarity;
    }
  }
  return rows;
}

/** Words as numbers, equal where the words are. */
function numbered(words: readonly string[], numbers: Map<string, number>): Int32Array {
  return Int32Array.from(words, (word) => {
    const known = numbers.get(word) ?? numbers.size;
    numbers.set(word, known);
    return known;
  });
}

function similarityOf(a: Int32Array, b: Int32Array): number {
  const longer = Math.max(a.length, b.length);
  return longer === 0 ? 1 : 1 - distance(a, b) / longer;
}

/** Levenshtein, one row of the table at a time. Every index is within its array. */
function distance(a: Int32Array, b: Int32Array): number {
  const row = Int32Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 0; i < a.length; i++) {
    let diagonal = i;
    row[0] = i + 1;
    for (let j = 0; j < b.length; j++) {
      const above = row[j + 1] as number;
      const replaced = diagonal + Number(a[i] !== b[j]);
      row[j + 1] = Math.min(replaced, above + 1, (row[j] as number) + 1);
      diagonal = above;
    }
  }
  return row[b.length] as number;
}
