/** What an answer can be, and how one is read: a value, a list, a set, a tuple or interval, a union, a matrix, a relation. */
import { AnswerError, type Formula, FORMULA_DEPTH_MAX, INFINITY, negativeOf, symbolOf } from "./formula.ts";
import { parseFormula } from "./formula-parser.ts";
import { spell } from "./spelling.ts";
import { type Token, tokensOf } from "./tokens.ts";
import { isUnit, unitName } from "./units.ts";

export type Answer =
  /** `unit` is "" where none is written. */
  | { readonly kind: "value"; readonly formula: Formula; readonly unit: string }
  /** Several answers, in no order: `2, 3`, `1 \pm \sqrt{2}`. */
  | { readonly kind: "list"; readonly elements: readonly Answer[] }
  | { readonly kind: "set"; readonly elements: readonly Answer[] }
  | {
      readonly kind: "tuple";
      readonly open: string;
      readonly close: string;
      readonly elements: readonly Answer[];
      /** The variable of an inequality, null for what is written as an interval or a tuple. */
      readonly variable: string | null;
    }
  | { readonly kind: "union"; readonly parts: readonly Answer[] }
  | {
      readonly kind: "matrix";
      readonly isDeterminant: boolean;
      readonly rows: readonly (readonly Answer[])[];
    }
  /** `x = 5`, `f(x) = 2x`: an answer and the name it was given. */
  | { readonly kind: "named"; readonly name: string; readonly value: Answer }
  | { readonly kind: "equation"; readonly left: Formula; readonly right: Formula }
  | { readonly kind: "words"; readonly words: string };

/** Elements of one answer. */
const ELEMENTS_MAX = 64;

/** Throws AnswerError. */
export function parseAnswer(text: string): Answer {
  const spelled = spell(text);
  const grouped = /^-?\d{1,3}(?:,\d{3})+(?=$|[. %\u00b0\\])/.exec(spelled)?.[0];
  const plain = grouped === undefined ? spelled : grouped.replaceAll(",", "") + spelled.slice(grouped.length);
  return read(tokensOf(plain), 0);
}

/** Whether commas that group thousands could also part elements: `100,200`. */
export function isGroupedNumber(text: string): boolean {
  return /^-?\d{1,3}(?:,\d{3})+$/.test(spell(text));
}

function read(tokens: readonly Token[], depth: number): Answer {
  if (depth > FORMULA_DEPTH_MAX) {
    throw new AnswerError("limit", `the answer is nested deeper than ${FORMULA_DEPTH_MAX} levels`);
  }
  if (tokens.length === 0) throw new AnswerError("malformed", "expected an answer, found the end");
  if (isWrapped(tokens, "{", "}")) return read(tokens.slice(1, -1), depth + 1);
  const words = wordsOf(tokens);
  if (words !== null) return words;
  const alternatives = split(tokens, (token) => token.kind === "text" && token.text.trim() === "or");
  if (alternatives.length > 1) return alternativesOf(alternatives.map((part) => read(part, depth + 1)));
  const elements = split(tokens, (token) => token.text === "," || isAnd(token));
  if (elements.length > 1) {
    return {
      kind: "list",
      elements: elementsOf(
        elements.filter((part) => part.length > 0),
        depth,
      ),
    };
  }
  return relation(tokens, depth) ?? collection(tokens, depth) ?? plusMinus(tokens, depth) ?? quantity(tokens);
}

function isAnd(token: Token): boolean {
  return token.kind === "text" && token.text.trim() === "and";
}

/** Nothing but words, or one choice such as `\text{(A)}`. */
function wordsOf(tokens: readonly Token[]): Answer | null {
  if (!tokens.every((token) => token.kind === "text")) return null;
  const words = tokens.map((token) => token.text.trim()).join(" ");
  const choice = /^\(?([A-Za-z])\)?$/.exec(words)?.[1];
  if (choice !== undefined) return { kind: "value", formula: symbolOf(choice), unit: "" };
  return { kind: "words", words: words.toLowerCase().replace(/\s+/g, " ") };
}

function alternativesOf(parts: readonly Answer[]): Answer {
  const isRange = parts.every((part) => part.kind === "tuple" || part.kind === "union");
  return isRange ? { kind: "union", parts } : { kind: "list", elements: parts };
}

function elementsOf(parts: readonly (readonly Token[])[], depth: number): readonly Answer[] {
  if (parts.length > ELEMENTS_MAX) {
    throw new AnswerError("limit", `the answer has more than ${ELEMENTS_MAX} elements`);
  }
  if (parts.some(([only, ...more], at) => at > 0 && more.length === 0 && /^0\d\d$/.test(only?.text ?? ""))) {
    throw new AnswerError("ambiguous", "commas may group thousands or part elements");
  }
  const elements = parts.map((part) => read(part, depth + 1));
  // "x < 1, x > 3" may mean both or either.
  if (elements.some((element) => element.kind === "tuple" && element.variable !== null)) {
    throw new AnswerError("ambiguous", "several inequalities may all hold or one of them");
  }
  return elements;
}

const RELATIONS: ReadonlySet<string> = new Set(["=", "<", ">", "le", "ge", "ne", "in"]);

/** Null for what has no relation. */
function relation(tokens: readonly Token[], depth: number): Answer | null {
  const signs: string[] = [];
  const sides = split(tokens, (token) => {
    const isRelation = (token.kind === "sign" || token.kind === "command") && RELATIONS.has(token.text);
    if (isRelation) signs.push(token.text);
    return isRelation;
  });
  const [left, right] = sides;
  const [sign] = signs;
  if (left === undefined || right === undefined || sign === undefined) return null;
  if (signs.every((each) => each === "=" || each === "in")) {
    const name = nameOf(left);
    if (name !== null) return { kind: "named", name, value: read(tokens.slice(left.length + 1), depth + 1) };
    if (signs.length > 1) throw new AnswerError("unsupported", "a chain of equations is not supported");
    if (sign === "=") return { kind: "equation", left: parseFormula(left), right: quantity(right).formula };
  }
  return inequality(sides, signs);
}

/** `x`, `x_1`, `\theta`, `f(x)` or a word: what an answer may be named; null for anything else. */
function nameOf(tokens: readonly Token[]): string | null {
  const text = tokens.map((token) => token.text).join("");
  const [first] = tokens;
  if (first?.kind === "text" && tokens.every((token) => token.kind === "text")) return text.toLowerCase();
  if (first === undefined || (first.kind !== "letter" && first.kind !== "command")) return null;
  return /^(?:[A-Za-z]|[a-z]{2,})(?:_\{?\w{1,3}\}?)?(?:\([A-Za-z]\))?$/.test(text) && text !== "infty"
    ? text
    : null;
}

const PLUS_INFINITY: Answer = { kind: "value", formula: symbolOf(INFINITY), unit: "" };
const MINUS_INFINITY: Answer = { kind: "value", formula: negativeOf(symbolOf(INFINITY)), unit: "" };

/** `a < x`, `a \le x < b` and their mirror images as intervals. */
function inequality(sides: readonly (readonly Token[])[], signs: readonly string[]): Answer {
  const isDown = signs.every((sign) => sign === ">" || sign === "ge");
  const isUp = signs.every((sign) => sign === "<" || sign === "le");
  const [low, middle, high] = isDown ? sides.toReversed() : sides;
  const [first, second] = isDown ? signs.toReversed() : signs;
  if ((!isUp && !isDown) || sides.length > 3 || low === undefined || middle === undefined) {
    throw new AnswerError("unsupported", "a relation of that kind is not supported");
  }
  if (high !== undefined) {
    return interval(nameOf(middle), quantity(low), quantity(high), [isStrict(first), isStrict(second)]);
  }
  const name = nameOf(low);
  return name !== null
    ? interval(name, MINUS_INFINITY, quantity(middle), [true, isStrict(first)])
    : interval(nameOf(middle), quantity(low), PLUS_INFINITY, [isStrict(first), true]);
}

function isStrict(sign: string | undefined): boolean {
  return sign === "<" || sign === ">";
}

function interval(
  variable: string | null,
  low: Answer,
  high: Answer,
  [isOpen, isOpenAbove]: readonly [boolean, boolean],
): Answer {
  if (variable === null)
    throw new AnswerError("unsupported", "an inequality without a variable is not supported");
  const [open, close] = [isOpen ? "(" : "[", isOpenAbove ? ")" : "]"];
  return { kind: "tuple", open, close, elements: [low, high], variable: variable === "" ? null : variable };
}

/** Unions, sets, tuples, intervals and matrices; null for anything else. */
function collection(tokens: readonly Token[], depth: number): Answer | null {
  const parts = split(tokens, (token) => token.kind === "command" && token.text === "cup");
  if (parts.length > 1) return { kind: "union", parts: elementsOf(parts, depth) };
  const only = tokens.length === 1 ? tokens[0] : undefined;
  if (only?.kind === "command" && only.text === "emptyset") return { kind: "set", elements: [] };
  if (tokens.map((token) => token.text).join("") === "mathbb{R}") {
    return interval("", MINUS_INFINITY, PLUS_INFINITY, [true, true]);
  }
  if (isWrapped(tokens, "\\{", "\\}")) {
    const inside = tokens.slice(1, -1);
    if (inside.some((token) => token.text === "|" || token.text === ":")) {
      throw new AnswerError("unsupported", "a set given by a condition is not supported");
    }
    return { kind: "set", elements: inside.length === 0 ? [] : elementsOf(commaParts(inside), depth) };
  }
  for (const [open, close] of TUPLES) {
    if (!isWrapped(tokens, open, close)) continue;
    const inside = commaParts(tokens.slice(1, -1));
    if (inside.length > 1) {
      return { kind: "tuple", open, close, elements: elementsOf(inside, depth), variable: null };
    }
  }
  return matrix(tokens, depth);
}

const TUPLES = [
  ["(", ")"],
  ["[", "]"],
  ["(", "]"],
  ["[", ")"],
  ["langle", "rangle"],
] as const;

function commaParts(tokens: readonly Token[]): readonly (readonly Token[])[] {
  return split(tokens, (token) => token.text === ",");
}

function matrix(tokens: readonly Token[], depth: number): Answer | null {
  if (tokens[0]?.text !== "begin") return null;
  const { name, inside } = environment(tokens);
  if (!/^[pbvV]?matrix$|^array$/.test(name)) {
    throw new AnswerError("unsupported", `\\begin{${name}} is not supported`);
  }
  const rows = split(inside, (token) => token.text === "\\\\").filter((row) => row.length > 0);
  if (rows.length > ELEMENTS_MAX)
    throw new AnswerError("limit", `the answer has more than ${ELEMENTS_MAX} rows`);
  return {
    kind: "matrix",
    isDeterminant: name.startsWith("v") || name.startsWith("V"),
    rows: rows.map((row) =>
      elementsOf(
        split(row, (token) => token.text === "&"),
        depth,
      ),
    ),
  };
}

/** `\begin{name}...\end{name}` and nothing else. */
function environment(tokens: readonly Token[]): { readonly name: string; readonly inside: readonly Token[] } {
  const close = tokens.findIndex((token) => token.text === "}");
  const name = tokens
    .slice(2, Math.max(2, close))
    .map((token) => token.text)
    .join("");
  const end = tokens.findIndex((token) => token.text === "end");
  const after = tokens.slice(end + 2, -1).map((token) => token.text);
  if (close < 0 || end < close || after.join("") !== name) {
    throw new AnswerError("malformed", "expected one \\begin{} and its \\end{}");
  }
  const start =
    tokens[close + 1]?.text === "{"
      ? tokens.findIndex((token, at) => at > close + 1 && token.text === "}")
      : close;
  return { name, inside: tokens.slice(start + 1, end) };
}

/** Two values for one sign that is both; null where there is none. */
function plusMinus(tokens: readonly Token[], depth: number): Answer | null {
  const isBoth = (token: Token): boolean =>
    token.kind === "command" && (token.text === "pm" || token.text === "mp");
  if (!tokens.some(isBoth)) return null;
  if (tokens.filter(isBoth).length > 1)
    throw new AnswerError("unsupported", "several \\pm are not supported");
  const signed = (sign: string): Answer =>
    read(
      tokens.map((token) => (isBoth(token) ? { ...token, kind: "sign", text: sign } : token)),
      depth + 1,
    );
  return { kind: "list", elements: [signed("+"), signed("-")] };
}

/** A formula, and after it a unit. */
function quantity(tokens: readonly Token[]): Extract<Answer, { readonly kind: "value" }> {
  if (
    /^\([A-J]\)$/.test(
      tokens
        .slice(0, 3)
        .map((token) => token.text)
        .join(""),
    ) &&
    tokens[3]?.isApart === true
  ) {
    throw new AnswerError("ambiguous", "a choice and what it stands for may each be the answer");
  }
  const start = unitStart(tokens);
  const unit = tokens.slice(start).map((token) => token.text);
  const formula = tokens.slice(0, start);
  if (formula.length === 0) throw new AnswerError("malformed", "expected a number before its unit");
  if (tokens.some(({ kind, text }) => kind === "sign" && /^[:;']$/.test(text))) {
    throw new AnswerError("unsupported", "a ratio, a time or a list by semicolons is not supported");
  }
  if (tokens.slice(start).some((token) => !isUnitPart(token)) || !isUnit(unit.join(" "))) {
    throw new AnswerError("unsupported", "words inside a formula are not supported");
  }
  return {
    kind: "value",
    formula: parseFormula(formula),
    unit: unitName(unit.join(" ").replace(/[{}]/g, "").replace(/\^ +/g, "^")),
  };
}

/** Where the unit begins: at the first word, or at a percent or degree sign that ends the formula. */
function unitStart(tokens: readonly Token[]): number {
  const word = tokens.findIndex((token) => token.kind === "text");
  if (word > 0 && /^[%\u00b0]$/.test(tokens[word - 1]?.text ?? "")) return word - 1;
  if (word >= 0) return word;
  if (/^[CF]$/.test(tokens.at(-1)?.text ?? "") && tokens.at(-2)?.text === "\u00b0") return tokens.length - 2;
  const last = tokens.at(-1)?.text;
  const isPlain = !tokens.some(
    (token) => token.kind === "command" && /^(?:sin|cos|tan|cot|sec|csc)$/.test(token.text),
  );
  const isSigned = last === "%" || (last === "\u00b0" && isPlain && tokens.filter(isDegree).length === 1);
  return isSigned ? tokens.length - 1 : tokens.length;
}

function isDegree(token: Token): boolean {
  return token.text === "\u00b0";
}

function isUnitPart(token: Token): boolean {
  if (token.kind === "number") return /^[23]$/.test(token.text);
  return token.kind === "text" || /^[CF{}^/%\u00b0.]$/.test(token.text);
}

const OPENING: ReadonlySet<string> = new Set(["(", "[", "{", "\\{", "langle", "lfloor", "lceil", "begin"]);
const CLOSING: ReadonlySet<string> = new Set([")", "]", "}", "\\}", "rangle", "rfloor", "rceil", "end"]);

/** Parts at the separators that stand in no brackets. Bars are no brackets: `|x, y|` is nothing. */
function split(tokens: readonly Token[], isSeparator: (token: Token) => boolean): (readonly Token[])[] {
  const parts: Token[][] = [[]];
  let depth = 0;
  for (const token of tokens) {
    if (OPENING.has(token.text)) depth += 1;
    if (CLOSING.has(token.text)) depth -= 1;
    if (depth === 0 && isSeparator(token)) parts.push([]);
    else parts.at(-1)?.push(token);
  }
  return parts;
}

/** Whether the first token opens what the last one closes. */
function isWrapped(tokens: readonly Token[], open: string, close: string): boolean {
  if (tokens.length < 2 || tokens[0]?.text !== open || tokens.at(-1)?.text !== close) return false;
  let depth = 0;
  for (const [index, token] of tokens.entries()) {
    if (OPENING.has(token.text)) depth += 1;
    if (CLOSING.has(token.text)) depth -= 1;
    if (depth <= 0) return index === tokens.length - 1;
  }
  return false;
}
