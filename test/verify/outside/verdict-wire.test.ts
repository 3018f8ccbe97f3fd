import { describe, expect, test } from "vitest";
import {
  candidateLine,
  readVerdict,
  readVerdictLine,
  REASON_CHARS_MAX,
} from "../../../workers/verify/outside/verdict-wire.ts";

const verdictOf = (line: string) => {
  const read = readVerdictLine(line);
  return read.kind === "verdict" ? read.result : read;
};
const complaintOf = (line: string) => {
  const read = readVerdictLine(line);
  return read.kind === "malformed" ? read.complaint : read;
};

describe("a verdict off the wire", () => {
  test("is read with every field", () => {
    const line = `{"id": "7", "verdict": "incorrect", "score": 0.25, "answer": "42", "reason": "off by one"}`;
    expect(readVerdictLine(line)).toEqual({
      kind: "verdict",
      id: "7",
      result: { kind: "verdict", verdict: "incorrect", score: 0.25, answer: "42", reason: "off by one" },
    });
  });

  test.each([
    [`{"id":"1","verdict":"correct"}`, { verdict: "correct", score: 1, reason: null }],
    [
      `{"id":"1","verdict":"incorrect"}`,
      { verdict: "incorrect", score: 0, reason: "the verifier gave no reason" },
    ],
    [
      `{"id":"1","verdict":"undecided"}`,
      { verdict: "undecided", score: null, reason: "the verifier gave no reason" },
    ],
    [`{"id":"1","correct":true}`, { verdict: "correct", score: 1, answer: null }],
    [`{"id":"1","correct":false,"score":-2.5}`, { verdict: "incorrect", score: -2.5 }],
    [
      `{"id":"1","score":0.7}`,
      { verdict: "undecided", score: 0.7, reason: "the verifier gave a score and no verdict" },
    ],
    [`{"id":"1","score":0.7,"reason":"half"}`, { verdict: "undecided", reason: "half" }],
    [`{"id":"1","verdict":"correct","correct":true}`, { verdict: "correct" }],
    [
      `{"id":"1","verdict":"correct","score":null,"answer":null,"reason":null}`,
      { verdict: "correct", score: 1 },
    ],
    [`{"id":"1","verdict":"correct","answer":"","reason":"  "}`, { answer: null, reason: null }],
    [` {"id":"1","correct":true,"mine":[1]} \r`, { verdict: "correct" }],
  ])("%s fills in what is absent", (line, expected) => {
    expect(verdictOf(line)).toMatchObject(expected);
  });

  test("keeps a bounded reason and a bounded answer key, both well-formed", () => {
    const line = JSON.stringify({
      id: "1",
      correct: false,
      reason: "r".repeat(9_999),
      answer: "a".repeat(9_999),
    });
    const found = verdictOf(line);
    expect(found).toMatchObject({ reason: `${"r".repeat(REASON_CHARS_MAX)}...` });
    expect(found).toMatchObject({ answer: expect.stringMatching(/^a{64}\.\.\. sha256:[0-9a-f]{32}$/) });
    expect(verdictOf(`{"id":"1","correct":true,"answer":"\\ud800"}`)).toMatchObject({ answer: "\ufffd" });
  });
});

describe("what is no verdict is refused, saying what was expected and found", () => {
  test.each([
    ["checking candidate 7", 'expected a JSON object with id and verdict, found "checking candidate 7"'],
    ["", 'expected a JSON object with id and verdict, found ""'],
    ['{"id":"1","verdict":"cor', "expected a JSON object with id and verdict, found "],
    ["null", 'expected a JSON object with id and verdict, found "null"'],
    ["0.7", "expected a JSON object with id and verdict, found 0.7"],
    ["NaN", 'expected a JSON object with id and verdict, found "NaN"'],
    ['[{"id":"1","correct":true}]', "expected a JSON object with id and verdict, found a list"],
    ['{"verdict":"correct"}', "expected id to be the text that the candidate came with, found nothing"],
    ['{"id":7,"verdict":"correct"}', "expected id to be the text that the candidate came with, found 7"],
    [
      '{"id":{},"verdict":"correct"}',
      "expected id to be the text that the candidate came with, found an object",
    ],
  ])("%s belongs to no candidate", (line, complaint) => {
    expect(readVerdictLine(line)).toMatchObject({ kind: "malformed", id: null });
    expect(complaintOf(line)).toContain(complaint);
  });

  test.each([
    ['{"id":"1"}', 'expected verdict, correct or score, found keys "id"'],
    [
      '{"id":"1","verdit":"correct"}',
      'expected verdict, correct or score, found keys "id, verdit"; did you mean "verdict"?',
    ],
    [
      '{"id":"1","verdict":"yes"}',
      'expected verdict to be one of correct, incorrect, undecided, found "yes"',
    ],
    ['{"id":"1","verdict":true}', "expected verdict to be one of correct, incorrect, undecided, found true"],
    ['{"id":"1","correct":1}', "expected correct to be true or false, found 1"],
    [
      '{"id":"1","verdict":"incorrect","correct":true}',
      'expected verdict and correct to agree, found "incorrect" and true',
    ],
    ['{"id":"1","score":NaN}', 'expected score to be a finite number, found "NaN"'],
    [
      '{"id":"1","verdict":"correct","score":-Infinity}',
      'expected score to be a finite number, found "-Infinity"',
    ],
    ['{"id":"1","score":1e999}', "expected score to be a finite number, found Infinity"],
    ['{"id":"1","score":"0.7"}', 'expected score to be a finite number, found "0.7"'],
    ['{"id":"1","correct":true,"answer":7}', "expected answer to be a text, found 7"],
    ['{"id":"1","correct":true,"reason":["x"]}', "expected reason to be a text, found a list"],
  ])("%s belongs to candidate 1", (line, complaint) => {
    expect(readVerdictLine(line)).toEqual({ kind: "malformed", id: "1", complaint });
  });

  test("words of numbers inside of texts are texts", () => {
    const line = String.raw`{"id":"1","score":NaN,"reason":"NaN \" Infinity \\"}`;
    expect(readVerdictLine(line)).toMatchObject({ id: "1", complaint: expect.stringContaining('"NaN"') });
    expect(complaintOf('{"id":"NaN')).toContain("expected a JSON object");
  });

  test.each([
    ["deep lists", `{"id":"1","verdict":${"[".repeat(200_000)}${"]".repeat(200_000)}}`],
    ["open lists", "[".repeat(500_000)],
    ["escaped quotation marks and NaN", `NaN${'\\"'.repeat(250_000)}`],
    ["quotation marks and NaN", `NaN${'"'.repeat(500_001)}`],
    ["many keys", `{"id":"1",${Array.from({ length: 20_000 }, (_, n) => `"k${n}":0`).join(",")}}`],
  ])("%s end in a short complaint", (_, line) => {
    const read = readVerdictLine(line);
    expect(read.kind).toBe("malformed");
    expect(read.kind === "malformed" && read.complaint.length).toBeLessThan(300);
  });

  test("values that are no JSON objects are refused as lines are", () => {
    for (const value of [undefined, null, "x", 1, [], true]) {
      expect(readVerdict(value)).toMatchObject({ kind: "malformed", id: null });
    }
  });
});

describe("a candidate on the wire", () => {
  const candidate = {
    prompt: "Zwei\nZeilen",
    text: "\u00e9 \ud83d\ude00 \ud800 \u2028 \u0000 end",
    problem: { id: "p", prompt: "q", reference: null, tests: "assert", metadata: { level: 3 } },
  };

  test("is one line of ASCII that parses to what it was", () => {
    const line = candidateLine("12", candidate);
    expect(line).toMatch(/^[\x20-\x7e]*\n$/);
    expect(JSON.parse(line)).toEqual({ id: "12", ...candidate });
  });

  test("carries of a problem what verifiers may know, and no more", () => {
    const problem = { ...candidate.problem, secret: "x" };
    expect(candidateLine("1", { ...candidate, problem })).not.toContain("secret");
  });
});
