/** The key of an answer for votes: the answer itself, or of a long one its beginning and its hash. */
import { createHash } from "node:crypto";

/** Longest answer that is its own key, in characters. */
const ANSWER_CHARS_MAX = 1_024;

export function answerKey(answer: string): string {
  if (answer.length <= ANSWER_CHARS_MAX) return answer;
  const hash = createHash("sha256").update(answer).digest("hex").slice(0, 32);
  return `${answer.slice(0, 64).toWellFormed()}... sha256:${hash}`;
}
