/** The embedded host's decoding options: token ids, log-probabilities, structures, drafts. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PromptPiece, Sampling, Structure } from "../../services/queue/job.ts";
import { createEmbeddedDriver } from "../../workers/rollout/drivers/embedded.ts";
import type { EmbeddedDriver } from "../../workers/rollout/drivers/embedded.ts";
import { Batcher } from "../../workers/rollout/drivers/embedded/batcher.ts";
import { Completion } from "../../workers/rollout/drivers/embedded/completion.ts";
import { loadEngine, type Engine, type Sampler } from "../../workers/rollout/drivers/embedded/engine.ts";
import { readableSchema } from "../../workers/rollout/drivers/embedded/json-schema.ts";
import { draftBehind } from "../../workers/rollout/drivers/embedded/lookup.ts";
import { readModelFile } from "../../workers/rollout/drivers/embedded/model-file.ts";

const MODEL = fileURLToPath(new URL("../../models/game24/game24-tiny.gguf", import.meta.url));
const PUZZLE = "4 5 6 10\n";
const SAMPLING: Sampling = { temperature: 0.8, topP: 1, topK: 0, minP: 0, maxTokens: 24, stop: [] };
const never = new AbortController().signal;

let engine: Engine;
let driver: EmbeddedDriver;
beforeAll(async () => {
  engine = await loadEngine(await readModelFile(MODEL), { sequences: 2, contextTokens: null, threads: 1 });
  driver = createEmbeddedDriver({ modelPath: MODEL, sequences: 6 });
});
afterAll(async () => {
  await driver.close();
  await engine.dispose();
});

interface Ask extends Partial<Sampling> {
  readonly pieces?: readonly PromptPiece[];
  readonly seed?: number;
}

function sample(on: EmbeddedDriver, { pieces = [{ text: PUZZLE }], seed = 1, ...sampling }: Ask = {}) {
  return on.sample({ pieces, problem: "p", sample: 0, seed, sampling: { ...SAMPLING, ...sampling } }, never);
}

async function onFreshHost<T>(
  options: Partial<Parameters<typeof createEmbeddedDriver>[0]>,
  body: (fresh: EmbeddedDriver) => Promise<T>,
): Promise<T> {
  const fresh = createEmbeddedDriver({ modelPath: MODEL, sequences: 6, ...options });
  try {
    return await body(fresh);
  } finally {
    await fresh.close();
  }
}

describe("token ids", () => {
  test("spell the text, without the token that ended it", async () => {
    const { result, usage } = await sample(driver, { tokens: true, temperature: 0, maxTokens: 200 });
    expect(result).toMatchObject({ finishReason: "stop", stopString: null });
    expect(result.tokens).toHaveLength((usage.completionTokens ?? 0) - 1);
    expect(engine.detokenize(result.tokens ?? [])).toBe(result.text);
  });

  test("stay unknown where a stop string ends inside of a token", async () => {
    const whole = await sample(driver, { tokens: true, temperature: 0, maxTokens: 40, stop: [" left"] });
    expect(engine.detokenize(whole.result.tokens ?? [])).toBe(whole.result.text);
    const cut = await sample(driver, { tokens: true, temperature: 0, maxTokens: 40, stop: [" le"] });
    expect(cut.result).toMatchObject({ stopString: " le" });
    expect(cut.result.tokens).toBeUndefined();
  });

  test("are gone on from as they are, where the tokenizer would merge them: and the parent's whole cache is used", async () => {
    const split = [engine.tokenizeContinuation("1"), engine.tokenizeContinuation("0")].flat();
    const [merged] = engine.tokenizeContinuation("10");
    expect(split).toHaveLength(2);
    expect(engine.tokenizeContinuation("10")).toEqual([merged]);
    const parent = [{ text: PUZZLE }, { text: "10", tokens: split }];
    const goOn = (last: PromptPiece) =>
      onFreshHost({}, async (fresh) => {
        const first = await sample(fresh, { pieces: parent, maxTokens: 1, tokens: true });
        const next = { text: first.result.text, tokens: first.result.tokens ?? [] };
        const { usage } = await sample(fresh, { pieces: [{ text: PUZZLE }, last, next], maxTokens: 1 });
        return { usage, parentTokens: first.usage.promptTokens ?? 0 };
      });
    const byTokens = await goOn({ text: "10", tokens: split });
    expect(byTokens.usage.promptTokens).toBe(byTokens.parentTokens + 1);
    expect(byTokens.usage.cachedTokens).toBe(byTokens.parentTokens);
    const byText = await goOn({ text: "10" });
    expect(byText.usage.promptTokens).toBe(byText.parentTokens);
    expect(byText.usage.cachedTokens).toBe(byText.parentTokens - 2);
  });

  test("of a prompt are scored as they are", async () => {
    const score = (last: PromptPiece) =>
      driver.score({ pieces: [{ text: PUZZLE }, last], positive: " good", negative: " bad" }, never);
    const tokens = [engine.tokenizeContinuation("1"), engine.tokenizeContinuation("0")].flat();
    const { usage } = await score({ text: "10", tokens });
    expect(usage.promptTokens).toBe(((await score({ text: "10" })).usage.promptTokens ?? 0) + 1);
  });
});

describe("log-probabilities", () => {
  /** ln P of each token that the vocabulary has, by a softmax over all logits. */
  async function softmaxBehind(tokens: readonly number[]): Promise<(token: number) => number> {
    const vocabulary = Array.from({ length: 1_500 }, (_, token) => token);
    const [rows = []] = await engine.decode([
      { sequence: 0, position: 0, tokens, rows: [tokens.length - 1], wants: 1 },
    ]);
    const logits = await engine.logitsOf(rows[0] ?? -1, vocabulary);
    engine.truncate(0, 0);
    const known = logits.filter((logit) => !Number.isNaN(logit));
    const highest = Math.max(...known);
    const total = known.reduce((sum, logit) => sum + Math.exp(logit - highest), 0);
    return (token) => (logits[token] ?? Number.NaN) - highest - Math.log(total);
  }

  test("are those of the model itself, whatever the sampling narrows", async () => {
    for (const narrow of [{}, { temperature: 0 }, { topK: 3 }, { topP: 0.5, temperature: 2 }]) {
      const { result } = await sample(driver, { ...narrow, logprobs: true, tokens: true, maxTokens: 1 });
      const logprobOf = await softmaxBehind(engine.tokenize(PUZZLE));
      expect(result.meanLogprob).toBeCloseTo(logprobOf(result.tokens?.[0] ?? -1), 4);
    }
  });

  test("of a rollout are those that its text has as a continuation", async () => {
    for (const seed of [1, 2, 3, 4]) {
      const { result } = await sample(driver, { seed, logprobs: true, tokens: true, maxTokens: 5 });
      const continuation = { text: result.text, tokens: result.tokens ?? [] };
      const judged = await driver.likelihood({ pieces: [{ text: PUZZLE }], continuation }, never);
      expect(judged.meanLogprob).toBeCloseTo(result.meanLogprob ?? 0, 5);
      expect(judged.usage).toMatchObject({ completionTokens: 0 });
    }
  });

  test("of a text do not depend on what runs beside it, nor on the cache, bit for bit", async () => {
    const ask = async (on: EmbeddedDriver, n: number): Promise<number> => {
      const text = `${n} - 4 = 6 left 5 6 6\n${n} + 5 = ${n + 5} left 6 6\n`.repeat(1 + (n % 4));
      return (await on.likelihood({ pieces: [{ text: PUZZLE }], continuation: { text } }, never)).meanLogprob;
    };
    const numbers = Array.from({ length: 24 }, (_, n) => n + 1);
    const together = await onFreshHost({}, async (host) => {
      const company = numbers.map((seed) => sample(host, { seed }));
      const found = await Promise.all(numbers.map((n) => ask(host, n)));
      await Promise.all(company);
      return found;
    });
    await onFreshHost({ sequences: 1 }, async (host) => {
      for (const n of numbers.toReversed()) {
        await ask(host, n);
        expect(await ask(host, n)).toBe(together[n - 1]);
      }
    });
  });

  test("of nothing are refused", async () => {
    const likelihood = driver.likelihood({ pieces: [{ text: PUZZLE }], continuation: { text: "" } }, never);
    await expect(likelihood).rejects.toMatchObject({ code: "invalid_argument" });
  });
});

describe("structures", () => {
  const texts = (structure: Structure, sampling: Partial<Sampling> = {}) =>
    Promise.all(
      [1, 2, 3, 4, 5, 6].map(
        async (seed) =>
          (await sample(driver, { structure, seed, temperature: 1.5, maxTokens: 120, ...sampling })).result,
      ),
    );

  test("a schema: the text is JSON of it and ends with it", async () => {
    const schema = {
      title: "a step",
      type: "object",
      properties: {
        left: { type: "array", items: { type: "integer" }, minItems: 2, maxItems: 3 },
        verdict: { anyOf: [{ const: "good" }, { type: "null" }] },
      },
      required: ["left"],
    };
    for (const { text, finishReason } of await texts({ kind: "json-schema", schema })) {
      expect(finishReason).toBe("stop");
      const { left, verdict } = JSON.parse(text);
      expect(left.length).toBeGreaterThanOrEqual(2);
      expect(left.every(Number.isInteger)).toBe(true);
      expect(["good", null]).toContain(verdict);
    }
  });

  test("a grammar: and beside it other rollouts are as they were", async () => {
    const free = (await sample(driver, { seed: 9 })).result.text;
    const [step, again] = await Promise.all([
      texts({ kind: "grammar", grammar: 'root ::= [1-9] [0-9]? " - " [1-9] " = " [0-9]+ "\\n"' }),
      sample(driver, { seed: 9 }),
    ]);
    for (const { text } of step) expect(text).toMatch(/^[1-9][0-9]? - [1-9] = [0-9]+\n$/);
    expect(again.result.text).toBe(free);
  });

  test("that are none are refused with what is wrong, and cost nobody else anything", async () => {
    const bad: readonly (readonly [Structure, RegExp])[] = [
      [{ kind: "grammar", grammar: 'root ::= "a' }, /expected a grammar that llama\.cpp can hold a text to/],
      [{ kind: "grammar", grammar: 'root ::= root "a"' }, /grammar/],
      [
        { kind: "json-schema", schema: { type: "number", minimum: 3 } },
        /at \$: expected no more than type, found "minimum"/,
      ],
      [{ kind: "regex", pattern: "a" }, /asks for regex/],
    ];
    const beside = sample(driver, { seed: 5 });
    for (const [structure, message] of bad) {
      const refused = sample(driver, { structure });
      await expect(refused).rejects.toMatchObject({ code: "invalid_argument" });
      await expect(refused).rejects.toThrow(message);
    }
    expect((await sample(driver, { seed: 5 })).result.text).toBe((await beside).result.text);
  });

  test("a schema that is not read whole is refused with the place", () => {
    const refused: readonly (readonly [Record<string, unknown>, string])[] = [
      [{}, "$.type"],
      [{ type: "object", properties: { a: { type: "string", pattern: "x" } } }, "$.properties.a"],
      [{ type: "object", required: ["b"] }, "$.required"],
      [{ allOf: [{ type: "string" }] }, "$"],
      [{ $ref: "other.json" }, "$.$ref"],
      [{ type: "array", items: { type: "string", format: "email" } }, "$.items.format"],
      [{ enum: [{ a: 1 }] }, "$.enum"],
      [{ $defs: { a: { not: {} } }, $ref: "#/$defs/a" }, "$.$defs.a"],
    ];
    for (const [schema, place] of refused)
      expect(() => readableSchema(schema)).toThrow(`at ${place}: expected`);
    let deep: Record<string, unknown> = { type: "null" };
    for (let n = 0; n < 100; n += 1) deep = { type: "array", items: deep };
    expect(() => readableSchema(deep)).toThrow(/schemas in one another/);
  });
});

describe("a rollout that cannot be sampled", () => {
  test("fails alone, and its sequence serves the next", async () => {
    const broken = engine.createSampler(SAMPLING, 1);
    const failing: Engine = {
      ...engine,
      sampleNext: async (logits, sampler) => (sampler === broken ? -1 : engine.sampleNext(logits, sampler)),
    };
    const batcher = new Batcher(failing, { sequences: 2, arithmetic: "steady" });
    const textOf = async (sampler: Sampler): Promise<string> => {
      const completion = new Completion(SAMPLING, engine, 12);
      const demand = { kind: "sample", completion, sampler, logprobs: false, onToken: () => {} } as const;
      await batcher.submit(engine.tokenize(PUZZLE), demand, never);
      return completion.text;
    };
    const [failed, beside] = await Promise.allSettled([
      textOf(broken),
      textOf(engine.createSampler(SAMPLING, 2)),
    ]);
    expect(failed).toMatchObject({
      reason: { code: "invalid_argument", message: "expected a token that the sampling allows, found none" },
    });
    const alone = await textOf(engine.createSampler(SAMPLING, 2));
    expect(beside).toEqual({ status: "fulfilled", value: alone });
    await batcher.close(new Error("done"));
    for (const sequence of [0, 1]) engine.truncate(sequence, 0);
  });
});

describe("drafts", () => {
  test("are what followed the last three tokens, else the last two, most lately", () => {
    expect(draftBehind([1, 2, 3, 4, 9, 1, 2], 3, 4)).toEqual([4, 9, 1, 2]);
    expect(draftBehind([1, 2, 3, 4, 7, 2, 3, 5, 1, 2], 3, 2)).toEqual([4, 7]);
    expect(draftBehind([7, 2, 3, 5, 8, 2], 3, 9)).toEqual([5, 8, 2, 3]);
    expect(draftBehind([1, 2, 4, 5], 3, 4)).toEqual([]);
    expect(draftBehind([], 3, 4)).toEqual([]);
  });

  test("change no text, no log-probability and no usage, under many seeds", async () => {
    const prompts = [PUZZLE, `${PUZZLE}10 - 4 = 6 left 5 6 6\n`.repeat(3), "3 3 8 8\n"];
    const asks = Array.from({ length: 90 }, (_, seed): Ask => ({
      seed,
      pieces: [{ text: prompts[seed % 3] ?? "" }],
      maxTokens: 60,
      temperature: [0, 0.8, 1.4][Math.floor(seed / 3) % 3] ?? 0,
      logprobs: true,
      tokens: true,
      stop: seed % 5 === 0 ? ["left 6"] : [],
    }));
    const answers = (speculativeTokens: number) =>
      onFreshHost({ speculativeTokens }, async (host) => {
        const told: number[][] = asks.map(() => []);
        const found = await Promise.all(
          asks.map(async ({ pieces = [], seed = 0, ...sampling }, n) => {
            const request = { pieces, problem: "p", sample: 0, seed, sampling: { ...SAMPLING, ...sampling } };
            const { result, usage } = await host.sample(
              { ...request, onUsage: ({ completionTokens }) => told[n]?.push(completionTokens ?? -1) },
              never,
            );
            return { result, completionTokens: usage.completionTokens };
          }),
        );
        return { found, told };
      });
    const plain = await answers(0);
    const drafted = await answers(6);
    expect(drafted).toEqual(plain);
    expect(await answers(31)).toEqual(plain);
    expect(new Set(plain.found.map(({ result }) => result.text)).size).toBeGreaterThan(30);
  });

  test("that are right save evaluations", async () => {
    // One text is all that the grammar allows, and the prompt says how it goes.
    const line = "1 2 3 4 ";
    const structure = { kind: "grammar", grammar: `root ::= "${line.repeat(10)}"` } as const;
    const evaluations = async (draftTokensMax: number) => {
      let count = 0;
      const counting: Engine = {
        ...engine,
        decode(items) {
          count += 1;
          return engine.decode(items);
        },
      };
      const batcher = new Batcher(counting, { sequences: 1, arithmetic: "steady", draftTokensMax });
      const sampling = { ...SAMPLING, structure };
      const completion = new Completion(sampling, engine, 100);
      const sampler = engine.createSampler(sampling, 1, await engine.formOf(structure));
      const demand = { kind: "sample", completion, sampler, logprobs: false, onToken: () => {} } as const;
      await batcher.submit(engine.tokenize(line.repeat(3)), demand, never);
      await batcher.close(new Error("done"));
      engine.truncate(0, 0);
      return { text: completion.text, count };
    };
    const plain = await evaluations(0);
    const drafted = await evaluations(8);
    expect(plain.text).toBe(line.repeat(10));
    expect(drafted.text).toBe(plain.text);
    expect(drafted.count).toBeLessThan(plain.count / 3);
  });
});
