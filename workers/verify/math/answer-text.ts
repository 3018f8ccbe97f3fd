/** The canonical text of an answer: spellings of one answer have one text, as far as the normal form reaches. */
import type { Answer } from "./answer.ts";
import type { Formula } from "./formula.ts";
import { normalFormOf } from "./normal-form.ts";
import { formText } from "./quotient.ts";

/** Null when a formula in it has no normal form. Units and names are left out: candidates of one problem share them. */
export function answerText(answer: Answer): string | null {
  switch (answer.kind) {
    case "value":
      return formulaText(answer.formula);
    case "named":
      return answerText(answer.value);
    case "list":
      return joined(answer.elements, (texts) => `{${texts.toSorted().join(", ")}}`);
    case "set":
      return joined(answer.elements, (texts) => `{${[...new Set(texts)].toSorted().join(", ")}}`);
    case "union":
      return joined(answer.parts, (texts) => [...new Set(texts)].toSorted().join(" or "));
    case "tuple":
      return joined(answer.elements, (texts) => `${answer.open}${texts.join(", ")}${answer.close}`);
    case "matrix": {
      const rows = answer.rows.map((row) => joined(row, (texts) => `[${texts.join(", ")}]`));
      return rows.includes(null) ? null : `${answer.isDeterminant ? "det " : ""}[${rows.join(", ")}]`;
    }
    case "equation": {
      const [left, right] = [formulaText(answer.left), formulaText(answer.right)];
      if (left === null || right === null) return null;
      return left === right ? left : `${left} = ${right}`;
    }
    case "words":
      return answer.words;
  }
}

function formulaText(formula: Formula): string | null {
  const form = normalFormOf(formula);
  return form === null ? null : formText(form);
}

function joined(answers: readonly Answer[], join: (texts: readonly string[]) => string): string | null {
  const texts = answers.map(answerText);
  const known = texts.filter((text) => text !== null);
  return known.length === texts.length ? join(known) : null;
}
