/** What a model is told of an answer that failed. */
import { excerpt } from "./excerpt.ts";
import type { Verdict } from "./program.ts";

/** The strategies' parameter that bounds it. */
export const REASON_CHARS = {
  type: "integer",
  default: 2000,
  min: 16,
  max: 1_000_000,
  about: "What is told of a failure in UTF-16 units; of a longer reason its beginning and its end.",
} as const;

/** The reason of a verdict, or else the verdict itself, within `chars`. */
export function reasonOf({ reason, verdict }: Verdict, chars: number): string {
  return excerpt(reason ?? verdict, chars);
}
