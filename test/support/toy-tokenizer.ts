/** A tokenizer for test servers: the words of their model, longest first, and every other character by itself. */

/** What the model of a test server says. */
export const WORDS = ["10", " - 4", " = 6", " left", " 5", " 6", " 6 6", "\n", " so"] as const;
export const BEGIN = 1;
export const END = 2;
const FIRST_WORD = 10;
const FIRST_CHARACTER = 1_000;
const LONGEST_FIRST = WORDS.map((word, index) => ({ word, id: FIRST_WORD + index })).toSorted(
  (a, b) => b.word.length - a.word.length,
);

export function encode(text: string, { begins }: { readonly begins: boolean }): number[] {
  const ids = begins ? [BEGIN] : [];
  for (let at = 0; at < text.length;) {
    const found = LONGEST_FIRST.find(({ word }) => text.startsWith(word, at));
    const character = String.fromCodePoint(text.codePointAt(at) ?? 0);
    ids.push(found?.id ?? FIRST_CHARACTER + (character.codePointAt(0) ?? 0));
    at += (found?.word ?? character).length;
  }
  return ids;
}

export function decode(ids: readonly number[]): string {
  return ids.map(wordOf).join("");
}

/** Of one word of the model. */
export function idOf(word: string): number {
  return LONGEST_FIRST.find((each) => each.word === word)?.id ?? encode(word, { begins: false })[0] ?? END;
}

/** As though the model were sure of some tokens and not of others, wherever they stand. */
export function logprobOf(id: number): number {
  return -(1 + (id % 7)) / 4;
}

function wordOf(id: number): string {
  if (id >= FIRST_CHARACTER) return String.fromCodePoint(id - FIRST_CHARACTER);
  return WORDS[id - FIRST_WORD] ?? "";
}
