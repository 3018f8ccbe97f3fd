/**
 * One spelling for what is only written differently: the string rules of the hendrycks_math, Minerva and PRM800K graders
 * that cannot change a meaning. Every pattern takes time linear in the text.
 */

const CHARACTERS: Readonly<Record<string, string>> = {
  "\u2212": "-",
  "\u2013": "-",
  "\u00d7": "\\times ",
  "\u00b7": "\\cdot ",
  "\u22c5": "\\cdot ",
  "\u00f7": "\\div ",
  "\u221a": "\\sqrt ",
  "\u03c0": "\\pi ",
  "\u03b8": "\\theta ",
  "\u03b1": "\\alpha ",
  "\u03b2": "\\beta ",
  "\u221e": "\\infty ",
  "\u2264": "\\le ",
  "\u2265": "\\ge ",
  "\u2260": "\\ne ",
  "\u222a": "\\cup ",
  "\u2229": "\\cap ",
  "\u00b1": "\\pm ",
  "\u2208": "\\in ",
  "\u211d": "\\mathbb{R}",
  "\u2205": "\\emptyset ",
  "\u00b2": "^{2}",
  "\u00b3": "^{3}",
  "\u00bd": "\\frac{1}{2}",
  "\u00bc": "\\frac{1}{4}",
  "\u00be": "\\frac{3}{4}",
  "\u00a0": " ",
};
const CHARACTER = new RegExp(`[${Object.keys(CHARACTERS).join("")}]`, "gu");

const COMMANDS: Readonly<Record<string, string>> = {
  dfrac: "\\frac",
  tfrac: "\\frac",
  cfrac: "\\frac",
  dbinom: "\\binom",
  tbinom: "\\binom",
  leq: "\\le",
  leqslant: "\\le",
  geq: "\\ge",
  geqslant: "\\ge",
  lt: "<",
  gt: ">",
  neq: "\\ne",
  lbrace: "\\{",
  rbrace: "\\}",
  lbrack: "[",
  rbrack: "]",
  lvert: "|",
  rvert: "|",
  vert: "|",
  mid: "|",
  varnothing: "\\emptyset",
  degree: "\u00b0",
  textdegree: "\u00b0",
  infin: "\\infty",
  asin: "\\arcsin",
  acos: "\\arccos",
  atan: "\\arctan",
  textbf: "\\text",
  textit: "\\text",
  textrm: "\\text",
  mathrm: "\\text",
  mathbf: "\\text",
  mathit: "\\text",
  mbox: "\\text",
  hbox: "\\text",
  operatorname: "\\text",
  lor: "\\text{or}",
  vee: "\\text{or}",
};

/** Commands that show and do not mean anything. */
const EMPTY = /^(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|boldsymbol|bm)$/;
const SPACE = /^(?:quad|qquad|space|thinspace)$/;

/** A row's end stays, and a negative space is none. */
const SPACES: Readonly<Record<string, string>> = { "\\\\": "\\\\", "\\!": "" };

/** A number's scale in words: `5 million`, `5\text{ million}`. */
const SCALED = /(?<=\d) ?(?:\\text ?\{ ?(thousand|[mbt]r?illion) ?\}|(thousand|[mbt]r?illion)(?![A-Za-z]))/gi;
const SCALES: Readonly<Record<string, string>> = {
  thousand: "3",
  million: "6",
  billion: "9",
  trillion: "12",
};

function scale(word: string): string {
  const exponent = SCALES[word.toLowerCase()];
  return exponent === undefined ? ` ${word}` : ` \\times 10^{${exponent}}`;
}

/** The text in one spelling; texts that are spelled alike mean the same. */
export function spell(text: string): string {
  return text
    .normalize("NFC")
    .replace(CHARACTER, (character) => CHARACTERS[character] ?? "")
    .replace(/\\\\|\\([A-Za-z]+)/g, (whole, name?: string) => command(name ?? "") ?? whole)
    .replace(/\\\\|\\[!,;:> ]|~/g, (space) => SPACES[space] ?? " ")
    .replace(/\{,\}/g, "")
    .replace(/\^ ?(?:\\circ(?![A-Za-z])|\{ ?\\circ ?\}|\u00b0|\{ ?\u00b0 ?\})/g, "\u00b0")
    .replace(/\\%/g, "%")
    .replace(/\\?\$|[\u20ac\u00a3\u20b9]/g, " ")
    .replace(/[ \t\r\n]+/g, " ")
    .replace(SCALED, (_, wrapped?: string, word?: string) => scale(wrapped ?? word ?? ""))
    .trim()
    .replace(/(?<![.\d]|\.\.) ?[.;,]$/, "")
    .replace(/(?<=\d)\.$/, "");
}

/** What a command is spelled as; null for one that stays. */
function command(name: string): string | null {
  if (EMPTY.test(name)) return "";
  if (SPACE.test(name)) return " ";
  // Only own keys: a text may well say \constructor.
  return Object.hasOwn(COMMANDS, name) ? (COMMANDS[name] ?? null) : null;
}

/** As `spell`, without what never tells two answers apart: spaces that stand between no two letters or digits. */
export function bareSpelling(text: string): string {
  return spell(text).replace(/(?<![A-Za-z0-9]) | (?![A-Za-z0-9])/g, "");
}
