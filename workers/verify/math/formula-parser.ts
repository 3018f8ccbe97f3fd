/**
 * Reads a formula, in LaTeX or as plain text. What may be read in two ways (`1/2x`, `\sin x / 2`, `2\frac{3}{2}`) is
 * ambiguous and is not guessed at; what this grammar does not have is unsupported and says so.
 */
import {
  AnswerError,
  callOf,
  FORMULA_DEPTH_MAX,
  type Formula,
  FUNCTIONS,
  INFINITY,
  inverseOf,
  type NamedFunction,
  negativeOf,
  numberOf,
  PI,
  productOf,
  symbolOf,
} from "./formula.ts";
import type { Token } from "./tokens.ts";
import { EXPONENT_MAX, parseNumber } from "../number.ts";
import { add, divide, isAtMost, isEqual, magnitude, rational, type Rational } from "../rational.ts";

const GREEK = new Set(
  (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda mu nu xi rho sigma tau phi varphi chi " +
    "psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell"
  ).split(" "),
);
const BRACKETS: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" };
const INVERSES: Readonly<Partial<Record<NamedFunction, NamedFunction>>> = {
  sin: "arcsin",
  cos: "arccos",
  tan: "arctan",
};
const NAMED: ReadonlySet<string> = new Set(FUNCTIONS);
/** Letters that name a function where a parenthesis follows. */
const FUNCTION_LETTERS = /^[fghFGH]$/;

/** Throws AnswerError. Every token must belong to the formula. */
export function parseFormula(tokens: readonly Token[]): Formula {
  return new FormulaReader(tokens).read();
}

/** Recursive descent over the tokens, from left to right. */
class FormulaReader {
  readonly #tokens: Token[];
  #at = 0;
  #depth = 0;
  /** Open bars of absolute values: there a bar closes. */
  #bars = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = [...tokens];
  }

  read(): Formula {
    const formula = this.#sum();
    if (this.#at < this.#tokens.length) this.#fail("an operator or the end");
    return formula;
  }

  #peek(): string {
    return this.#tokens[this.#at]?.text ?? "";
  }

  #isCommand(...names: readonly string[]): boolean {
    return this.#tokens[this.#at]?.kind === "command" && names.includes(this.#peek());
  }

  #isSign(...signs: readonly string[]): boolean {
    return this.#tokens[this.#at]?.kind === "sign" && signs.includes(this.#peek());
  }

  #fail(expected: string): never {
    const found = this.#peek() === "" ? "the end" : JSON.stringify(this.#peek());
    throw new AnswerError("malformed", `expected ${expected}, found ${found}`);
  }

  #unsupported(what: string): never {
    throw new AnswerError("unsupported", `${what} is not supported`);
  }

  #expectSign(sign: string): void {
    if (!this.#isSign(sign)) this.#fail(JSON.stringify(sign));
    this.#at += 1;
  }

  #nested<T>(read: () => T): T {
    this.#depth += 1;
    if (this.#depth > FORMULA_DEPTH_MAX) {
      throw new AnswerError("limit", `the answer is nested deeper than ${FORMULA_DEPTH_MAX} levels`);
    }
    const found = read();
    this.#depth -= 1;
    return found;
  }

  #sum(): Formula {
    const terms = [this.#product()];
    while (this.#isSign("+", "-")) {
      const isMinus = this.#peek() === "-";
      this.#at += 1;
      const term = this.#product();
      terms.push(isMinus ? negativeOf(term) : term);
    }
    return terms.length === 1 && terms[0] !== undefined ? terms[0] : { kind: "sum", terms };
  }

  #signed(read: () => Formula): Formula {
    if (!this.#isSign("+", "-")) return read();
    const isMinus = this.#peek() === "-";
    this.#at += 1;
    return this.#nested(() => (isMinus ? negativeOf(this.#signed(read)) : this.#signed(read)));
  }

  #product(): Formula {
    const factors = [this.#signed(() => this.#adjacent())];
    for (;;) {
      const isSlash = this.#isSign("/");
      if (!isSlash && !this.#isSign("*") && !this.#isCommand("times", "cdot", "div", "ast"))
        return productOf(...factors);
      const isDivision = isSlash || this.#isCommand("div");
      this.#at += 1;
      const operand = this.#signed(() => (isDivision ? this.#power() : this.#adjacent()));
      if (isDivision && this.#startsFactor()) {
        throw new AnswerError("ambiguous", "what stands after a division may be below it or not");
      }
      factors.push(isDivision ? inverseOf(operand) : operand);
    }
  }

  /** Factors side by side. */
  #adjacent(): Formula {
    const factors = [this.#power()];
    while (this.#startsFactor()) {
      // "2 3" and "x2" are no products; "3!7!" and "(4)3" are.
      const isAfterName =
        this.#tokens[this.#at - 1]?.kind === "number" || this.#tokens[this.#at - 1]?.kind === "letter";
      if (this.#tokens[this.#at]?.kind === "number" && isAfterName) this.#fail("an operator");
      factors.push(this.#power());
    }
    return productOf(...factors);
  }

  #startsFactor(): boolean {
    const token = this.#tokens[this.#at];
    if (token === undefined) return false;
    if (token.kind === "sign")
      return ["(", "[", "{"].includes(token.text) || (token.text === "|" && this.#bars === 0);
    return (
      token.kind !== "command" || !["times", "cdot", "div", "ast", "rfloor", "rceil"].includes(token.text)
    );
  }

  #power(): Formula {
    let base = this.#atom();
    for (;;) {
      if (this.#isSign("!")) base = callOf("factorial", base);
      else if (this.#isSign("\u00b0")) base = productOf(base, PI, inverseOf(numberOf(180n)));
      else if (!this.#isSign("^")) return base;
      else {
        this.#at += 1;
        const exponent = this.#nested(() => this.#signed(() => this.#power()));
        base = { kind: "power", base, exponent };
        continue;
      }
      this.#at += 1;
    }
  }

  #atom(): Formula {
    const token = this.#tokens[this.#at];
    if (token === undefined) this.#fail("a formula");
    return this.#nested(() => {
      this.#at += 1;
      switch (token.kind) {
        case "number":
          return this.#numeral(token.text);
        case "repeating":
          return { kind: "number", value: repeatingValue(token.text) };
        case "letter":
          return this.#letter(token.text);
        case "command":
          return this.#command(token.text);
        case "text":
          return this.#unsupported("a word in a formula");
        case "sign":
          return this.#bracketed(token.text);
      }
    });
  }

  #bracketed(open: string): Formula {
    if (open === "|") {
      this.#bars += 1;
      const inside = this.#sum();
      this.#bars -= 1;
      this.#expectSign("|");
      return callOf("abs", inside);
    }
    const close = BRACKETS[open];
    if (close === undefined) {
      this.#at -= 1;
      this.#fail("a formula");
    }
    const outside = this.#bars;
    this.#bars = 0;
    const inside = this.#sum();
    this.#bars = outside;
    this.#expectSign(close);
    return inside;
  }

  #fraction(over: Formula, under: Formula): Formula {
    if (isDifferential(over) && isDifferential(under)) this.#unsupported("a derivative");
    return productOf(over, inverseOf(under));
  }

  /** A number, or a mixed number: `1 1/2`, `1\frac{1}{2}`. */
  #numeral(text: string): Formula {
    const whole = numberValue(text);
    if (this.#isSign("_")) this.#unsupported("a number with a base");
    if (/^\d+$/.test(text) && this.#isCommand("frac")) {
      const start = this.#at;
      this.#at += 1;
      const over = this.#argument();
      const under = this.#argument();
      if (over.kind === "number" && under.kind === "number")
        return this.#mixed(whole, over.value, under.value);
      this.#at = start;
    }
    const [over, slash, under] = this.#tokens.slice(this.#at, this.#at + 3);
    const isMixed = over?.kind === "number" && slash?.text === "/" && under?.kind === "number";
    if (!isMixed || !over.isApart || !/^\d+$/.test(text + over.text + under.text)) {
      return { kind: "number", value: whole };
    }
    this.#at += 3;
    return this.#mixed(whole, numberValue(over.text), numberValue(under.text));
  }

  #mixed(whole: Rational, over: Rational, under: Rational): Formula {
    const part = divide(over, under);
    if (part === null) throw new AnswerError("malformed", "a fraction divides by zero");
    if (isAtMost(rational(1n), magnitude(part)) || part.numerator < 0n) {
      throw new AnswerError(
        "ambiguous",
        "a number before a fraction may be a factor or a part of a mixed number",
      );
    }
    return { kind: "number", value: add(whole, part) };
  }

  #letter(name: string): Formula {
    if (FUNCTION_LETTERS.test(name) && this.#isSign("(")) this.#unsupported("a function of the problem");
    return symbolOf(`${name}${this.#subscript()}`);
  }

  #subscript(): string {
    if (!this.#isSign("_")) return "";
    this.#at += 1;
    const next = this.#tokens[this.#at];
    if (next === undefined || (next.kind === "sign" && next.text !== "{")) this.#fail("a subscript");
    if (next.kind !== "sign") {
      this.#at += 1;
      return `_${next.text}`;
    }
    const close = this.#tokens.findIndex((token, index) => index > this.#at && token.text === "}");
    const inside = this.#tokens.slice(this.#at + 1, Math.max(this.#at, close));
    if (close < 0 || inside.some((token) => token.kind === "sign" && token.text !== ","))
      this.#fail("a subscript");
    this.#at = close + 1;
    return `_${inside.map((token) => token.text).join("")}`;
  }

  #command(name: string): Formula {
    if (NAMED.has(name)) return this.#named(name as NamedFunction); // The set has these names and no others.
    if (GREEK.has(name)) return symbolOf(`${name}${this.#subscript()}`);
    switch (name) {
      case "pi":
        return PI;
      case "infty":
        return symbolOf(INFINITY);
      case "frac":
        return this.#fraction(this.#argument(), this.#argument());
      case "sqrt":
        return this.#squareRoot();
      case "binom":
        return callOf("binomial", this.#argument(), this.#argument());
      case "lfloor":
        return this.#delimited("floor", "rfloor");
      case "lceil":
        return this.#delimited("ceil", "rceil");
      case "sum":
        return this.#series("sum");
      case "prod":
        return this.#series("prod");
      default:
        return this.#unsupported(`\\${name}`);
    }
  }

  #delimited(name: "floor" | "ceil", close: string): Formula {
    const inside = this.#sum();
    if (!this.#isCommand(close)) this.#fail(`"\\${close}"`);
    this.#at += 1;
    return callOf(name, inside);
  }

  /** A group, or the next character: `\frac12`. */
  #argument(): Formula {
    const token = this.#tokens[this.#at];
    if (token?.kind !== "number" || token.text.length === 1) return this.#atom();
    if (!/^\d{2}$/.test(token.text)) {
      throw new AnswerError("ambiguous", `${token.text} may be one argument or several`);
    }
    this.#tokens.splice(
      this.#at,
      1,
      ...Array.from(token.text, (digit) => ({ ...token, text: digit, isApart: false })),
    );
    return this.#atom();
  }

  #squareRoot(): Formula {
    let degree: Formula = numberOf(2n);
    if (this.#isSign("[")) {
      this.#at += 1;
      degree = this.#sum();
      this.#expectSign("]");
    }
    const token = this.#tokens[this.#at];
    if (token?.kind === "number" && token.text.length > 1) {
      throw new AnswerError("ambiguous", `a root of ${token.text} without braces may end after one digit`);
    }
    return callOf("root", this.#atom(), degree);
  }

  #named(name: NamedFunction): Formula {
    let base: Formula | null = null;
    if (this.#isSign("_")) {
      if (name !== "log") this.#unsupported(`a subscript of ${name}`);
      this.#at += 1;
      base = this.#argument();
    }
    let exponent: Formula | null = null;
    if (this.#isSign("^")) {
      this.#at += 1;
      exponent = this.#nested(() => this.#signed(() => this.#atom()));
    }
    const isInverse = exponent !== null && isMinusOne(exponent);
    const inverse = isInverse ? INVERSES[name] : undefined;
    if (isInverse && inverse === undefined) this.#unsupported(`the inverse of ${name}`);
    const inside = this.#nested(() => this.#functionArgument());
    const call =
      base === null
        ? callOf(inverse ?? name, inside)
        : productOf(callOf("ln", inside), inverseOf(callOf("ln", base)));
    return exponent === null || isInverse ? call : { kind: "power", base: call, exponent };
  }

  /** What a function written without parentheses applies to: the factors at its side, up to the next function. */
  #functionArgument(): Formula {
    if (this.#isSign("(", "[", "{", "|")) return this.#atom();
    const factors = [this.#signed(() => this.#power())];
    while (this.#startsFactor() && !(this.#tokens[this.#at]?.kind === "command" && NAMED.has(this.#peek()))) {
      if (this.#tokens[this.#at]?.kind === "number" || this.#isSign("(", "[", "{", "|")) {
        throw new AnswerError("ambiguous", "the argument of a function may end in several places");
      }
      factors.push(this.#power());
    }
    if (this.#isSign("/"))
      throw new AnswerError("ambiguous", "a division may belong to a function's argument or not");
    return productOf(...factors);
  }

  #series(name: "sum" | "prod"): Formula {
    this.#expectSign("_");
    this.#expectSign("{");
    const index = this.#tokens[this.#at++];
    if (index?.kind !== "letter") this.#fail("an index");
    this.#expectSign("=");
    const from = this.#sum();
    this.#expectSign("}");
    this.#expectSign("^");
    const to = this.#atom();
    return callOf(
      name,
      this.#nested(() => this.#adjacent()),
      symbolOf(index.text),
      from,
      to,
    );
  }
}

/** `d`, `dx`. */
function isDifferential(formula: Formula): boolean {
  if (formula.kind === "product")
    return formula.factors[0] !== undefined && isDifferential(formula.factors[0]);
  return formula.kind === "symbol" && formula.name === "d";
}

function isMinusOne(formula: Formula): boolean {
  if (formula.kind !== "product") return false;
  const [sign, one] = formula.factors;
  return formula.factors.length === 2 && isNumber(sign, -1n) && isNumber(one, 1n);
}

function isNumber(formula: Formula | undefined, value: bigint): boolean {
  return formula?.kind === "number" && isEqual(formula.value, rational(value));
}

function numberValue(text: string): Rational {
  const value = parseNumber(text);
  if (value !== null) return value;
  throw new AnswerError(
    "limit",
    `expected a number with at most 400 digits and an exponent up to ${EXPONENT_MAX}`,
  );
}

/** The value of `0.1(6)`. */
function repeatingValue(text: string): Rational {
  const [, whole = "", places = "", period = ""] = /^(\d*)\.(\d*)\((\d+)\)$/.exec(text) ?? [];
  const shift = 10n ** BigInt(places.length);
  const start = rational(BigInt(`${whole}${places}`), shift);
  return add(start, rational(BigInt(period), shift * (10n ** BigInt(period.length) - 1n)));
}
