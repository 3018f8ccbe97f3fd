/**
 * Drafts by prompt lookup: what followed when the last tokens stood in the text before (Saxena 2023; vLLM's n-gram
 * speculation). A guess that costs no model; right where a text repeats its prompt or itself.
 */

/** Tokens back from the end that are searched. */
const LOOKUP_TOKENS_MAX = 4_096;

/**
 * At most `max` tokens that may follow `next`, which stands behind `before`: those behind the latest place where the last
 * three tokens stood, else the last two. Empty where they never did.
 */
export function draftBehind(before: readonly number[], next: number, max: number): readonly number[] {
  const last = before.at(-1);
  const oldest = Math.max(1, before.length - LOOKUP_TOKENS_MAX);
  let found = -1;
  for (let at = before.length - 1; at >= oldest; at -= 1) {
    if (before[at] !== next || before[at - 1] !== last) continue;
    if (found < 0) found = at;
    if (before.length > 1 && before[at - 2] === before.at(-2)) {
      found = at;
      break;
    }
  }
  return found < 0 ? [] : [...before.slice(found + 1, found + 1 + max), next].slice(0, max);
}
