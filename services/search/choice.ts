/** Reading which of some numbered texts a model chose. Pure. */

/** A whole number that is no part of a longer word or of a decimal. */
const WHOLE_NUMBER = /(?<![\w.])\d+(?!\w|\.\d)/gu;

/**
 * Which of `count` texts, numbered from 1, a reply names: the position from 0 of the last such number in it, because a model
 * that reasons decides at the end. Null when it names none.
 */
export function chosenIn(reply: string, count: number): number | null {
  const numbers = [...reply.matchAll(WHOLE_NUMBER)].map(([digits]) => Number(digits));
  const chosen = numbers.findLast((number) => number >= 1 && number <= count);
  return chosen === undefined ? null : chosen - 1;
}
