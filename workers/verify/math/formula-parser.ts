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
export function parseFormula(given: readonly Token[]): Formula {
  const tokens = [...given];
  let at = 0;
  let depth = 0;
  /** Open bars of absolute values: there a bar closes. */
  let bars = 0;

  const peek = (ahead = 0): string => tokens[at + ahead]?.text ?? "";
  const isCommand = (...names: readonly string[]): boolean =>
    tokens[at]?.kind === "command" && names.includes(peek());
  const isSign = (...signs: readonly string[]): boolean =>
    tokens[at]?.kind === "sign" && signs.includes(peek());

  function fail(expected: string): never {
    const found = peek() === "" ? "the end" : JSON.stringify(peek());
    throw new AnswerError("malformed", `expected ${expected}, found ${found}`);
  }

  function unsupported(what: string): never {
    throw new AnswerError("unsupported", `${what} is not supported`);
  }

  function expectSign(sign: string): void {
    if (!isSign(sign)) fail(JSON.stringify(sign));
    at += 1;
  }

  function nested<T>(read: () => T): T {
    depth += 1;
    if (depth > FORMULA_DEPTH_MAX) {
      throw new AnswerError("limit", `the answer is nested deeper than ${FORMULA_DEPTH_MAX} levels`);
    }
    const found = read();
    depth -= 1;
    return found;
  }

  function sum(): Formula {
    const terms = [product()];
    while (isSign("+", "-")) {
      const isMinus = peek() === "-";
      at += 1;
      const term = product();
      terms.push(isMinus ? negativeOf(term) : term);
    }
    return terms.length === 1 && terms[0] !== undefined ? terms[0] : { kind: "sum", terms };
  }

  function signed(read: () => Formula): Formula {
    if (!isSign("+", "-")) return read();
    const isMinus = peek() === "-";
    at += 1;
    return nested(() => (isMinus ? negativeOf(signed(read)) : signed(read)));
  }

  function product(): Formula {
    const factors = [signed(adjacent)];
    for (;;) {
      const isSlash = isSign("/");
      if (!isSlash && !isSign("*") && !isCommand("times", "cdot", "div", "ast")) return productOf(...factors);
      const isDivision = isSlash || isCommand("div");
      at += 1;
      const operand = signed(isDivision ? power : adjacent);
      if (isDivision && startsFactor()) {
        throw new AnswerError("ambiguous", "what stands after a division may be below it or not");
      }
      factors.push(isDivision ? inverseOf(operand) : operand);
    }
  }

  /** Factors side by side. */
  function adjacent(): Formula {
    const factors = [power()];
    while (startsFactor()) {
      // "2 3" and "x2" are no products; "3!7!" and "(4)3" are.
      const isAfterName = tokens[at - 1]?.kind === "number" || tokens[at - 1]?.kind === "letter";
      if (tokens[at]?.kind === "number" && isAfterName) fail("an operator");
      factors.push(power());
    }
    return productOf(...factors);
  }

  function startsFactor(): boolean {
    const token = tokens[at];
    if (token === undefined) return false;
    if (token.kind === "sign")
      return ["(", "[", "{"].includes(token.text) || (token.text === "|" && bars === 0);
    return (
      token.kind !== "command" || !["times", "cdot", "div", "ast", "rfloor", "rceil"].includes(token.text)
    );
  }

  function power(): Formula {
    let base = atom();
    for (;;) {
      if (isSign("!")) base = callOf("factorial", base);
      else if (isSign("\u00b0")) base = productOf(base, PI, inverseOf(numberOf(180n)));
      else if (!isSign("^")) return base;
      else {
        at += 1;
        const exponent = nested(() => signed(power));
        base = { kind: "power", base, exponent };
        continue;
      }
      at += 1;
    }
  }

  function atom(): Formula {
    const token = tokens[at];
    if (token === undefined) fail("a formula");
    return nested(() => {
      at += 1;
      switch (token.kind) {
        case "number":
          return numeral(token.text);
        case "repeating":
          return { kind: "number", value: repeatingValue(token.text) };
        case "letter":
          return letter(token.text);
        case "command":
          return command(token.text);
        case "text":
          return unsupported("a word in a formula");
        case "sign":
          return bracketed(token.text);
      }
    });
  }

  function bracketed(open: string): Formula {
    if (open === "|") {
      bars += 1;
      const inside = sum();
      bars -= 1;
      expectSign("|");
      return callOf("abs", inside);
    }
    const close = BRACKETS[open];
    if (close === undefined) {
      at -= 1;
      fail("a formula");
    }
    const outside = bars;
    bars = 0;
    const inside = sum();
    bars = outside;
    expectSign(close);
    return inside;
  }

  function fraction(over: Formula, under: Formula): Formula {
    if (isDifferential(over) && isDifferential(under)) unsupported("a derivative");
    return productOf(over, inverseOf(under));
  }

  /** A number, or a mixed number: `1 1/2`, `1\frac{1}{2}`. */
  function numeral(text: string): Formula {
    const whole = numberValue(text);
    if (isSign("_")) unsupported("a number with a base");
    if (/^\d+$/.test(text) && isCommand("frac")) {
      const start = at;
      at += 1;
      const over = argument();
      const under = argument();
      if (over.kind === "number" && under.kind === "number") return mixed(whole, over.value, under.value);
      at = start;
    }
    const [over, slash, under] = tokens.slice(at, at + 3);
    const isMixed = over?.kind === "number" && slash?.text === "/" && under?.kind === "number";
    if (!isMixed || !over.isApart || !/^\d+$/.test(text + over.text + under.text)) {
      return { kind: "number", value: whole };
    }
    at += 3;
    return mixed(whole, numberValue(over.text), numberValue(under.text));
  }

  function mixed(whole: Rational, over: Rational, under: Rational): Formula {
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

  function letter(name: string): Formula {
    if (FUNCTION_LETTERS.test(name) && isSign("(")) unsupported("a function of the problem");
    return symbolOf(`${name}${subscript()}`);
  }

  function subscript(): string {
    if (!isSign("_")) return "";
    at += 1;
    if (!isSign("{")) return `_${tokens[at++]?.text ?? fail("a subscript")}`;
    const close = tokens.findIndex((token, index) => index > at && token.text === "}");
    const inside = tokens.slice(at + 1, Math.max(at, close));
    if (close < 0 || inside.some((token) => token.kind === "sign" && token.text !== ",")) fail("a subscript");
    at = close + 1;
    return `_${inside.map((token) => token.text).join("")}`;
  }

  function command(name: string): Formula {
    if (NAMED.has(name)) return named(name as NamedFunction); // The set has these names and no others.
    if (GREEK.has(name)) return symbolOf(`${name}${subscript()}`);
    switch (name) {
      case "pi":
        return PI;
      case "infty":
        return symbolOf(INFINITY);
      case "frac":
        return fraction(argument(), argument());
      case "sqrt":
        return squareRoot();
      case "binom":
        return callOf("binomial", argument(), argument());
      case "lfloor":
        return delimited("floor", "rfloor");
      case "lceil":
        return delimited("ceil", "rceil");
      case "sum":
        return series("sum");
      case "prod":
        return series("prod");
      default:
        return unsupported(`\\${name}`);
    }
  }

  function delimited(name: "floor" | "ceil", close: string): Formula {
    const inside = sum();
    if (!isCommand(close)) fail(`"\\${close}"`);
    at += 1;
    return callOf(name, inside);
  }

  /** A group, or the next character: `\frac12`. */
  function argument(): Formula {
    const token = tokens[at];
    if (token?.kind !== "number" || token.text.length === 1) return atom();
    if (!/^\d{2}$/.test(token.text)) {
      throw new AnswerError("ambiguous", `${token.text} may be one argument or several`);
    }
    tokens.splice(at, 1, ...Array.from(token.text, (digit) => ({ ...token, text: digit, isApart: false })));
    return atom();
  }

  function squareRoot(): Formula {
    let degree: Formula = numberOf(2n);
    if (isSign("[")) {
      at += 1;
      degree = sum();
      expectSign("]");
    }
    const token = tokens[at];
    if (token?.kind === "number" && token.text.length > 1) {
      throw new AnswerError("ambiguous", `a root of ${token.text} without braces may end after one digit`);
    }
    return callOf("root", atom(), degree);
  }

  function named(name: NamedFunction): Formula {
    let base: Formula | null = null;
    if (isSign("_")) {
      if (name !== "log") unsupported(`a subscript of ${name}`);
      at += 1;
      base = argument();
    }
    let exponent: Formula | null = null;
    if (isSign("^")) {
      at += 1;
      exponent = nested(() => signed(atom));
    }
    const isInverse = exponent !== null && isMinusOne(exponent);
    const inverse = isInverse ? INVERSES[name] : undefined;
    if (isInverse && inverse === undefined) unsupported(`the inverse of ${name}`);
    const inside = nested(functionArgument);
    const call =
      base === null
        ? callOf(inverse ?? name, inside)
        : productOf(callOf("ln", inside), inverseOf(callOf("ln", base)));
    return exponent === null || isInverse ? call : { kind: "power", base: call, exponent };
  }

  /** What a function written without parentheses applies to: the factors at its side, up to the next function. */
  function functionArgument(): Formula {
    if (isSign("(", "[", "{", "|")) return atom();
    const factors = [signed(power)];
    while (startsFactor() && !(tokens[at]?.kind === "command" && NAMED.has(peek()))) {
      if (tokens[at]?.kind === "number" || isSign("(", "[", "{", "|")) {
        throw new AnswerError("ambiguous", "the argument of a function may end in several places");
      }
      factors.push(power());
    }
    if (isSign("/"))
      throw new AnswerError("ambiguous", "a division may belong to a function's argument or not");
    return productOf(...factors);
  }

  function series(name: "sum" | "prod"): Formula {
    expectSign("_");
    expectSign("{");
    const index = tokens[at++];
    if (index?.kind !== "letter") fail("an index");
    expectSign("=");
    const from = sum();
    expectSign("}");
    expectSign("^");
    const to = atom();
    return callOf(name, nested(adjacent), symbolOf(index.text), from, to);
  }

  const formula = sum();
  if (at < tokens.length) fail("an operator or the end");
  return formula;
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
