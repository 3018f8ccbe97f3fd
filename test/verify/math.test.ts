import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test, vi } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { createVerifierPool, type VerifierPool } from "../../workers/verify/pool.ts";
import { math } from "../../workers/verify/verifiers/math.ts";
import { describeVerifier, judgeExample } from "../conformance/verifier.ts";
import { MATH_FAMILIES } from "./math-pairs.ts";

// The algebra system loads in half a second, and longer on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

describeVerifier(math, {
  problem: { reference: "1234567" },
  // It is a number, with more digits than there are atoms.
  undecidedTexts: ["a huge power"],
  correct: [
    { reference: "18", text: "The answer is 18.", answer: "18" },
    { reference: "18", text: "I first had 17.\n#### 18\nThat took 5 minutes.", answer: "18" },
    { reference: "18", text: "#### $18.00 per day" },
    { reference: "18", text: "16 - 3 = 13\n13 + 5 = 18" },
    { reference: "18", text: "Answer:\n18" },
    { reference: "18", text: "**Final answer:** $18$" },
    { reference: "18", text: "#### 17, no, 18", options: { extract: "last-number" } },
    { reference: "18", text: "#### 17\n18", options: { extract: "last-line" } },
    { reference: "18", text: "\\boxed{17}; the answer is 18", options: { extract: "phrase" } },
    { reference: "\\boxed{18}", text: "18" },
    { reference: "They sell 2*9=<<2*9=18>>18\n#### 18", text: "18" },
    { reference: "\\frac{1}{2}", text: "So it is $x$, which is $\\dfrac12$.", answer: "1/2" },
    { reference: "2\\sqrt{3}", text: "The length is \\(\\sqrt{12}\\).", answer: "2*3^(1/2)" },
    {
      reference: "2\\sqrt{3}",
      text: "Thus \\boxed{6} or rather \\boxed{\\frac{6}{\\sqrt{3}}}.",
      answer: "2*3^(1/2)",
    },
    { reference: "(1, 2)", text: "\\boxed{\\left(1,2\\right)}", answer: "(1, 2)" },
    { reference: "1, 2", text: "x = 2 or x = 1", answer: "{1, 2}" },
    { reference: "\\{2, 1\\}", text: "\\boxed{\\{1, 2\\}}", answer: "{1, 2}" },
    { reference: "[1, 2]", text: "1 \\le x \\le 2", answer: "[1, 2]" },
    { reference: "x^2 - 1", text: "(x-1)(x+1)", answer: "-1 + x^2" },
    { reference: "\\frac{\\pi}{4}", text: "The area is \\frac{\\pi}{4}.", answer: "1/4*pi" },
    { reference: "18", text: "The answer is 18 (that is, 9 * 2)." },
    { reference: "18", text: "She makes 9 * 2 = $18 every day." },
    { reference: "\\frac12", text: "Final Answer: The final answer is $\\frac12$. I hope it is correct." },
    { reference: "B", text: "The correct answer is (B), since it is prime.", answer: "B" },
    { reference: "5000000", text: "He earns 5 million dollars.", answer: "5000000" },
    { reference: "Tuesday", text: "The answer is Tuesday.", answer: "tuesday" },
    { reference: "\\int_0^1 f(x) dx", text: "\\boxed{\\int_0^1 f(x)dx}" },
  ],
  incorrect: [
    { reference: "18", text: "19", answer: "19", reason: 'expected "18", found "19"' },
    { reference: "18", text: "The answer is not 18.", reason: "expected an answer" },
    { reference: "18", text: "18 eggs, of which 3 are left", answer: "3" },
    { reference: "18", text: "\\boxed{18", reason: "expected a \\boxed{} that ends" },
    { reference: "18", text: "\\boxed{}", reason: "the \\boxed{} is empty" },
    { reference: "18", text: "####", reason: "expected an answer after ####" },
    { reference: "18", text: "18", options: { extract: "boxed" }, reason: "found no \\boxed{}" },
    { reference: "18", text: "18", options: { extract: "hashes" }, reason: "found no ####" },
    { reference: "18", text: "18", options: { extract: "phrase" }, reason: "found none" },
    { reference: "18", text: "\\boxed{(18}", reason: 'expected ")"' },
    { reference: "18", text: "\\boxed{1 8}", reason: "cannot be read" },
    { reference: "18", text: `\\boxed{${"1+".repeat(600)}1}`, reason: "ends within" },
    { reference: "4", text: "The area is \\frac{\\pi}{4}." },
    { reference: "4", text: "She has 3+4 eggs" },
    { reference: "5", text: "He earns 5 million dollars." },
    { reference: "\\frac{1}{3}", text: "0.3333" },
    { reference: "\\pi", text: "3.14" },
    { reference: "(1, 2)", text: "(2, 1)" },
    { reference: "(1, 2)", text: "[1, 2]" },
    { reference: "x + 1", text: "x - 1" },
    { reference: "5", text: "\\boxed{1, 5}" },
  ],
  undecided: [
    { reference: null, text: "It is 18.", answer: "18", reason: "the problem has no reference" },
    { reference: " ", text: "It is 18.", reason: "reference is empty" },
    { reference: "\\int_0^1 x dx", text: "\\boxed{\\frac12}", answer: "1/2", reason: "the reference" },
    { reference: "\\frac12", text: "\\boxed{\\int_0^1 x dx}", reason: "\\int is not supported" },
    { reference: "\\frac{x}{2}", text: "\\boxed{1/2x}", reason: "below it or not" },
    { reference: "3", text: "\\boxed{2\\frac{3}{3}}", reason: "mixed number" },
    { reference: "x", text: "\\boxed{\\sqrt{x^2}}", reason: "neither equality nor difference" },
    { reference: "5\\text{ cm}", text: "\\boxed{5\\text{ m}}", reason: "the units are cm and m" },
    { reference: "(1234, 5)", text: "\\boxed{\\{1234, 5\\}}", reason: "of kind tuple" },
    { reference: "5", text: "It is 5 factorial" },
    { reference: "12", text: "The correct answer is (B) 12.", reason: "a choice" },
    { reference: "12", text: "The total is 12 dozen" },
    { reference: "1,234", text: "\\boxed{\\{1, 234\\}}", reason: "commas" },
  ],
});

describe("the equivalences of the fixture", () => {
  const boxed = (reference: string, answer: string) =>
    judgeExample(math, { reference, text: `So it is \\boxed{${answer}}.` });
  const verdicts = (reference: string, candidates: readonly string[]) =>
    candidates.map((candidate) => [candidate, boxed(reference, candidate).verdict]);

  test("are many", () => {
    const count = MATH_FAMILIES.flatMap(({ equal, different, unproven = [] }) => [
      ...equal,
      ...different,
      ...unproven,
    ]);
    expect(count.length).toBeGreaterThan(600);
  });

  test.each(MATH_FAMILIES)(
    "hold for $about: $reference",
    ({ reference, equal, different, unproven = [] }) => {
      expect(verdicts(reference, equal)).toEqual(equal.map((candidate) => [candidate, "correct"]));
      expect(verdicts(reference, different).filter(([, verdict]) => verdict === "correct")).toEqual([]);
      expect(verdicts(reference, unproven)).toEqual(unproven.map((candidate) => [candidate, "undecided"]));
    },
  );

  test.each(MATH_FAMILIES)(
    "hold the other way round for $about: $reference",
    ({ reference, equal, different }) => {
      expect(equal.filter((candidate) => boxed(candidate, reference).verdict === "incorrect")).toEqual([]);
      expect(different.filter((candidate) => boxed(candidate, reference).verdict === "correct")).toEqual([]);
    },
  );

  test("are refuted for most of the answers that differ", () => {
    const all = MATH_FAMILIES.flatMap(({ reference, different }) => verdicts(reference, different));
    const proven = all.filter(([, verdict]) => verdict === "incorrect").length;
    expect(proven / all.length).toBeGreaterThan(0.8);
  });

  test("hold between the families only where their values are the same", () => {
    const found = MATH_FAMILIES.flatMap(({ reference }, at) =>
      MATH_FAMILIES.slice(at + 1)
        .filter((other) => boxed(reference, other.reference).verdict === "correct")
        .map((other) => [reference, other.reference]),
    );
    const raw = String.raw;
    expect(found).toEqual([
      [raw`\log_2 8`, "3"],
      ["1", "1"],
      [raw`5\text{ cm}`, "x=5"],
      [raw`5\text{ cm}`, "5"],
      ["x=5", "5"],
    ]);
  });
});

test("spellings of one answer vote with one key", () => {
  const keys = (texts: readonly string[]) =>
    new Set(texts.map((text) => judgeExample(math, { reference: "0", text: `\\boxed{${text}}` }).answer));
  const raw = String.raw;
  expect(keys(["0.5", raw`\frac12`, "1/2", "2/4", raw`x=\dfrac{1}{2}`, raw`50\cdot 10^{-2}`])).toEqual(
    new Set(["1/2"]),
  );
  expect(keys([raw`\frac{1}{\sqrt2}`, raw`\sqrt2/2`, raw`\sqrt{0.5}`]).size).toBe(1);
  expect(keys(["(x+1)^2", "x^2+2x+1"]).size).toBe(1);
  expect(keys([raw`\{1,2\}`, "2,1", "x=1 or x=2"]).size).toBe(1);
  expect(keys([raw`x>3`, raw`(3,\infty)`]).size).toBe(1);
  expect(keys(["1/2", "1/3", "2"]).size).toBe(3);
});

test("the algebra system is loaded when an answer needs it, and not before", async () => {
  const catalogue = new URL("../../workers/verify/catalogue.ts", import.meta.url);
  const judged = (text: string, reference: string): string =>
    `math.verify(${JSON.stringify({ text, problem: { reference } })}, { extract: "auto" }).verdict`;
  // Modules are loaded anew in a thread, whatever other tests have loaded.
  const thread = new Worker(
    `import(${JSON.stringify(catalogue.href)}).then(({ VERIFIERS }) => {
      const math = VERIFIERS.find(({ kind }) => kind === "math");
      const isLoaded = () => Object.keys(require.cache).some((file) => file.includes("compute-engine"));
      const before = [${judged("\\frac12", "0.5")}, isLoaded()];
      const after = [${judged("$2\\sin x\\cos x$", "\\sin 2x")}, isLoaded()];
      require("node:worker_threads").parentPort.postMessage([before, after]);
    });`,
    { eval: true },
  );
  const message = new Promise((resolve, reject) => thread.once("message", resolve).once("error", reject));
  expect(await message).toEqual([
    ["correct", false],
    ["correct", true],
  ]);
  await thread.terminate();
});

describe("in the pool", () => {
  const pools: VerifierPool[] = [];
  afterEach(async () => {
    await Promise.all(pools.splice(0).map((pool) => pool.close()));
  });
  const candidate = (text: string, reference: string) => ({
    prompt: "",
    text,
    problem: { id: "p-1", prompt: "", reference, tests: null, metadata: {} },
  });

  test("a series without an end is undecided when its time is up, and the next verification goes on", async () => {
    const pool = await createVerifierPool({ clock: systemClock, threads: 1 });
    pools.push(pool);
    const endless = String.raw`\boxed{\sum_{k=1}^{10^9} \sin k}`;
    const hung = pool.verify({ kind: "math", timeout_ms: 2_000 }, candidate(endless, "5"));
    const next = pool.verify(
      { kind: "math", timeout_ms: 30_000 },
      candidate(String.raw`\boxed{\sin 2x}`, String.raw`2\sin x\cos x`),
    );
    expect(await hung).toMatchObject({ verdict: "undecided", reason: "took longer than 2000 ms" });
    expect(await next).toMatchObject({ verdict: "correct" });
    expect(pool.metrics()).toMatchObject({ terminations: 1, crashes: 0 });
  });
});
