/** The parts of the embedded host that need no model: batches, seats of sequences, texts. */
import { describe, expect, test } from "vitest";
import { createRandom } from "../../services/runtime/random.ts";
import { type Portion, planBatch } from "../../workers/rollout/drivers/embedded/batch-plan.ts";
import { Completion } from "../../workers/rollout/drivers/embedded/completion.ts";
import {
  COPY_TOKENS_MIN,
  createSequences,
  findSeat,
} from "../../workers/rollout/drivers/embedded/sequences.ts";

describe("a batch", () => {
  const limits = { batchTokensMax: 64, steady: true };

  test("never holds a micro-batch of one token when steady: what stands alone gets a companion", () => {
    const feeds = [0, 1, 4, 7].map((sequence) => ({ sequence, pending: 1 }));
    const plan = planBatch(feeds, limits);
    expect([...plan.companions]).toEqual([5, 8]);
    expect(plan.portions.map((portion) => portion.sequence)).toEqual([0, 1, 4, 5, 7, 8]);
  });

  test("puts prompts behind, in falling order, so that each is a micro-batch of its own", () => {
    const plan = planBatch(
      [0, 1, 3, 5].map((sequence) => ({ sequence, pending: sequence < 2 ? 1 : 9 })),
      limits,
    );
    expect(plan.portions.map((portion) => portion.sequence)).toEqual([0, 1, 5, 3]);
    expect(plan.companions.size).toBe(0);
  });

  test("steady or not, is cut by llama.cpp as meant: no micro-batch of one token when steady", () => {
    const random = createRandom(4);
    for (let round = 0; round < 2_000; round += 1) {
      const feeds = Array.from({ length: 12 }, (_, sequence) => sequence)
        .filter(() => random.next() < 0.5)
        .map((sequence) => ({
          sequence,
          pending: random.next() < 0.5 ? 1 : 1 + Math.floor(random.next() * 12),
        }));
      if (feeds.length === 0) continue;
      const { portions } = planBatch(feeds, { batchTokensMax: 256, steady: true });
      expect(Math.min(...microBatches(portions))).toBeGreaterThan(1);
    }
  });

  test("stays within its limit, and every sequence moves on", () => {
    const feeds = Array.from({ length: 8 }, (_, sequence) => ({ sequence, pending: 100 }));
    for (const steady of [true, false]) {
      const plan = planBatch(feeds, { batchTokensMax: 64, steady });
      expect(plan.portions.reduce((sum, portion) => sum + portion.tokens, 0)).toBeLessThanOrEqual(64);
      expect(new Set(plan.portions.map((portion) => portion.sequence)).size).toBeGreaterThanOrEqual(8);
    }
  });
});

/** Tokens in each micro-batch, as llama.cpp cuts them: runs of rising ids share one, as many tokens each as the least. */
function microBatches(portions: readonly Portion[]): readonly number[] {
  let rest = portions.map(({ sequence, tokens }) => ({ sequence, tokens }));
  const sizes: number[] = [];
  while (rest.length > 0) {
    const run = rest.slice(0, 1);
    for (const next of rest.slice(1)) {
      if (next.sequence !== (run.at(-1)?.sequence ?? 0) + 1) break;
      run.push(next);
    }
    const each = Math.min(...run.map(({ tokens }) => tokens));
    sizes.push(each * run.length);
    for (const portion of run) portion.tokens -= each;
    rest = rest.filter(({ tokens }) => tokens > 0);
  }
  return sizes;
}

describe("a seat", () => {
  const prompt = Array.from({ length: 10 }, (_, i) => i);

  test("is the idle sequence that holds most of the prompt, its last token not counted", () => {
    const sequences = createSequences(3);
    sequences[1]?.tokens.push(...prompt, 77);
    sequences[2]?.tokens.push(...prompt.slice(0, 5));
    expect(findSeat(sequences, prompt)).toMatchObject({ kind: "take", sequence: { id: 1 }, shared: 9 });
  });

  test("is copied from a running sibling when that saves enough, and waits for one that is still prefilling", () => {
    const [busy, idle] = createSequences(2);
    if (busy === undefined || idle === undefined) throw new Error("two were made");
    busy.isBusy = true;
    busy.pending = prompt;
    expect(findSeat([busy, idle], prompt)).toEqual({ kind: "wait" });
    busy.pending = [];
    busy.tokens.push(...prompt);
    expect(findSeat([busy, idle], prompt)).toMatchObject({
      kind: "copy",
      source: { id: 0 },
      sequence: { id: 1 },
      shared: 9,
    });
    idle.tokens.push(...prompt.slice(0, 10 - COPY_TOKENS_MIN));
    expect(findSeat([busy, idle], prompt)).toMatchObject({ kind: "take", shared: 10 - COPY_TOKENS_MIN });
    idle.isBusy = true;
    expect(findSeat([busy, idle], prompt)).toEqual({ kind: "full" });
  });
});

describe("a text", () => {
  // Bytes as tokens: characters arrive in pieces.
  const pieces = {
    isEnd: (token: number) => token === -1,
    detokenize: (tokens: readonly number[]) => Buffer.from(tokens).toString("utf8"),
  };
  function feed(completion: Completion, text: string): string | null {
    for (const byte of Buffer.from(text)) {
      const ending = completion.push(byte);
      if (ending !== null) return ending.stopString ?? ending.finishReason;
    }
    return null;
  }

  test("puts characters together that arrive in pieces", () => {
    const completion = new Completion({ stop: [] }, pieces, 100);
    expect(feed(completion, "é 木 🌳!")).toBe(null);
    expect(completion.push(-1)).toEqual({ finishReason: "stop", stopString: null });
    expect(completion.text).toBe("é 木 🌳!");
  });

  test("sees a stop string across tokens, and the one that is complete first", () => {
    const completion = new Completion({ stop: ["", "never", "\n\n", "木b"] }, pieces, 100);
    expect(feed(completion, "a\n木b\n\n")).toBe("木b");
    expect(completion.text).toBe("a\n木b");
  });

  test("is cut behind the stop string when a token goes on after it", () => {
    const words = { isEnd: () => false, detokenize: () => "one. two. " };
    const completion = new Completion({ stop: ["two", "one."] }, words, 100);
    expect(completion.push(0)).toEqual({ finishReason: "stop", stopString: "one." });
    expect(completion.text).toBe("one.");
  });

  test("bytes that are no text end at the limit, not in waiting", () => {
    const completion = new Completion({ stop: [] }, pieces, 3);
    expect([0xf0, 0x9f, 0xf0].map((byte) => completion.push(byte)?.finishReason ?? null)).toEqual([
      null,
      null,
      "length",
    ]);
    expect(completion.text).toContain("\ufffd");
  });
});
