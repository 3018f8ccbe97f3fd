import { spawn } from "node:child_process";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEmbeddedDriver } from "../../workers/rollout/drivers/embedded.ts";
import type { EmbeddedDriver, EmbeddedOptions } from "../../workers/rollout/drivers/embedded.ts";
import type { Driver, SampleAnswer } from "../../workers/rollout/driver.ts";
import type { Sampling } from "../../services/queue/job.ts";
import { Batcher } from "../../workers/rollout/drivers/embedded/batcher.ts";
import { Completion } from "../../workers/rollout/drivers/embedded/completion.ts";
import { driverConformance } from "../conformance/driver.ts";
import { loadEngine } from "../../workers/rollout/drivers/embedded/engine.ts";
import { readModelFile } from "../../workers/rollout/drivers/embedded/model-file.ts";

const SHIPPED_MODEL = fileURLToPath(new URL("../../models/game24/game24-tiny.gguf", import.meta.url));
const SEQUENCES = 6;
const PUZZLE = "4 5 6 10\n";
const PATH = `${PUZZLE}10 - 4 = 6 left 5 6 6\n`;
const SAMPLING: Sampling = { temperature: 0.8, topP: 1, topK: 0, minP: 0, maxTokens: 24, stop: [] };
const never = new AbortController().signal;

let folder: string;
/** A copy: the shipped file may be trained anew while tests run. */
let modelPath: string;
let driver: EmbeddedDriver;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "coppice-embedded-"));
  modelPath = join(folder, "game24-tiny.gguf");
  await copyFile(SHIPPED_MODEL, modelPath);
  driver = createEmbeddedDriver({ modelPath, sequences: SEQUENCES });
});

afterAll(async () => {
  await driver.close();
  await rm(folder, { recursive: true });
});

interface Ask extends Partial<Sampling> {
  readonly prompt?: string;
  readonly seed?: number;
  readonly signal?: AbortSignal;
}

function sample(
  on: EmbeddedDriver,
  { prompt = PUZZLE, seed = 1, signal = never, ...sampling }: Ask = {},
): Promise<SampleAnswer> {
  return on.sample(
    { pieces: [{ text: prompt }], problem: "p", sample: 0, seed, sampling: { ...SAMPLING, ...sampling } },
    signal,
  );
}

async function textOf(on: EmbeddedDriver, ask: Ask): Promise<string> {
  return (await sample(on, ask)).result.text;
}

/** Runs `body` on a host of its own, whose cache is cold. */
async function onFreshHost<T>(
  options: Partial<EmbeddedOptions>,
  body: (fresh: EmbeddedDriver) => Promise<T>,
): Promise<T> {
  const fresh = createEmbeddedDriver({ modelPath, sequences: SEQUENCES, ...options });
  try {
    return await body(fresh);
  } finally {
    await fresh.close();
  }
}

const request = { pieces: [{ text: PATH }], problem: "p", sample: 0, seed: 11, sampling: SAMPLING };
driverConformance("embedded", {
  open: async () => {
    const opened = createEmbeddedDriver({ modelPath, sequences: SEQUENCES });
    return { driver: opened, close: () => opened.close() };
  },
  request,
  sibling: (n) => ({ ...request, sample: n, seed: 100 + n, sampling: { ...SAMPLING, temperature: 1.5 } }),
  stopping: { ...request, sampling: { ...SAMPLING, temperature: 0, stop: ["\n"] } },
  lengthy: { ...request, sampling: { ...SAMPLING, maxTokens: 3 } },
  slow: { ...request, sampling: { ...SAMPLING, maxTokens: 200 } },
  score: { pieces: [{ text: `${PATH}?` }], positive: " good", negative: " bad" },
  firstToken: { skip: "the embedded host answers as a whole" },
});

describe("the embedded host", () => {
  test("says what it is", async () => {
    expect(await driver.probe(never)).toEqual({
      model: "game24-tiny",
      concurrency: SEQUENCES,
      concurrencyMax: SEQUENCES,
      blockTokens: 1,
      sharesColdPrefixes: true,
      kvCapacityTokens: SEQUENCES * 256,
      contextTokens: 256,
      reportsCachedTokens: true,
      can: ["score", "likelihood", "logprobs", "tokens", "json-schema", "grammar"],
    });
  });

  test("keeps the stop string that ended a rollout", async () => {
    const { result } = await sample(driver, { stop: ["\n", "never"] });
    expect(result).toMatchObject({
      kind: "rollout",
      finishReason: "stop",
      stopString: "\n",
      meanLogprob: null,
    });
    expect(result.text.indexOf("\n")).toBe(result.text.length - 1);
  });

  test("ends with the model's own end, and counts that token", async () => {
    const { result, usage } = await sample(driver, { temperature: 0, maxTokens: 200 });
    expect(result).toMatchObject({ finishReason: "stop", stopString: null });
    expect(usage.completionTokens).toBeGreaterThan(1);
  });

  test("tells its usage while it grows", async () => {
    const told: number[] = [];
    const { usage } = await driver.sample(
      { ...request, onUsage: ({ completionTokens }) => told.push(completionTokens ?? 0) },
      never,
    );
    expect(told).toEqual(Array.from({ length: usage.completionTokens ?? 0 }, (_, i) => i));
  });

  test("ends at max_tokens", async () => {
    const { result, usage } = await sample(driver, { maxTokens: 2 });
    expect(result).toMatchObject({ finishReason: "length", stopString: null });
    expect(usage.completionTokens).toBe(2);
  });

  test("temperature 0 ignores the seed; a higher one does not", async () => {
    const greedy = await Promise.all([1, 2, 3].map((seed) => textOf(driver, { seed, temperature: 0 })));
    expect(new Set(greedy).size).toBe(1);
    const warm = await Promise.all(
      [1, 2, 3, 4, 5, 6, 7, 8].map((seed) => textOf(driver, { seed, temperature: 1.5 })),
    );
    expect(new Set(warm).size).toBeGreaterThan(1);
  });

  test.each([{ topK: 1 }, { topP: 1e-6 }, { minP: 0.9999 }])(
    "%o leaves only the likeliest token",
    async (narrow) => {
      const greedy = await textOf(driver, { temperature: 0 });
      expect(await textOf(driver, { temperature: 1.5, seed: 99, ...narrow })).toBe(greedy);
    },
  );

  test("counts the prompt tokens that it really reuses", async () => {
    await onFreshHost({}, async (fresh) => {
      const cold = await sample(fresh, { prompt: PATH });
      expect(cold.usage.cachedTokens).toBe(0);
      const tokens = cold.usage.promptTokens ?? 0;
      const warm = await sample(fresh, { prompt: PATH, seed: 2 });
      expect(warm.usage).toMatchObject({ promptTokens: tokens, cachedTokens: tokens - 1 });
      const other = await sample(fresh, { prompt: "1 1 11 11\n" });
      expect(other.usage.cachedTokens).toBeLessThan(3);
    });
  });

  test("siblings that arrive together on a cold prefix prefill it once", async () => {
    await onFreshHost({}, async (fresh) => {
      const seeds = Array.from({ length: SEQUENCES }, (_, i) => i);
      const answers = await Promise.all(seeds.map((seed) => sample(fresh, { prompt: PATH, seed })));
      const uncached = answers.map(({ usage }) => (usage.promptTokens ?? 0) - (usage.cachedTokens ?? 0));
      const [leader = 0, ...siblings] = uncached.toSorted((a, b) => b - a);
      expect(leader).toBe(answers[0]?.usage.promptTokens);
      expect(siblings.every((tokens) => tokens === 1)).toBe(true);
    });
  });

  test("a request gives the same text alone, among others, and on a host that did other work before", async () => {
    expect(await driver.isReproducible(never)).toBe(true);
    const asks = Array.from({ length: 60 }, (_, seed): Ask => ({
      seed,
      prompt: [PUZZLE, PATH, "3 3 8 8\n"][seed % 3] ?? PUZZLE,
    }));
    const together = await Promise.all(asks.map((ask) => textOf(driver, ask)));
    const alone = await onFreshHost({ sequences: 1 }, async (fresh) => {
      const texts: string[] = [];
      for (const ask of asks.toReversed()) texts.unshift(await textOf(fresh, ask));
      return texts;
    });
    expect(together).toEqual(alone);
  });

  test("one rollout at a time, for engines where batches cannot be made exact, is repeatable too", async () => {
    const engine = await loadEngine(await readModelFile(modelPath), {
      sequences: 3,
      contextTokens: null,
      threads: 1,
    });
    const batcher = new Batcher(engine, { sequences: 3, arithmetic: "serial" });
    const textFor = async (seed: number): Promise<string> => {
      const completion = new Completion(SAMPLING, engine, SAMPLING.maxTokens);
      const sampler = engine.createSampler(SAMPLING, seed);
      const prompt = engine.tokenize(seed % 2 === 0 ? PUZZLE : PATH);
      await batcher.submit(
        prompt,
        { kind: "sample", completion, sampler, logprobs: false, onToken: () => {} },
        never,
      );
      return completion.text;
    };
    const seeds = Array.from({ length: 12 }, (_, seed) => seed);
    const together = await Promise.all(seeds.map(textFor));
    const alone: string[] = [];
    for (const seed of seeds.toReversed()) alone.unshift(await textFor(seed));
    await batcher.close(new Error("done"));
    await engine.dispose();
    expect(together).toEqual(alone);
  });

  test("more requests than sequences wait for their turn", async () => {
    const answers = await Promise.all(
      Array.from({ length: 4 * SEQUENCES }, (_, seed) => sample(driver, { seed, maxTokens: 3 })),
    );
    expect(answers.every(({ usage }) => (usage.completionTokens ?? 0) >= 1)).toBe(true);
  });

  test("scores a path by the two tokens that may follow, reusing the path", async () => {
    await onFreshHost({}, async (fresh) => {
      await sample(fresh, { prompt: PATH });
      const score = (positive: string, negative: string) =>
        fresh.score({ pieces: [{ text: `${PATH}?` }], positive, negative }, never);
      const good = await score(" good", " bad");
      const bad = await score(" bad", " good");
      expect(good.score).toBeGreaterThanOrEqual(0);
      expect(good.score + bad.score).toBeCloseTo(1, 6);
      expect(good.usage).toMatchObject({
        cachedTokens: (good.usage.promptTokens ?? 0) - 1,
        completionTokens: 0,
      });
    });
  });

  test("scores that are asked together are the scores that are asked alone, bit for bit", async () => {
    const paths = Array.from({ length: 40 }, (_, n) => `${PATH.replace("4 5 6 10", `4 5 6 ${n + 1}`)}?`);
    const score = async (host: Driver, prompt: string): Promise<number> =>
      (await host.score({ pieces: [{ text: prompt }], positive: " good", negative: " bad" }, never)).score;
    await onFreshHost({ reproducible: true }, async (together) => {
      const company = paths.map((_, seed) => sample(together, { seed }));
      const found = await Promise.all(paths.map((path) => score(together, path)));
      await Promise.all(company);
      await onFreshHost({ reproducible: true }, async (alone) => {
        const expected: number[] = [];
        for (const path of paths) expected.push(await score(alone, path));
        expect(found).toEqual(expected);
        expect(new Set(expected).size).toBeGreaterThan(10);
      });
    });
  });

  test("a score needs single, different tokens", async () => {
    const score = (positive: string, negative: string) =>
      driver.score({ pieces: [{ text: `${PATH}?` }], positive, negative }, never);
    await expect(score("wonderful", " bad")).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(/positive must be one token.*"wonderful" is \d+ tokens/),
    });
    await expect(score(" bad", " bad")).rejects.toMatchObject({ code: "invalid_argument" });
  });

  test("a prompt that does not fit is refused with the numbers; one that leaves some room is cut short", async () => {
    await expect(sample(driver, { prompt: PATH.repeat(40) })).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringMatching(
        /context overflow: the prompt has \d+ tokens, .* holds 256; .*raise context_tokens/,
      ),
    });
    await onFreshHost({ contextTokens: 24 }, async (fresh) => {
      const { result, usage } = await sample(fresh, { prompt: PATH, maxTokens: 100 });
      expect(result.finishReason).toBe("length");
      expect((usage.promptTokens ?? 0) + (usage.completionTokens ?? 0)).toBe(24);
    });
  });

  test("an abort rejects with its reason, and leaves the others and the sequence as they were", async () => {
    const expected = await textOf(driver, { seed: 5 });
    const abort = new AbortController();
    const aborted = Array.from({ length: SEQUENCES * 2 }, (_, seed) =>
      sample(driver, { seed, maxTokens: 200, temperature: 2, signal: abort.signal }),
    );
    const kept = textOf(driver, { seed: 5 });
    await sample(driver, { maxTokens: 1, prompt: "1 2 3 4\n", signal: AbortSignal.abort("early") }).catch(
      () => {},
    );
    abort.abort(new Error("withdrawn"));
    const ends = await Promise.allSettled(aborted);
    expect(
      ends.filter((end) => end.status === "rejected" && end.reason.message === "withdrawn").length,
    ).toBeGreaterThan(0);
    expect(await kept).toBe(expected);
    expect(await textOf(driver, { seed: 5 })).toBe(expected);
  });

  test("closing rejects what runs, waits for the engine, and refuses what comes later", async () => {
    const closing = createEmbeddedDriver({ modelPath, sequences: 2 });
    await closing.probe(never);
    const running = [1, 2, 3].map((seed) => sample(closing, { seed, maxTokens: 200, temperature: 3 }));
    const ends = Promise.allSettled(running);
    await Promise.all([closing.close(), closing.close()]);
    for (const end of await ends)
      expect(end.status === "fulfilled" || end.reason.code === "cancelled").toBe(true);
    await expect(sample(closing)).rejects.toMatchObject({ code: "cancelled" });
  });

  test("closing while the model is loading, or before, is clean", async () => {
    const closing = createEmbeddedDriver({ modelPath, sequences: 2 });
    const probe = closing.probe(never);
    await Promise.allSettled([probe, closing.close()]);
    await expect(closing.probe(never)).rejects.toMatchObject({ code: "cancelled" });
    await createEmbeddedDriver({ modelPath }).close();
  });

  test("the process ends by itself after close, also with work that was running, and prints nothing", async () => {
    const module = new URL("../../workers/rollout/drivers/embedded.ts", import.meta.url).href;
    const script = `
      const { createEmbeddedDriver } = await import(${JSON.stringify(module)});
      const driver = createEmbeddedDriver({ modelPath: ${JSON.stringify(modelPath)}, sequences: 4 });
      const signal = new AbortController().signal;
      const sampling = ${JSON.stringify({ ...SAMPLING, maxTokens: 200, temperature: 3 })};
      const sample = (seed) => driver.sample({ pieces: [{ text: "4 5 6 10\\n" }], problem: "p", sample: 0, seed, sampling }, signal);
      await sample(1);
      const running = Promise.allSettled([2, 3, 4, 5, 6].map(sample));
      await driver.close();
      await running;`;
    const path = join(folder, "closes.mjs");
    await writeFile(path, script);
    const child = spawn(process.execPath, [path], { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect({ code, output }).toEqual({ code: 0, output: "" });
  });
});

describe("a model file that is none", () => {
  async function messageFor(name: string, content: Buffer | string | null): Promise<string> {
    const path = join(folder, name);
    if (content !== null) await writeFile(path, content);
    const broken = createEmbeddedDriver({ modelPath: path, sequences: 1 });
    const error: unknown = await broken.probe(never).catch((reason: unknown) => reason);
    await broken.close();
    expect(error).toMatchObject({ code: "invalid_argument", isRetryable: false });
    return error instanceof Error ? error.message.replaceAll(folder, "") : "";
  }

  test("missing", async () =>
    expect(await messageFor("none.gguf", null)).toMatch(/none\.gguf: cannot be read \(ENOENT/));
  test("a folder", async () =>
    expect(await messageFor(".", null)).toMatch(/expected a GGUF file, found a directory/));
  test("empty", async () => expect(await messageFor("a.gguf", "")).toMatch(/found an empty file/));
  test("something else", async () => {
    expect(await messageFor("b.gguf", "PK\u0003\u0004 not a model")).toMatch(
      /found a file of 16 bytes that begins "PK/,
    );
  });

  test("damaged: cut short, of a version unknown, with impossible counts, with its metadata lost", async () => {
    const whole = await readFile(modelPath);
    expect(await messageFor("c.gguf", whole.subarray(0, 12))).toMatch(
      /ends after 12 bytes, inside its header/,
    );
    expect(await messageFor("d.gguf", whole.subarray(0, whole.length / 2))).toMatch(/cut short/);
    expect(await messageFor("e.gguf", whole.subarray(0, whole.length - 100))).toMatch(
      /llama\.cpp cannot load it/,
    );
    const version = Buffer.from(whole);
    version.writeUInt32LE(9, 4);
    expect(await messageFor("f.gguf", version)).toMatch(/GGUF version 9 is not one of 2, 3/);
    const counts = Buffer.from(whole);
    counts.writeBigUInt64LE(1n << 60n, 8);
    expect(await messageFor("g.gguf", counts)).toMatch(/claims 1152921504606846976 tensors/);
    expect(await messageFor("h.gguf", Buffer.concat([whole.subarray(0, 24), Buffer.alloc(4096)]))).toMatch(
      /not a usable GGUF/,
    );
  });

  test("mended, it loads at the next call", async () => {
    const path = join(folder, "mended.gguf");
    await writeFile(path, "");
    const mended = createEmbeddedDriver({ modelPath: path, sequences: 1 });
    await expect(mended.probe(never)).rejects.toMatchObject({ code: "invalid_argument" });
    await copyFile(modelPath, path);
    expect((await mended.probe(never)).model).toBe("game24-tiny");
    await mended.close();
  });

  test("options out of range are refused at once", () => {
    expect(() => createEmbeddedDriver({ modelPath, sequences: 0 })).toThrow(
      /sequences must be a whole number from 1 to 255/,
    );
    expect(() => createEmbeddedDriver({ modelPath, threads: 1.5 })).toThrow(/threads/);
  });

  test("a context longer than the model was trained for is refused", async () => {
    const long = createEmbeddedDriver({ modelPath, sequences: 1, contextTokens: 1024 });
    await expect(long.probe(never)).rejects.toThrow(/context_tokens is 1024, the model was trained for 256/);
    await long.close();
  });
});
