/** The tokens of an answer in LaTeX or in plain text. */
import { ANSWER_CHARS_MAX, AnswerError, FUNCTIONS } from "./formula.ts";
import { isUnitWord } from "./units.ts";
import { quote } from "../verifier.ts";

/**
 * A `number` has its digits, point and exponent; a `repeating` has `0.1(6)`; a `command` is a name without its backslash; a `text`
 * is the words of a `\text{}` or a plain word; a `sign` is any other character, or `\\` `\{` `\}`.
 */
export interface Token {
  readonly kind: "number" | "repeating" | "letter" | "command" | "text" | "sign";
  readonly text: string;
  /** Whether a space stands before it. */
  readonly isApart: boolean;
}

const TOKEN = new RegExp(
  [
    String.raw`(?<space> )`,
    String.raw`\\text ?\{(?<words>[^{}\\]*)\}`,
    String.raw`(?<repeating>\d*\.\d*\\overline ?(?:\{ ?\d+ ?\}|\d))`,
    String.raw`(?<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)`,
    String.raw`\\(?<command>[A-Za-z]+)`,
    String.raw`(?<escaped>\\[\\{}|])`,
    String.raw`(?<letters>[A-Za-z]+)`,
    String.raw`(?<sign>\*\*|<=|>=|!=|[-+*/^_=<>()[\]{}|!,:;&'%\u00b0])`,
  ].join("|"),
  "guy",
);

const SIGNS: Readonly<Record<string, string>> = {
  "**": "^",
  "<=": "\\le",
  ">=": "\\ge",
  "!=": "\\ne",
  "\\|": "|",
};
const WORD_COMMANDS: ReadonlySet<string> = new Set([...FUNCTIONS, "sqrt", "pi"]);
const INFINITY_WORDS: ReadonlySet<string> = new Set(["infinity", "inf", "oo"]);
/** Shortest run of letters that is a word and not a product of symbols. */
const WORD_CHARS_MIN = 4;

/** The tokens of a text in one spelling. Throws AnswerError. */
export function tokensOf(text: string): readonly Token[] {
  if (text.length > ANSWER_CHARS_MAX) {
    throw new AnswerError("limit", `the answer is longer than ${ANSWER_CHARS_MAX} characters`);
  }
  const tokens: Token[] = [];
  let isApart = false;
  let end = 0;
  // matchAll has a copy of the pattern: the words of a \text{} are read while it goes on.
  for (const match of text.matchAll(TOKEN)) {
    const groups = match.groups ?? {};
    end = match.index + match[0].length;
    if (groups["space"] === undefined) tokens.push(...tokensFrom(groups, isApart));
    isApart = groups["space"] !== undefined;
  }
  if (end < text.length) {
    const found = String.fromCodePoint(text.codePointAt(end) ?? 0);
    throw new AnswerError("malformed", `expected mathematics, found ${quote(found)}`);
  }
  return tokens;
}

function tokensFrom(groups: Readonly<Record<string, string | undefined>>, isApart: boolean): Token[] {
  const { words, repeating, number, command, escaped, letters, sign } = groups;
  if (words !== undefined) return textTokens(words.trim(), isApart);
  if (repeating !== undefined) {
    const digits = repeating.replace(/\\overline ?\{? ?(\d+) ?\}?/, "($1)");
    return [{ kind: "repeating", text: digits, isApart }];
  }
  if (number !== undefined) return [{ kind: "number", text: number, isApart }];
  if (command !== undefined) return [{ kind: "command", text: command, isApart }];
  if (letters !== undefined) return letterTokens(letters, isApart);
  const raw = escaped ?? sign ?? "";
  const text = SIGNS[raw] ?? raw;
  return text.startsWith("\\") && /[a-z]/.test(text)
    ? [{ kind: "command", text: text.slice(1), isApart }]
    : [{ kind: "sign", text, isApart }];
}

/** A `\text{}` that holds a symbol, a function's name or a number (and words) is as good as without. */
function textTokens(words: string, isApart: boolean): Token[] {
  if (words === "") return [];
  const isSymbol = /^[A-Za-z]$/.test(words) && words !== "L" && !(isUnitWord(words) && /[a-z]/.test(words));
  if (isSymbol) return [{ kind: "letter", text: words, isApart }];
  if (WORD_COMMANDS.has(words)) return [{ kind: "command", text: words, isApart }];
  if (/^-?\d/.test(words)) return [...tokensOf(words)];
  return [{ kind: "text", text: words, isApart }];
}

function letterTokens(letters: string, isApart: boolean): Token[] {
  const word = letters.toLowerCase();
  if (WORD_COMMANDS.has(word)) return [{ kind: "command", text: word, isApart }];
  if (INFINITY_WORDS.has(word)) return [{ kind: "command", text: "infty", isApart }];
  const isWord = letters.length > 1 && (isUnitWord(letters) || word === "or" || word === "and");
  if (isWord || (letters.length >= WORD_CHARS_MIN && !isAlphabetical(word))) {
    return [{ kind: "text", text: letters, isApart }];
  }
  return Array.from(letters, (letter, at) => ({
    kind: "letter",
    text: letter,
    isApart: isApart && at === 0,
  }));
}

/** `abcd` is a product. */
function isAlphabetical(word: string): boolean {
  return Array.from(word).every((letter, at) => at === 0 || letter > word.charAt(at - 1));
}
