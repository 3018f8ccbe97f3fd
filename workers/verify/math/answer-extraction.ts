/**
 * Where a text gives its answer: in its last `\boxed{}`, after its last `####`, after "the answer is", on its last line.
 * Prose around the answer is left out: the last formula between dollar signs, else the number.
 */
import { bracketed, BOXED_CHARS_MAX, extractNumber } from "../number-extraction.ts";
import { fractionText } from "../rational.ts";
import { lastLine, quote } from "../verifier.ts";
import { parseAnswer } from "./answer.ts";
import { ANSWER_CHARS_MAX, AnswerError } from "./formula.ts";
import { changesNumber } from "./units.ts";
import { spell } from "./spelling.ts";

export const PLACES = ["auto", "boxed", "hashes", "phrase", "last-line", "last-number"] as const;
export type AnswerPlace = (typeof PLACES)[number];

export type AnswerText =
  | { readonly kind: "answer"; readonly text: string }
  | { readonly kind: "none"; readonly reason: string };

/** The answer of a candidate, or why there is none. */
export function extractAnswer(text: string, place: AnswerPlace): AnswerText {
  if (text.trim() === "") return none("the candidate is empty");
  switch (place) {
    case "boxed":
      return boxed(text) ?? none("expected an answer in \\boxed{}, found no \\boxed{}");
    case "hashes":
      return afterHashes(text) ?? none("expected an answer after ####, found no ####");
    case "phrase":
      return afterPhrase(text) ?? none('expected "the answer is", found none');
    case "last-line":
      return fromProse(lastLine(text), "last");
    case "last-number":
      return number(text, "last");
    case "auto":
      return boxed(text) ?? afterHashes(text) ?? afterPhrase(text) ?? fromProse(lastLine(text), "last");
  }
}

/** The reference's answer: in its box, after its ####, or all of it. */
export function referenceText(reference: string): string {
  const found = boxed(reference) ?? afterHashes(reference);
  return found?.kind === "answer" ? found.text : reference.trim();
}

function boxed(text: string): AnswerText | null {
  const box = Math.max(text.lastIndexOf("\\boxed{"), text.lastIndexOf("\\fbox{"));
  if (box < 0) return null;
  const content = bracketed(text, text.indexOf("{", box));
  if (content === null) return none(`expected a \\boxed{} that ends within ${BOXED_CHARS_MAX} characters`);
  return content.trim() === "" ? none("the \\boxed{} is empty") : { kind: "answer", text: content.trim() };
}

function afterHashes(text: string): AnswerText | null {
  const hashes = text.lastIndexOf("####");
  if (hashes < 0) return null;
  const line = text.slice(hashes + 4).split("\n", 1)[0] ?? "";
  return line.trim() === "" ? none("expected an answer after ####, found none") : fromProse(line, "first");
}

const PHRASE = /\banswer(?: is|:)[ :]?/gi;

function afterPhrase(text: string): AnswerText | null {
  let end = -1;
  for (const match of text.matchAll(PHRASE)) end = match.index + match[0].length;
  if (end < 0) return null;
  const [line = ""] = text.slice(end).trimStart().split("\n", 1);
  return line.trim() === "" ? none("the answer is empty") : fromProse(line, "first");
}

/** Words that stand in no formula. A text with one of them is prose. */
const PROSE =
  /(?<![A-Za-z\\{])(?:the|is|are|was|were|has|have|had|he|she|it|they|we|you|there|so|thus|then|therefore|hence|will|would|because|since|this|that|makes?|gets?|costs?|needs?|pays?|earns?|spends?|total|answer)(?![A-Za-z}])/i;
const NEGATION = /(?<![A-Za-z])(?:not|never|cannot)(?![A-Za-z])|n't/i;
const INLINE = /\$(?![ $])([^$\n]{1,1000}?)(?<! )\$(?!\d)|\\\(([^\n]{1,1000}?)\\\)|\\\[([^\n]{1,1000}?)\\\]/g;

/** The narrowest part of a line that reads as an answer; where none does, its number, unless something is done to it. */
function fromProse(piece: string, which: "first" | "last"): AnswerText {
  const line = unwrapped(piece);
  if (line === "") return none("the answer is empty");
  const narrow = unwrapped(which === "first" ? beforeEnd(line) : afterVerb(line));
  for (const part of [line, narrow]) {
    if (!PROSE.test(part) && isReadable(part)) return { kind: "answer", text: part };
  }
  if (NEGATION.test(line)) return none(`expected an answer, found ${quote(line)}`);
  const choice = /^\(([A-J])\)\D*$/.exec(line)?.[1];
  if (choice !== undefined) return { kind: "answer", text: choice };
  const formulas = [...line.matchAll(INLINE)].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
  const formula = which === "first" ? formulas.find(isReadable) : formulas.findLast(isReadable);
  if (formula !== undefined) return { kind: "answer", text: formula };
  const spelled = spell(/\d/.test(narrow) ? narrow : line);
  const isChanged = OPERATION.test(spelled.replace(SCIENTIFIC, "")) || changesNumber(spelled);
  const found = isChanged || /^\([A-J]\)/.test(line) ? null : number(spelled, which);
  if (found?.kind === "answer") return found;
  if (line.length <= ANSWER_CHARS_MAX) return { kind: "answer", text: line };
  return found ?? none(`the answer is longer than ${ANSWER_CHARS_MAX} characters`);
}

const SCIENTIFIC = /(?<=\d) ?\\times 10\^\{?-?\d{1,3}\}?/g;
/** What would make a number the operand of something. */
const OPERATION = /[\\^_*+=!|{}<>\u221a\u03c0\u00d7\u00b7]|\d ?[-\u2212/] ?\d/;

/** Up to the end of the sentence, or to what is added in parentheses or after a comma. */
function beforeEnd(line: string): string {
  return line.split(/ \(|;|\. |, (?=[A-Za-z])/, 1)[0] ?? line;
}

/** After the last "is", "are", "equals", "=" or ":". */
function afterVerb(line: string): string {
  const verbs = [...line.matchAll(/(?<![A-Za-z])(?:is|are|equals)(?![A-Za-z])|[=:]/gi)];
  const last = verbs.at(-1);
  return last === undefined ? line : line.slice(last.index + last[0].length);
}

/** Without bold marks, and without the dollar signs around the whole. */
function unwrapped(piece: string): string {
  const line = piece.replace(/(?<![\w)*])\*\*([^*\n]{1,1000})\*\*(?![\w(*])/g, "$1").trim();
  const inside = /^(?:\$\$?([^$]+)\$\$?|\\\((.+)\\\)|\\\[(.+)\\\])[.,]?$/.exec(line);
  return (inside?.[1] ?? inside?.[2] ?? inside?.[3] ?? line).trim();
}

/** Whether it reads as mathematics, or as what may be mathematics that is not known here. */
function isReadable(text: string): boolean {
  if (text.length > ANSWER_CHARS_MAX) return false;
  try {
    const answer = parseAnswer(text);
    return answer.kind !== "words";
  } catch (error) {
    if (error instanceof AnswerError) return false;
    throw error;
  }
}

function number(text: string, which: "first" | "last"): AnswerText {
  // After #### the first number counts.
  const found =
    which === "first"
      ? extractNumber(`#### ${text}`, "hashes", "ignore")
      : extractNumber(text, "last-number", "ignore");
  return found.kind === "number" ? { kind: "answer", text: fractionText(found.value) } : found;
}

function none(reason: string): AnswerText {
  return { kind: "none", reason };
}
