import { describe, expect, test } from "vitest";
import { execute } from "../../workers/verify/outside/execute.ts";
import { unitTests } from "../../workers/verify/outside/unit-tests.ts";
import { parseOptions } from "../../workers/verify/verifier.ts";
import { describeOutsideVerifier } from "../conformance/outside-verifier.ts";
import { NO_SANDBOX, processesNamed } from "../support/sandbox.ts";

const ADD = "def add(a, b):\n    ";
const ADD_TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0";
const NAME = `endless-${process.pid % 100_000}`;
const ENDLESS = `open("/proc/self/comm", "w").write("${NAME}")\nwhile True: pass`;
const JAVASCRIPT = { language: "javascript" };
const HEAD = { prompt: ADD, tests: ADD_TESTS };

describe.skipIf(NO_SANDBOX !== null)(`programs in the sandbox ${NO_SANDBOX ?? ""}`.trim(), () => {
  describeOutsideVerifier(unitTests, {
    correct: [
      { ...HEAD, text: "return a + b", answer: null },
      { ...HEAD, text: "print(7); return a + b", options: { answer: "output" }, answer: "7\n7" },
      {
        ...HEAD,
        prompt: "",
        text: `Sure:\n\`\`\`python\n${ADD}return a + b\n\`\`\`\nDone.`,
        options: { extract: "code-block" },
      },
      {
        text: "class A: pass",
        tests: "import unittest\nclass T(unittest.TestCase):\n  def test(self): A()\nunittest.main()",
      },
      {
        text: "import os, threading\nthreading.Thread(target=print).start()",
        tests: "assert os.getuid() > 0",
      },
      {
        text: "def f(): return {1: 'cm'}",
        metadata: { unit: "cm", entry_point: "f" },
        options: { program: "{text}\nassert {entry_point}() == {{1: '{metadata.unit}'}}" },
      },
      {
        text: "const add = (a, b) => a + b;",
        tests: 'require("assert").equal(add(1, 2), 3)',
        options: JAVASCRIPT,
      },
      { text: "export const n = 1;", tests: "if (n !== 1) throw new Error();", options: JAVASCRIPT },
      { text: "const n = 1;", tests: "process.exit(n === 1 ? 0 : 1)", options: JAVASCRIPT },
    ],
    incorrect: [
      { ...HEAD, text: "return a - b", reason: "assert add(1, 2) == 3\n" },
      { ...HEAD, text: "raise ValueError('no')", reason: "ValueError: no" },
      { ...HEAD, text: "return a +", reason: "SyntaxError: invalid syntax" },
      { ...HEAD, text: "pass\nimport sys; sys.exit(0)", reason: "before its tests" },
      { ...HEAD, text: "import sys; sys.exit(0)", reason: "before its tests" },
      { ...HEAD, text: "pass\nimport os; os._exit(0)", reason: "before its tests" },
      { ...HEAD, text: "import os; os.execv('/bin/true', ['true'])", reason: "before its tests" },
      { ...HEAD, text: "import os; os.kill(os.getpid(), 11)", reason: "SIGSEGV" },
      { ...HEAD, text: "pass\nimport atexit, os; atexit.register(os._exit, 0)", reason: "before its tests" },
      {
        ...HEAD,
        text: "pass\nimport os\nfor n in range(3, 256):\n  try: os.write(n, b'ok')\n  except OSError: pass\nos._exit(0)",
        reason: "before its tests",
      },
      { ...HEAD, text: "return [0] * 10 ** 9", reason: "MemoryError" },
      { ...HEAD, text: "import sys; sys.exit('gave up')", reason: "gave up" },
      {
        text: "function f() { null.x }",
        tests: "f()",
        options: JAVASCRIPT,
        reason: "TypeError: Cannot read properties of null",
      },
      { text: "process.exit(0);", tests: "throw 1", options: JAVASCRIPT, reason: "before its tests" },
      {
        text: "const f = () => process.exit(0);",
        tests: "f()",
        options: JAVASCRIPT,
        reason: "before its tests",
      },
      { text: "process.reallyExit(0);", tests: "throw 1", options: JAVASCRIPT, reason: "before its tests" },
      { text: "Promise.reject(new Error('late'));", tests: "", options: JAVASCRIPT, reason: "Error: late" },
    ],
    undecided: [
      { text: "pass", tests: null, reason: "the problem has no tests" },
      { text: "1", tests: "", options: { program: "{text}\n{entry_point}" }, reason: 'no "entry_point"' },
    ],
    problem: { prompt: "", tests: "assert answer == 24" },
    endless: { text: ENDLESS, tests: "", verdict: "incorrect", reason: "longer than" },
    underWay: () => processesNamed(NAME),
    env: process.env,
  });

  describeOutsideVerifier(execute, {
    correct: [
      { text: "print(6 * 7)", answer: "42" },
      { prompt: "n = 6\n", text: "print(n * 7)", answer: "42" },
      { text: "print('x' * 300)", options: { output_chars_max: 100 }, answer: "x".repeat(100) },
      { text: "x = 1", answer: null },
      { text: "console.log([1, 2].map((n) => n * 2))", options: JAVASCRIPT, answer: "[ 2, 4 ]" },
    ],
    incorrect: [
      { text: "print(1)\n1 / 0", answer: "1", reason: "ZeroDivisionError" },
      { text: "print('x' * 500)", options: { output_chars_max: 100 }, reason: "wrote more than 400 bytes" },
    ],
    undecided: [],
    problem: {},
    endless: { text: ENDLESS, verdict: "incorrect" },
    underWay: () => processesNamed(NAME),
    env: process.env,
  });
});

describe("the options of unit-tests", () => {
  test("ask for a program that the candidate is a part of", () => {
    expect(() => parseOptions(unitTests, { kind: "unit-tests", program: "{tests}" })).toThrow(
      "expected {text} in program",
    );
    expect(() => parseOptions(unitTests, { kind: "unit-tests", language: "ruby" })).toThrow(
      "one of python, javascript",
    );
    expect(parseOptions(unitTests, { kind: "unit-tests" })).toMatchObject({
      timeout_ms: 3_000,
      memory_mb: 512,
    });
  });
});
