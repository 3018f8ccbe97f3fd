import { describe, expect, test } from "vitest";
import { createRandom, type Random } from "../../services/runtime/random.ts";
import { areApart, enclose, type Enclosure } from "../../workers/verify/math/enclosure.ts";
import {
  callOf,
  type Formula,
  inverseOf,
  numberOf,
  productOf,
  symbolOf,
} from "../../workers/verify/math/formula.ts";
import { normalFormOf } from "../../workers/verify/math/normal-form.ts";
import { areUnique, formText, type NormalForm } from "../../workers/verify/math/quotient.ts";

const FORMULAS = 20_000;
const DEPTH = 3;
const VALUES = new Map([["x", 1.2345]]);

/** One of several; each is made only when it is chosen. */
function choose<T>(random: Random, ...makers: readonly (() => T)[]): T {
  const maker = makers[Math.floor(random.next() * makers.length)] ?? makers[0];
  if (maker === undefined) throw new Error("expected something to choose from");
  return maker();
}

function randomFormula(random: Random, depth: number): Formula {
  const digit = () => numberOf(BigInt(Math.floor(random.next() * 5) - 1));
  if (depth === 0 || random.next() < 0.2) {
    const symbols = ["x", "i", "pi", "e"].map((name) => () => symbolOf(name));
    return choose<Formula>(random, digit, digit, digit, ...symbols);
  }
  const part = () => randomFormula(random, depth - 1);
  const angle = () =>
    productOf(
      symbolOf("pi"),
      numberOf(
        BigInt(Math.floor(random.next() * 7)),
        choose(
          random,
          () => 4n,
          () => 5n,
          () => 6n,
        ),
      ),
    );
  return choose<Formula>(
    random,
    () => ({ kind: "sum", terms: [part(), part()] }),
    () => productOf(part(), part()),
    () => inverseOf(part()),
    () => callOf("root", part(), numberOf(2n)),
    () => ({ kind: "power", base: part(), exponent: randomFormula(random, 1) }),
    () =>
      callOf(
        choose(
          random,
          () => "sin" as const,
          () => "cos" as const,
          () => "sec" as const,
        ),
        angle(),
      ),
    () =>
      callOf(
        choose(
          random,
          () => "sin" as const,
          () => "cos" as const,
          () => "tan" as const,
        ),
        symbolOf("x"),
      ),
    () => callOf("ln", part()),
  );
}

interface Known {
  readonly form: NormalForm;
  readonly text: string;
  readonly enclosure: Enclosure;
}

/** Those of many random formulas that have a form and a value. */
function knownFormulas(seed: number): readonly Known[] {
  const random = createRandom(seed);
  return Array.from({ length: FORMULAS }, () => randomFormula(random, DEPTH)).flatMap((formula) => {
    const [form, enclosure] = [normalFormOf(formula), enclose(formula, VALUES)];
    return form === null || enclosure === null ? [] : [{ form, text: formText(form), enclosure }];
  });
}

describe.each([1, 2, 3])("of random formulas (seed %i)", (seed) => {
  const known = knownFormulas(seed);

  test("those of one normal form have one value", () => {
    const first = new Map<string, Known>();
    const apart = known.filter((each) => {
      const other = first.get(each.text) ?? each;
      first.set(each.text, other);
      return areApart(other.enclosure, each.enclosure);
    });
    expect(first.size).toBeGreaterThan(1_000);
    expect(known.length - first.size).toBeGreaterThan(1_000);
    expect(apart).toEqual([]);
  });

  test("those whose forms are unique and differ have different values", () => {
    const near = new Map<string, Known>();
    const same = known.filter((each) => {
      if (!areUnique(each.form, each.form)) return false;
      const key = `${each.enclosure.re.toPrecision(9)} ${each.enclosure.im.toPrecision(9)}`;
      const other = near.get(key) ?? each;
      near.set(key, other);
      const isOne = other.text === each.text || !areUnique(other.form, each.form);
      return !isOne && !areApart(other.enclosure, each.enclosure);
    });
    expect(near.size).toBeGreaterThan(250);
    expect(same).toEqual([]);
  });
});
