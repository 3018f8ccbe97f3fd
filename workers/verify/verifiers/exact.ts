/** Equality with the reference, after trimming and Unicode composition (NFC). */
import { CoppiceError, messageOf } from "../../../services/runtime/errors.ts";
import { answerKey } from "../answer-key.ts";
import { correct, defineVerifier, incorrect, lastLine, quote, undecided } from "../verifier.ts";

export const exact = defineVerifier({
  kind: "exact",
  about: "The candidate's answer is the reference's text.",
  options: {
    extract: {
      type: "choice",
      default: "text",
      choices: ["text", "last-line", "pattern"],
      about:
        "What the answer is: the whole text, its last line that is not blank, or the last match of pattern.",
    },
    pattern: {
      type: "text",
      default: null,
      about:
        "A JavaScript regular expression (flags gmu) for extract: pattern; its first group is the answer, else the whole match.",
    },
    ignore_case: {
      type: "boolean",
      default: false,
      about: "Whether letters are compared without their case.",
    },
    ignore_space: {
      type: "boolean",
      default: false,
      about: "Whether a run of white space counts as one space.",
    },
  },
  check({ extract, pattern }) {
    if ((extract === "pattern") !== (pattern !== null)) {
      throw new CoppiceError(
        "invalid_argument",
        "verifier exact: expected extract: pattern and a pattern together, found one of them",
      );
    }
    if (pattern === null) return;
    try {
      new RegExp(pattern, "gmu");
    } catch (error) {
      throw new CoppiceError(
        "invalid_argument",
        `verifier exact: pattern must be a regular expression: ${messageOf(error)}`,
      );
    }
  },
  verify({ text, problem }, options) {
    const extracted = extractAnswer(text, options);
    const found = normalise(extracted ?? "", options);
    const answer = found === "" ? null : answerKey(found);
    if (problem.reference === null) return undecided(answer, "the problem has no reference");
    if (extracted === null)
      return incorrect(null, `expected a match of ${quote(options.pattern ?? "")}, found none`);
    const expected = normalise(problem.reference, options);
    if (found === expected) return correct(answer);
    if (found === "") return incorrect(null, "the candidate's answer is empty");
    return incorrect(answer, `expected ${quote(expected)}, found ${quote(found)}`);
  },
});

interface Extract {
  readonly extract: "text" | "last-line" | "pattern";
  readonly pattern: string | null;
}

/** Null when the pattern does not match. */
function extractAnswer(text: string, { extract, pattern }: Extract): string | null {
  if (extract === "text") return text;
  if (extract === "last-line") return lastLine(text);
  let last: RegExpExecArray | null = null;
  for (const match of text.matchAll(new RegExp(pattern ?? "", "gmu"))) last = match;
  return last === null ? null : (last[1] ?? last[0]);
}

function normalise(
  text: string,
  options: { readonly ignore_case: boolean; readonly ignore_space: boolean },
): string {
  const trimmed = text.trim().normalize("NFC");
  const spaced = options.ignore_space ? trimmed.replace(/\s+/gu, " ") : trimmed;
  return options.ignore_case ? spaced.toLowerCase() : spaced;
}
