/** Which rollouts are exported. */
import { describe, expect, test } from "vitest";
import { parseRollout } from "../../services/coordinator/run-rows/stored-row.ts";
import { storedTask } from "../../services/coordinator/run-rows/stored-task.ts";
import { newCounts, normalised, pick, type PickOptions, rolloutsOf } from "../../services/export/pick.ts";

const EVERYTHING: PickOptions = {
  keep: "all",
  scoreMin: null,
  max: null,
  dedupe: "none",
  order: "first",
  seed: 1,
};

interface Given {
  readonly text: string;
  readonly score?: number | null;
  readonly answer?: string;
}

function picked(given: readonly Given[], options: Partial<PickOptions>) {
  const rollouts = given.map(({ text, score = null, answer }, i) => {
    const place = { task: "bon/p", problem: "p", strategy: "bon", ask: `0.${i}/0`, sample: i, parent: null };
    const row = { ...place, text, finish_reason: "stop", verdict: "correct", score, answer };
    return parseRollout(JSON.stringify(row), `rows:${i + 1}`);
  });
  const task = storedTask(rollouts, { id: "bon/p", strategy: "bon", result: null });
  const counts = newCounts();
  const rows = pick(
    rolloutsOf([task], () => true),
    { ...EVERYTHING, ...options },
    counts,
  );
  return { texts: rows.map(({ text }) => text), counts };
}

describe("the order", () => {
  const given = [
    { text: "bb", score: 0.5 },
    { text: "aaa" },
    { text: "c", score: 0.9 },
    { text: "dddd", score: -1 },
  ];

  test.each([
    ["first", ["bb", "aaa", "c", "dddd"]],
    ["score", ["c", "bb", "dddd", "aaa"]],
    ["shortest", ["c", "bb", "aaa", "dddd"]],
  ] as const)("%s", (order, expected) => {
    expect(picked(given, { order }).texts).toEqual(expected);
  });

  test("random is the seed's, and no rollout's place depends on the others", () => {
    const many = Array.from({ length: 20 }, (_, i) => ({ text: String(i) }));
    const { texts } = picked(many, { order: "random" });
    expect(texts.toSorted()).toEqual(many.map(({ text }) => text).toSorted());
    expect(texts).not.toEqual(many.map(({ text }) => text));
    expect(picked(many, { order: "random" }).texts).toEqual(texts);
    expect(picked(many, { order: "random", seed: 2 }).texts).not.toEqual(texts);
    const fewer = picked(many.slice(0, 10), { order: "random" }).texts;
    expect(fewer).toEqual(texts.filter((text) => Number(text) < 10));
  });

  test("breaks ties of scores by chance, the same each time", () => {
    const tied = Array.from({ length: 20 }, (_, i) => ({ text: String(i), score: 1 }));
    const { texts } = picked(tied, { order: "score" });
    expect(texts).toEqual(picked(tied, { order: "random" }).texts);
  });
});

describe("what is left out", () => {
  test("is counted by its first reason", () => {
    const given = [
      { text: "low", score: 0.1 },
      { text: "none" },
      { text: "a b", score: 0.5 },
      { text: " a\n b ", score: 0.9 },
      { text: "c", score: 0.8 },
      { text: "d", score: 0.7 },
    ];
    const { texts, counts } = picked(given, { scoreMin: 0.5, dedupe: "text", order: "score", max: 2 });
    expect(texts).toEqual([" a\n b ", "c"]);
    expect(counts).toMatchObject({ belowScore: 2, duplicates: 1, overMax: 1 });
  });

  test("of equal answers is all but the first; without an answer texts are compared", () => {
    const given = [
      { text: "x", answer: "7" },
      { text: "y", answer: "7" },
      { text: "z" },
      { text: "z " },
      { text: "7" },
      { text: "u", answer: "8" },
    ];
    expect(picked(given, { dedupe: "answer" }).texts).toEqual(["x", "z", "7", "u"]);
  });
});

test("texts are equal that differ in white space or in how Unicode writes a character", () => {
  expect(normalised("  caf\u00E9 \n\t x ")).toBe(normalised("cafe\u0301\u00A0x"));
  expect(normalised("a b")).not.toBe(normalised("ab"));
});
