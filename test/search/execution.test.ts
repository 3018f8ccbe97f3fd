/** Programs that the model wrote: how they are run, and what their agreement chooses. */
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { editSimilarities } from "../../services/search/edit-similarity.ts";
import { programIn, withExpression, withStdin } from "../../services/search/execution.ts";
import type { Answer, Ask } from "../../services/search/program.ts";
import { textOf } from "../../services/search/search.ts";
import { codet } from "../../services/search/strategies/codet.ts";
import { mbr } from "../../services/search/strategies/mbr.ts";
import { selfConsistency } from "../../services/search/strategies/self-consistency.ts";
import { PROBLEM } from "./drive.ts";
import { programOf, rolloutOf, scripted, solve } from "./scripted.ts";

const NO_PYTHON = spawnSync("python3", ["--version"]).status === 0 ? "" : " (python3 is not installed)";

const outputs = new Map<string, Answer>();

/** Runs what this file wrote itself; a program of a model runs in the sandbox only. */
function python(source: string): Answer {
  const known = outputs.get(source);
  if (known !== undefined) return known;
  const { status, stdout } = spawnSync("python3", ["-I", "-S", "-c", source], { encoding: "utf8" });
  const verdict =
    status === 0
      ? ({ verdict: "correct", score: 1, answer: stdout, reason: null } as const)
      : ({ verdict: "incorrect", score: 0, answer: null, reason: `exit status ${status}` } as const);
  outputs.set(source, { kind: "verdict", verdict });
  return { kind: "verdict", verdict };
}

function inPython(ask: Ask): Answer | null {
  return ask.kind === "verify" && ask.role === "tool" ? python(textOf(ask.prefix)) : null;
}

function printed(source: string): string | null {
  const answer = python(source);
  return answer.kind === "verdict" ? answer.verdict.answer : null;
}

describe("a program in an answer", () => {
  it("is its last fenced block, all of it, or what continues the prompt", () => {
    const answer = "First:\n```python\na\n```\nBetter:\n```python\nb\n```\n";
    expect(programIn(answer, PROBLEM, "answer")).toBe("b");
    expect(programIn("print(1)", PROBLEM, "answer")).toBe("print(1)");
    expect(programIn("\n  return 1", { ...PROBLEM, prompt: "def f():" }, "prompt-and-answer")).toBe(
      "def f():\n  return 1",
    );
  });
});

describe.skipIf(NO_PYTHON !== "")(`a program that is run${NO_PYTHON}`, () => {
  it("reads its input whatever that contains, and may begin with an import from the future", () => {
    const input = `"quoted" \\n '''\u{1F333}\u2028 line\nsecond`;
    const echo = "from __future__ import annotations\nimport sys\nprint(repr(sys.stdin.read()))";
    const literal = printed(withStdin(echo, input))?.trimEnd() ?? "";
    expect(printed(`print(${literal} == ${JSON.stringify(input)})`)).toBe("True\n");
  });

  it("prints what an expression is worth", () => {
    expect(printed(withExpression("def f(x):\n  return str(x)", "f(2)"))).toBe("'2'\n");
  });
});

describe("edit similarity", () => {
  it("is 1 minus the share of words to change", () => {
    const texts = ["a b c d", "a x c", "", "a  b\nc d"];
    const rows = editSimilarities(texts);
    expect(rows.map((row) => row[0])).toEqual([1, 0.5, 0, 1]);
    for (const [i, row] of rows.entries()) {
      expect(row[i]).toBe(1);
      for (const [j, similarity] of row.entries()) expect(rows[j]?.[i]).toBe(similarity);
    }
  });

  it("is 1 for two texts without words", () => {
    expect(editSimilarities(["", " \n"])).toEqual([
      [1, 1],
      [1, 1],
    ]);
  });

  it("compares the ends of long texts, in bounded work", () => {
    const long = (last: string): string => `${"word ".repeat(100_000)}${last}`;
    const [[, similarity] = []] = editSimilarities([long("one"), long("two")]);
    expect(similarity).toBeCloseTo(1 - 1 / 1024, 9);
  });
});

describe("mbr", () => {
  it("by answers is the majority, ties included", () => {
    for (const texts of [
      ["d", "a", "a", "d", "b"],
      ["b", "a", "a"],
      ["c", "b", "a"],
    ]) {
      const n = texts.length;
      const risk = solve(programOf(mbr, { n }), scripted(texts)).outcome;
      const majority = solve(programOf(selfConsistency, { n }), scripted(texts)).outcome;
      expect(risk).toMatchObject({
        answer: majority.answer,
        candidate: { index: majority.candidate?.index },
      });
      expect(risk.score).toBe(majority.score);
      expect(risk.selection).toBe("mbr");
    }
  });

  it("by words takes the text that is nearest to all", () => {
    const texts = ["the sum is 5", "so the sum is 4", "the sum is 4", "no idea"];
    const { outcome } = solve(programOf(mbr, { n: 4, utility: "edit" }), scripted(texts));
    expect(outcome.candidate?.index).toBe(2);
    expect(outcome.score).toBeCloseTo((1 + 3 / 4 + 4 / 5 + 0) / 4, 12);
  });

  const inputs = ["1", "2", "0"];
  const problem = { ...PROBLEM, metadata: { inputs } };

  it("by execution does not count a crash for anything, not even for itself", () => {
    const crashes = (ask: Ask): Answer | null =>
      ask.kind === "verify" && ask.role === "tool"
        ? { kind: "verdict", verdict: { verdict: "incorrect", score: 0, answer: "x", reason: "crashed" } }
        : null;
    const program = programOf(mbr, { n: 3, utility: "execution" }, problem);
    expect(solve(program, scripted(["a"], crashes)).outcome).toMatchObject({
      score: 0,
      candidate: { index: 0 },
    });
  });

  it.skipIf(NO_PYTHON !== "")(
    `by execution takes the program that prints what most print${NO_PYTHON}`,
    () => {
      const texts = ["print(3 // int(input()))", "print(int(input()) * 2)", "print(int(input()) + int('1'))"];
      const program = programOf(
        mbr,
        { n: 4, utility: "execution", inputs_max: 3 },
        { ...problem, metadata: { inputs: ["1", "2", "0", "9"] } },
      );
      const { outcome, trace } = solve(program, scripted([...texts, "print(2 * int(input()))"], inPython));
      // Of three inputs, 2x agrees with x + 1 on 1, with 3 // x on none, and with its equal on all.
      expect(outcome).toMatchObject({ candidate: { index: 1 }, selection: "mbr" });
      expect(outcome.score).toBeCloseTo((0 + 1 + 1 / 3 + 1) / 4, 12);
      expect(trace.asks.filter((ask) => ask.kind === "verify" && ask.role === "tool")).toHaveLength(12);
    },
  );

  it("by execution refuses a problem that has no inputs, before anything is asked", () => {
    const program = programOf(mbr, { utility: "execution" }, { ...PROBLEM, metadata: { inputs: [1] } });
    expect(() => solve(program, scripted(["a"]))).toThrow(
      "problem p: expected metadata.inputs to be a list of texts, found another list",
    );
  });
});

describe.skipIf(NO_PYTHON !== "")(`codet${NO_PYTHON}`, () => {
  const right = "def f(x):\n  return x * 2";
  const alsoRight = "def f(x):\n  return x + x";
  const wrong = "def f(x):\n  return 4";
  const leaves = "import sys\nsys.exit(0)";
  const tests = [
    " f(2) == 4\nassert f(3) == 6\nprint(1)\n",
    " f(2) == 4\nassert f(0) == 0\nassert f(1) == 2",
  ];

  const choose = (programs: readonly string[], given: { readonly tests_per_sample?: number } = {}) =>
    solve(
      programOf(codet, { n: programs.length, test_samples: tests.length, ...given }),
      scripted([], (ask) => {
        if (ask.kind !== "sample") return inPython(ask);
        const texts = textOf(ask.prefix) === "p" ? programs : tests;
        return rolloutOf(texts[ask.sample] ?? "");
      }),
    );

  it("takes a program of the group with the highest sqrt(programs) * tests", () => {
    const { outcome, trace } = choose([wrong, right, alsoRight, leaves]);
    expect(outcome).toMatchObject({ candidate: { index: 1 }, selection: "dual-execution" });
    expect(outcome.score).toBeCloseTo(Math.sqrt(2) * 4, 12);
    // Four distinct tests, and no line that is none.
    expect(trace.asks.filter((ask) => ask.kind === "verify" && ask.role === "tool")).toHaveLength(4 * 4);
  });

  it("can be outvoted: four that pass one test are as good as one that passes two", () => {
    const one = { tests_per_sample: 1 };
    expect(choose([wrong, wrong, right, wrong, wrong], one).outcome.candidate?.index).toBe(0);
    expect(choose([leaves, leaves, right], one).outcome).toMatchObject({ candidate: { index: 2 }, score: 1 });
  });

  it("without a test takes the first program", () => {
    const { outcome } = solve(programOf(codet, { n: 2 }), scripted(["nothing to test"]));
    expect(outcome).toMatchObject({ candidate: { index: 0 }, score: 0 });
  });
});
