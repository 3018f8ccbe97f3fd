import { describe, expect, test } from "vitest";
import { promptInTokens, promptText, type Tokenizer } from "../../workers/rollout/prompt.ts";

/** Tokens are the codes of pairs of characters: where a text is cut decides what its tokens are. */
const PAIRS: Tokenizer = {
  beginning: async (text) => [1, ...pairs(text)],
  continuation: async (text) => pairs(text),
};

function pairs(text: string): readonly number[] {
  return (text.match(/.{1,2}/gsu) ?? []).map((pair) => pair.codePointAt(0) ?? 0);
}

describe("a prompt in pieces", () => {
  test("is its texts, joined", () => {
    expect(promptText([{ text: "ab" }, { text: "c", tokens: [9] }, { text: "" }])).toBe("abc");
  });

  test("keeps the tokens that were sampled, and has the texts between them tokenized as one each", async () => {
    const pieces = [
      { text: "a" },
      { text: "b" },
      { text: "xyz", tokens: [77, 78] },
      { text: "c" },
      { text: "d" },
    ];
    expect(await promptInTokens(pieces, PAIRS)).toEqual([1, 97, 77, 78, 99]);
  });

  test("begins with what the model wants at a beginning, also where its first piece was sampled", async () => {
    expect(await promptInTokens([{ text: "x", tokens: [77] }], PAIRS)).toEqual([1, 77]);
  });

  test("is left to the engine's own tokenizer where no tokens are known", async () => {
    expect(await promptInTokens([{ text: "a" }, { text: "b" }], PAIRS)).toBeNull();
  });

  test("takes more tokens than a call takes arguments", async () => {
    const tokens = Array.from({ length: 300_000 }, (_, index) => index);
    expect(await promptInTokens([{ text: "a" }, { text: "long", tokens }], PAIRS)).toHaveLength(300_002);
  });
});
