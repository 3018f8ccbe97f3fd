/** The normal form of a formula, as far as the rules reach. */
import type { Formula } from "./formula.ts";
import { functionForm } from "./function-form.ts";
import { atomPolynomial, constantPolynomial, I_ATOM, NormalFormError } from "./polynomial.ts";
import { powerForm } from "./powers.ts";
import { addForms, multiplyForms, type NormalForm, whole } from "./quotient.ts";

/** Null where the rules do not reach, or a limit is passed, or it divides by zero. */
export function normalFormOf(formula: Formula): NormalForm | null {
  try {
    return formOf(formula);
  } catch (error) {
    if (error instanceof NormalFormError) return null;
    throw error;
  }
}

function formOf(formula: Formula): NormalForm {
  switch (formula.kind) {
    case "number":
      return whole(constantPolynomial(formula.value));
    case "symbol":
      return whole(atomPolynomial(formula.name === "i" ? I_ATOM : { text: formula.name }));
    case "sum":
      return formula.terms.map(formOf).reduce(addForms);
    case "product":
      return formula.factors.map(formOf).reduce(multiplyForms);
    case "power":
      return powerForm(formOf(formula.base), formOf(formula.exponent));
    case "call":
      // A series has no form, and its index none outside of it.
      if (formula.name === "sum" || formula.name === "prod") throw new NormalFormError("a series");
      return functionForm(formula.name, formula.arguments.map(formOf));
  }
}
