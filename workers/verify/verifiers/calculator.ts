/** A tool of strategies: the value of an arithmetic expression, in exact rational numbers. It runs no program. */
import { evaluate } from "../arithmetic.ts";
import { ExpressionError } from "../expression.ts";
import { decimalText } from "../rational.ts";
import { correct, defineVerifier, incorrect } from "../verifier.ts";

export const calculator = defineVerifier({
  kind: "calculator",
  about: "The value of the candidate as an arithmetic expression: + - * / ^ ( ) and decimals, exactly.",
  isTool: true,
  options: {},
  verify({ prompt, text }) {
    try {
      return correct(decimalText(evaluate(prompt + text)));
    } catch (error) {
      if (error instanceof ExpressionError) return incorrect(null, error.message);
      throw error;
    }
  },
});
