import { describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import type { SampleRequest } from "../../workers/rollout/driver.ts";
import { createSimulatedDriver, type SimulatedOptions } from "../../workers/rollout/drivers/simulated.ts";
import { engineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { writeText } from "../../workers/rollout/drivers/simulated/seeded-text.ts";
import { BEGIN, decode, encode } from "../../workers/rollout/drivers/simulated/tokenizer.ts";
import { driverConformance } from "../conformance/driver.ts";
import { createVirtualClock } from "../support/virtual-clock.ts";

const never = new AbortController().signal;
const sampling = { temperature: 0.8, topP: 0.95, topK: 0, minP: 0, maxTokens: 64, stop: [] };
const request: SampleRequest = {
  pieces: [{ text: "A problem of twenty and some tokens, to be solved with care: what is 3 + 4 * 5?\n" }],
  problem: "p",
  sample: 0,
  seed: 7,
  sampling,
};

function driverOf(options: Partial<SimulatedOptions> = {}) {
  const profile = engineProfile("8b-h100");
  return createSimulatedDriver({ profile, model: "simulated", speed: 500, clock: systemClock, ...options });
}

driverConformance("simulated", {
  async open() {
    // Texts that end themselves late, so that there is something to abort.
    const driver = driverOf({ shape: { meanTokens: 1_000_000 } });
    return { driver, close: async () => undefined };
  },
  request,
  sibling: (sample) => ({ ...request, sample, seed: 100 + sample }),
  stopping: { ...request, sampling: { ...sampling, maxTokens: 512, stop: [" the"] } },
  lengthy: { ...request, sampling: { ...sampling, maxTokens: 3 } },
  slow: { ...request, seed: 3, sampling: { ...sampling, maxTokens: 20_000 } },
  score: { pieces: [{ text: "5 6 6?" }], positive: " good", negative: " bad" },
});

describe("simulated driver", () => {
  it("takes as long as the formula says, in the time of its clock", async () => {
    const clock = createVirtualClock();
    const driver = driverOf({ clock, speed: 2 });
    let firstMs = 0;
    let doneMs = 0;
    const onFirstToken = (): number => (firstMs = clock.monotonicMs());
    const sampled = driver.sample({ ...request, onFirstToken }, never).then((answer) => {
      doneMs = clock.monotonicMs();
      return answer;
    });
    for (let ms = 0; ms < 400; ms += 1) {
      clock.advance(1);
      await Promise.resolve();
    }
    const { usage } = await sampled;
    const prompt = usage.promptTokens ?? 0;
    const prefillMs = 15 + 6.8 + 0.0044 + prompt / 28;
    expect(firstMs).toBeCloseTo(prefillMs / 2, -1);
    expect(2 * (doneMs - firstMs)).toBeGreaterThan(63 * 6.8 - 5);
    expect(2 * (doneMs - firstMs)).toBeLessThan(63 * 6.9 + 5);
  });

  it("says how long its steps take at least, in the time of its clock", async () => {
    const profile = engineProfile("8b-h100");
    expect(await driverOf({ speed: 1 }).probe(never)).toMatchObject({ stepFloorMs: profile.stepBaseMs });
    expect(await driverOf({ speed: 4 }).probe(never)).toMatchObject({ stepFloorMs: profile.stepBaseMs / 4 });
  });

  it("finds the blocks of a path again that it had sampled", async () => {
    const driver = driverOf();
    const first = await driver.sample({ ...request, sampling: { ...sampling, tokens: true } }, never);
    const { text, tokens } = first.result;
    const pieces = [...request.pieces, { text, ...(tokens === undefined ? {} : { tokens }) }];
    const second = await driver.sample({ ...request, pieces }, never);
    const whole = (first.usage.promptTokens ?? 0) + (first.usage.completionTokens ?? 0) - 1;
    expect(first.usage.cachedTokens).toBe(0);
    expect(second.usage.cachedTokens).toBe(whole - (whole % 16));
    await driver.close();
  });

  it("tells its signals while it works, and its usage on the way", async () => {
    const driver = driverOf({ speed: 50, shape: { meanTokens: 1_000_000 } });
    const told: (number | null)[] = [];
    const done = new AbortController();
    const sampled = driver.sample(
      {
        ...request,
        seed: 3,
        sampling: { ...sampling, maxTokens: 20_000 },
        onUsage: ({ completionTokens }) => {
          told.push(completionTokens);
          if (told.length === 2) done.abort(new Error("enough"));
        },
      },
      done.signal,
    );
    const early = await driver.signals(never);
    expect((early?.running ?? 0) + (early?.waiting ?? 0)).toBe(1);
    await expect(sampled).rejects.toThrow("enough");
    expect(told[1]).toBeGreaterThan(told[0] ?? 0);
    expect(await driver.signals(never)).toMatchObject({
      running: 0,
      waiting: 0,
      preemptions: 0,
      refusals: 0,
    });
    await driver.close();
  });

  it("says the same on any host", async () => {
    const texts = await Promise.all(
      (["8b-h100", "70b-8xh100"] as const).map(async (name) => {
        const driver = driverOf({ profile: engineProfile(name), speed: 5_000 });
        return (await driver.sample(request, never)).result.text;
      }),
    );
    expect(texts[0]).toBe(texts[1]);
  });

  it("refuses what is longer than its KV cache, and a speed that is none", async () => {
    const driver = driverOf({ profile: engineProfile("8b-h100", { kvCapacityTokens: 64 }) });
    await expect(driver.sample(request, never)).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(/expected prompt and completion of at most 64 tokens, found \d+/),
    });
    for (const speed of [0, -1, Number.NaN, 1e9])
      expect(() => driverOf({ speed })).toThrow(/expected a speed above 0/);
  });
});

describe("seeded text", () => {
  const shape = { meanTokens: 60, lineTokens: 10 };
  const text = { prompt: "p", temperature: 1, maxTokens: 10_000, stop: [] };

  it("ends itself after so many tokens on average, with an answer", () => {
    const texts = Array.from({ length: 400 }, (_, seed) => writeText({ ...text, seed }, shape));
    const mean = texts.reduce((sum, { tokens }) => sum + tokens.length, 0) / texts.length;
    expect(mean).toBeGreaterThan(55);
    expect(mean).toBeLessThan(80);
    for (const each of texts) {
      expect(each).toMatchObject({ finishReason: "stop", stopString: null });
      expect(each.text).toMatch(/ so the answer is \d\.$/);
      expect(each.completionTokens).toBe(each.tokens.length + 1);
    }
  });

  it("is spelled by its tokens, also behind its prompt", () => {
    for (let seed = 0; seed < 50; seed += 1) {
      const written = writeText({ ...text, seed, stop: ["\n", "um"] }, shape);
      expect(decode(written.tokens)).toBe(written.text);
      for (const before of ["", "a b c", "abcd", "1 2 ", "\u00e9\u{1f600}\0"])
        expect(encode(before + written.text)).toEqual([...encode(before), ...written.tokens]);
    }
  });

  it("has tokens for every text, and no text for other numbers", () => {
    const odd = "caf\u00e9 \u{1f600}  x\t\r\n\0 tokens1234567 \ud800";
    expect(decode(encode(odd))).toBe(odd);
    expect(decode([BEGIN])).toBe("");
    for (const id of [0, 3, -1, 1.5, 2 ** 32, Number.NaN, 97 * 128 ** 4])
      expect(() => decode([id])).toThrow(/expected a token id of this model/);
  });
});
