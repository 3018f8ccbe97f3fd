/** One score of a path from the process verifier's scores of its steps, s_1 to s_T. */
import type { Parameter } from "./strategy.ts";

const AGGREGATES = ["last", "min", "prod", "mean", "max"] as const;

/** last: s_T; min and max: of all; prod: of all, multiplied; mean: their arithmetic mean. */
export type Aggregate = (typeof AGGREGATES)[number];

/** How a strategy declares it. */
export const AGGREGATE = {
  type: "choice",
  default: "last",
  choices: AGGREGATES,
  about: "The score of a path from those of its steps.",
} as const satisfies Parameter;

/** Null where a step that counts has no score; 0 for a path without steps, as REBASE has it. */
export function aggregate(scores: readonly (number | null)[], how: Aggregate): number | null {
  if (how === "last") return scores.length === 0 ? 0 : (scores.at(-1) ?? null);
  const known = scores.filter((score) => score !== null);
  if (known.length < scores.length) return null;
  if (known.length === 0) return 0;
  switch (how) {
    case "min":
      return known.reduce((least, score) => Math.min(least, score));
    case "max":
      return known.reduce((most, score) => Math.max(most, score));
    case "prod":
      return known.reduce((product, score) => product * score);
    case "mean":
      return known.reduce((sum, score) => sum + score) / known.length;
  }
}
