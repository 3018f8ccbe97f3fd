/** The decoding options of hosts that speak the completions API: what each server is sent, and what is made of its answers. */
import { afterEach, describe, expect, it } from "vitest";
import type { PromptPiece, Sampling, Structure } from "../../services/queue/job.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { SampleRequest } from "../../workers/rollout/driver.ts";
import { createOpenaiDriver } from "../../workers/rollout/drivers/openai.ts";
import { startOpenaiServer, type OpenaiServerOptions } from "../support/openai-server.ts";
import { decode, encode, logprobOf } from "../support/toy-tokenizer.ts";

const never = new AbortController().signal;
const sampling: Sampling = { temperature: 0.8, topP: 1, topK: 0, minP: 0, maxTokens: 24, stop: [] };
const PUZZLE = "4 5 6 10\n";

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each.close();
});

async function open(options: Partial<OpenaiServerOptions> = {}) {
  const server = await startOpenaiServer({ kind: "vllm", reportsCachedTokens: true, ...options });
  const driver = createOpenaiDriver({
    url: server.url,
    model: null,
    apiKey: null,
    concurrency: 8,
    clock: systemClock,
    random: createRandom(1),
    limits: { retriesMax: 0 },
  });
  opened.push(server, driver);
  const sample = (
    changed: Partial<Sampling> = {},
    pieces: readonly PromptPiece[] = [{ text: PUZZLE }],
    seed = 7,
  ) => {
    const request: SampleRequest = {
      pieces,
      problem: "p",
      sample: 0,
      seed,
      sampling: { ...sampling, ...changed },
    };
    return driver.sample(request, never);
  };
  return { server, driver, sample, sent: () => server.requests.at(-1) ?? {} };
}

describe("openai driver: token ids", () => {
  for (const kind of ["vllm", "sglang", "llama-server"] as const) {
    it(`are told by ${kind}, without the token that ended the text, and gone on from as they are`, async () => {
      const { sample, sent } = await open({ kind });
      for (const seed of [1, 2, 3, 4, 5, 6]) {
        const { result } = await sample({ tokens: true, maxTokens: 200 }, [{ text: PUZZLE }], seed);
        expect(decode(result.tokens ?? [])).toBe(result.text);
      }
      // As no tokenizer would have it.
      const split = [...encode("1", { begins: false }), ...encode("0", { begins: false })];
      await sample({}, [{ text: PUZZLE }, { text: "10", tokens: split }, { text: " so" }]);
      const ids = [...encode(PUZZLE, { begins: true }), ...split, ...encode(" so", { begins: false })];
      expect(kind === "sglang" ? sent()["input_ids"] : sent()["prompt"]).toEqual(ids);
      await sample({}, [{ text: PUZZLE }, { text: "10" }]);
      expect(kind === "sglang" ? sent()["text"] : sent()["prompt"]).toBe(`${PUZZLE}10`);
    });

    it(`stay unknown where a stop string ended the text inside of a token: ${kind}`, async () => {
      const { sample } = await open({ kind });
      const ends = await Promise.all(
        Array.from({ length: 12 }, (_, seed) =>
          sample({ tokens: true, maxTokens: 200, stop: [" le", "\n"] }, [{ text: PUZZLE }], seed),
        ),
      );
      const whole = ends.filter(({ result }) => result.stopString === "\n");
      const cut = ends.filter(({ result }) => result.stopString === " le");
      expect(whole.length * cut.length).toBeGreaterThan(0);
      for (const { result } of whole) expect(decode(result.tokens ?? [])).toBe(result.text);
      for (const { result } of cut) expect(result.tokens).toBeUndefined();
    });
  }

  it("are scored as they are where the host takes them", async () => {
    const { driver, sent } = await open();
    const tokens = encode("10", { begins: false });
    const pieces = [{ text: PUZZLE }, { text: "10", tokens }];
    await driver.score({ pieces, positive: " good", negative: " bad" }, never);
    expect(sent()["prompt"]).toEqual([...encode(PUZZLE, { begins: true }), ...tokens]);
  });

  it("are no more than text to a server that has no tokenizer", async () => {
    const { sample, sent } = await open({ kind: "other" });
    const { result } = await sample({ tokens: true });
    expect(result.tokens).toBeUndefined();
    await sample({}, [{ text: PUZZLE }, { text: "10", tokens: [1, 2] }]);
    expect(sent()["prompt"]).toBe(`${PUZZLE}10`);
  });
});

describe("openai driver: log-probabilities", () => {
  for (const kind of ["vllm", "sglang", "llama-server", "other"] as const) {
    it(`are the mean over the tokens that ${kind} sampled`, async () => {
      const { sample, sent } = await open({ kind });
      const { result } = await sample({ logprobs: true, maxTokens: 6 });
      const ids = encode(result.text, { begins: false });
      const mean = ids.reduce((sum, id) => sum + logprobOf(id), 0) / ids.length;
      expect(result.meanLogprob).toBeCloseTo(mean);
      const asked = {
        vllm: { logprobs: 1 },
        sglang: { return_logprob: true },
        "llama-server": { n_probs: 1, post_sampling_probs: false },
        other: { logprobs: 1 },
      }[kind];
      expect(sent()).toMatchObject(asked);
      expect((await sample()).result.meanLogprob).toBeNull();
    });
  }

  for (const kind of ["vllm", "sglang", "other"] as const) {
    it(`of a text behind another are its tokens' alone: ${kind}`, async () => {
      const { driver } = await open({ kind });
      const text = "10 - 4 = 6 left\n";
      const ids = encode(text, { begins: false });
      const { meanLogprob } = await driver.likelihood(
        { pieces: [{ text: PUZZLE }], continuation: { text } },
        never,
      );
      expect(meanLogprob).toBeCloseTo(ids.reduce((sum, id) => sum + logprobOf(id), 0) / ids.length);
      const nothing = driver.likelihood({ pieces: [{ text: PUZZLE }], continuation: { text: "" } }, never);
      await expect(nothing).rejects.toMatchObject({ code: "invalid_argument" });
    });
  }

  it("of sampled tokens are those of just these tokens where the host takes ids", async () => {
    const { driver, sent } = await open();
    const tokens = [...encode("1", { begins: false }), ...encode("0", { begins: false })];
    const continuation = { text: "10", tokens };
    const { meanLogprob } = await driver.likelihood({ pieces: [{ text: PUZZLE }], continuation }, never);
    expect(meanLogprob).toBeCloseTo(tokens.reduce((sum, id) => sum + logprobOf(id), 0) / 2);
    expect(sent()).toMatchObject({ prompt: [...encode(PUZZLE, { begins: true }), ...tokens], max_tokens: 1 });
  });
});

describe("openai driver: structures and beams", () => {
  const schema = { enum: ["yes"] };
  const asked: readonly Structure[] = [
    { kind: "json-schema", schema },
    { kind: "regex", pattern: "yes" },
    { kind: "grammar", grammar: 'root ::= "yes"' },
  ];

  it("are sent as each server calls them", async () => {
    const words = {
      vllm: [
        { structured_outputs: { json: schema } },
        { structured_outputs: { regex: "yes" } },
        { structured_outputs: { grammar: 'root ::= "yes"' } },
      ],
      sglang: [
        { sampling_params: { json_schema: JSON.stringify(schema) } },
        { sampling_params: { regex: "yes" } },
        { sampling_params: { ebnf: 'root ::= "yes"' } },
      ],
      "llama-server": [{ json_schema: schema }, null, { grammar: 'root ::= "yes"' }],
      other: [null, null, null],
    };
    for (const kind of ["vllm", "sglang", "llama-server", "other"] as const) {
      const { sample, sent } = await open({ kind });
      for (const [n, structure] of asked.entries()) {
        const expected = words[kind][n] ?? null;
        if (expected !== null) {
          await sample({ structure });
          expect(sent()).toMatchObject(expected);
        } else
          await expect(sample({ structure })).rejects.toThrow(`asks for ${structure.kind}; expected a host`);
      }
    }
  });

  it("are called guided by a vLLM before 0.11, and not by one that was built from source", async () => {
    const old = await open({ version: "0.10.2" });
    await old.sample({ structure: { kind: "regex", pattern: "yes" } });
    expect(old.sent()).toMatchObject({ guided_regex: "yes" });
    for (const version of ["0.11.0", "0.1.dev9+gabc", "1.0.0"]) {
      const { sample, sent } = await open({ version });
      await sample({ structure: { kind: "regex", pattern: "yes" } });
      expect(sent()).toMatchObject({ structured_outputs: { regex: "yes" } });
    }
  });

  it("a beam search is answered whole, by the first of its beams, and its cost is that of all", async () => {
    const { sample, sent } = await open();
    const { result, usage } = await sample({ beamWidth: 4, maxTokens: 5 });
    expect(sent()).toMatchObject({ use_beam_search: true, n: 4, stream: false });
    expect(result.text).not.toBe("");
    expect(usage.completionTokens).toBe(20);
  });

  it("a beam search with what it would pass over is refused", async () => {
    const { sample } = await open();
    await expect(sample({ beamWidth: 4, stop: ["\n"], topK: 3 })).rejects.toThrow(
      /beam-search with stop, top_k; expected it alone/,
    );
    await expect(sample({ beamWidth: 2, structure: { kind: "regex", pattern: "a" } })).rejects.toThrow(
      /beam-search with regex/,
    );
  });

  it("options that a plain server ignores are refused, never dropped", async () => {
    const deaf = await open({ kind: "other", ignoresExtras: true });
    await expect(deaf.sample({ topK: 20, minP: 0.1 })).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(
        /asks for top_k, min_p; expected a host that takes it, found that http.* ignores it/,
      ),
    });
    expect((await deaf.sample()).result.kind).toBe("rollout");
    const knowing = await open({ kind: "other" });
    await knowing.sample({ topK: 20 });
    expect(knowing.sent()).toMatchObject({ top_k: 20 });
  });
});

describe("openai driver: reward models", () => {
  /** One row for each step that is marked. */
  const reward = (input: string) =>
    input
      .split("<step>")
      .slice(0, Math.max(1, input.split("<step>").length - 1))
      .map((step) => [0.5, step.length / 100]);

  it("are found where nothing is completed, and judge a text or its steps", async () => {
    const { driver } = await open({ reward });
    expect(await driver.probe(never)).toMatchObject({ can: ["reward"], contextTokens: 4096 });
    const whole = await driver.reward({ input: "1 + 1 = 2", over: "text" }, never);
    expect(whole.rows).toEqual([[0.5, 0.09]]);
    expect(whole.usage).toEqual({ promptTokens: 7, cachedTokens: null, completionTokens: 0 });
    const steps = await driver.reward({ input: "ab<step>abc<step>", over: "steps" }, never);
    expect(steps.rows).toEqual([
      [0.5, 0.02],
      [0.5, 0.03],
    ]);
  });

  it("judge whole texts on SGLang, and say that they judge no steps", async () => {
    const { driver } = await open({ kind: "sglang", reward });
    expect((await driver.reward({ input: "abc", over: "text" }, never)).rows).toEqual([[0.5, 0.03]]);
    await expect(driver.reward({ input: "abc", over: "steps" }, never)).rejects.toMatchObject({
      code: "unimplemented",
    });
  });

  it("are none where nothing answers at all", async () => {
    const { driver } = await open({ kind: "other", reward });
    await expect(driver.probe(never)).rejects.toMatchObject({ code: "failed_precondition" });
  });

  it("that say nothing are rubbish", async () => {
    const { driver, server } = await open({ reward: (input) => (input === "one two" ? [[1]] : [[]]) });
    await driver.probe(never);
    await expect(driver.reward({ input: "abc", over: "steps" }, never)).rejects.toThrow(
      /expected the values of a reward model, found .*"data":\[\[\]\]/,
    );
    expect(server.requests).toHaveLength(0);
  });
});
