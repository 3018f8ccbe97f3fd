/** The steps of a text, and one score from the scores of them all. */

/** In the wild: `last` (search-and-learn), `min` (Lightman et al.), `prod` (Wang et al.), `mean`, `max`. */
export const AGGREGATES = ["last", "min", "prod", "mean", "max"] as const;
export type Aggregate = (typeof AGGREGATES)[number];

/** A text has no more, else whoever wrote the delimiter meant another. */
export const STEPS_MAX = 1_024;

export const AGGREGATE_OPTION = {
  type: "choice",
  default: "last",
  choices: AGGREGATES,
  about: "How the scores of the steps become one.",
} as const;

/** What stands between the delimiters, empty pieces left out; the whole text where there is no other. */
export function stepsOf(text: string, delimiter: string): readonly string[] {
  const steps = text.split(delimiter).filter((step) => step.trim() !== "");
  return steps.length === 0 ? [text] : steps;
}

/** `scores`: at least one. */
export function aggregate(scores: readonly number[], how: Aggregate): number {
  switch (how) {
    case "last":
      return scores.at(-1) ?? Number.NaN;
    case "min":
      return scores.reduce((least, score) => Math.min(least, score), Infinity);
    case "max":
      return scores.reduce((most, score) => Math.max(most, score), -Infinity);
    case "prod":
      return scores.reduce((product, score) => product * score, 1);
    case "mean":
      return scores.reduce((sum, score) => sum + score, 0) / scores.length;
  }
}
