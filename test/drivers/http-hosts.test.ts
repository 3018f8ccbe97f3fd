/** The drivers for engines behind HTTP, each on a server that speaks its engine's wire. */
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { UNKNOWN_TOKENS } from "../../services/queue/job.ts";
import type { SampleRequest } from "../../workers/rollout/driver.ts";
import { concurrencyOf } from "../../workers/rollout/drivers/http-host/concurrency.ts";
import type { HttpHostOptions } from "../../workers/rollout/drivers/http-host/http-host.ts";
import { UNKNOWN_READING } from "../../workers/rollout/drivers/http-host/dialect.ts";
import { measureStepFloor, type StepCheck } from "../../workers/rollout/drivers/http-host/step-floor.ts";
import { createLlamaServerDriver } from "../../workers/rollout/drivers/llama-server.ts";
import { createOpenaiDriver } from "../../workers/rollout/drivers/openai.ts";
import { createSglangDriver } from "../../workers/rollout/drivers/sglang.ts";
import { createVllmDriver } from "../../workers/rollout/drivers/vllm.ts";
import { driverConformance } from "../conformance/driver.ts";
import { HOLD, startOpenaiServer, type OpenaiServerOptions } from "../support/openai-server.ts";
import { createVirtualClock } from "../support/virtual-clock.ts";

const never = new AbortController().signal;
const sampling = { temperature: 0.8, topP: 0.95, topK: 0, minP: 0, maxTokens: 64, stop: [] };
const request: SampleRequest = {
  pieces: [{ text: "4 5 6 10\n" }],
  problem: "g24-0900",
  sample: 0,
  seed: 7,
  sampling,
};
const LIMITS = { backoffMs: 1, backoffMaxMs: 4, retriesMax: 1, idleMs: 5_000, abortMs: 300, abortPollMs: 5 };

const CREATE = {
  vllm: createVllmDriver,
  sglang: createSglangDriver,
  "llama-server": createLlamaServerDriver,
  other: createOpenaiDriver,
} as const;
const KINDS = ["vllm", "sglang", "llama-server"] as const;

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each.close();
});

function driverOf(engine: keyof typeof CREATE, url: string, options: Partial<HttpHostOptions> = {}) {
  return CREATE[engine]({
    url,
    model: null,
    apiKey: null,
    concurrency: 8,
    clock: systemClock,
    random: createRandom(1),
    limits: LIMITS,
    ...options,
  });
}

async function open(server: OpenaiServerOptions, options: Partial<HttpHostOptions> = {}) {
  const started = await startOpenaiServer({ reportsCachedTokens: true, ...server });
  const driver = driverOf(server.kind, started.url, options);
  opened.push(started, driver);
  return { server: started, driver, sent: () => started.requests.at(-1) ?? {} };
}

const variants: readonly (readonly [string, OpenaiServerOptions])[] = [
  ["vllm", { kind: "vllm", reportsCachedTokens: true }],
  ["vllm that orders by priority", { kind: "vllm", reportsCachedTokens: true, isPrioritized: true }],
  ["vllm without metrics", { kind: "vllm", hasMetrics: false }],
  ["sglang", { kind: "sglang" }],
  ["sglang that streams increments", { kind: "sglang", isIncremental: true, isPrioritized: true }],
  ["sglang without metrics", { kind: "sglang", hasMetrics: false }],
  ["llama-server", { kind: "llama-server" }],
];
for (const [name, server] of variants) {
  driverConformance(name, {
    async open() {
      const started = await startOpenaiServer(server);
      return { driver: driverOf(server.kind, started.url), close: () => started.close() };
    },
    request,
    sibling: (sample) => ({ ...request, sample, seed: 100 + sample }),
    stopping: { ...request, seed: 3, sampling: { ...sampling, maxTokens: 512, stop: ["\n"] } },
    lengthy: { ...request, sampling: { ...sampling, maxTokens: 3 } },
    slow: { ...request, pieces: [{ text: HOLD }] },
    score: { pieces: [{ text: "5 6 6?" }], positive: " good", negative: " bad" },
  });
}

describe("a named engine", () => {
  it("says what answers where it is another", async () => {
    const { server } = await open({ kind: "llama-server" });
    for (const engine of ["vllm", "sglang"] as const) {
      const driver = driverOf(engine, server.url);
      opened.push(driver);
      const probed = driver.probe(never);
      await expect(probed).rejects.toMatchObject({ code: "failed_precondition" });
      await expect(probed).rejects.toThrow(
        `expected a host of the engine ${engine} (a model owned by "${engine}"), found the model "tiny" owned by "llamacpp", from ${server.url}/v1/models; "openai" is the engine`,
      );
    }
  });

  for (const kind of KINDS) {
    it(`is what "openai" finds of itself: ${kind}`, async () => {
      const { server, driver } = await open({ kind });
      const finder = driverOf("other", server.url);
      opened.push(finder);
      const stepFloorMs: unknown = expect.any(Number);
      expect(await finder.probe(never)).toEqual({ ...(await driver.probe(never)), stepFloorMs });
      expect(await finder.report(never)).toMatchObject({ server: kind });
    });
  }
});

describe("priority", () => {
  it("goes to vLLM as it is, and only where the server orders by it", async () => {
    const ordering = await open({ kind: "vllm", isPrioritized: true });
    await ordering.driver.sample({ ...request, priority: 7 }, never);
    expect(ordering.sent()).toMatchObject({ priority: 7 });
    const plain = await open({ kind: "vllm" });
    await plain.driver.sample({ ...request, priority: 7 }, never);
    expect(plain.sent()).not.toHaveProperty("priority");
  });

  it("goes to SGLang with the opposite sign, unless the server says low values first", async () => {
    const high = await open({ kind: "sglang", isPrioritized: true });
    await high.driver.sample({ ...request, priority: 7 }, never);
    expect(high.sent()).toMatchObject({ priority: -7 });
    await high.driver.sample(request, never);
    expect(high.sent()).toMatchObject({ priority: 0 });
    const low = await open({ kind: "sglang", isPrioritized: true, lowPriorityFirst: true });
    await low.driver.sample({ ...request, priority: 7 }, never);
    expect(low.sent()).toMatchObject({ priority: 7 });
    const plain = await open({ kind: "sglang" });
    await plain.driver.sample({ ...request, priority: 7 }, never);
    expect(plain.sent()).not.toHaveProperty("priority");
  });
});

describe("what is found of a host", () => {
  it("is its engine's block size, its capacity, and whether cold prefixes are shared", async () => {
    const facts = async (kind: keyof typeof CREATE) => (await open({ kind })).driver.probe(never);
    expect(await facts("vllm")).toMatchObject({
      blockTokens: 16,
      kvCapacityTokens: 16_000,
      contextTokens: 4096,
      sharesColdPrefixes: true,
    });
    expect(await facts("sglang")).toMatchObject({
      blockTokens: 1,
      kvCapacityTokens: 20_480,
      contextTokens: 4096,
      sharesColdPrefixes: false,
      reportsCachedTokens: true,
    });
    expect(await facts("llama-server")).toMatchObject({
      blockTokens: 1,
      concurrency: 4,
      concurrencyMax: 4,
      sharesColdPrefixes: false,
    });
    expect(await facts("other")).toMatchObject({
      blockTokens: null,
      kvCapacityTokens: null,
      sharesColdPrefixes: false,
    });
  });

  it("is how many rollouts it begins with, and the most that it may have", () => {
    const unknown = { contextTokens: null, kvTokens: null, sequencesMax: null, hasSlots: false };
    expect(concurrencyOf(12, unknown)).toEqual({ concurrency: 12, concurrencyMax: 12 });
    expect(concurrencyOf("auto", unknown)).toEqual({ concurrency: 32, concurrencyMax: 1_024 });
    const small = { ...unknown, contextTokens: 131_072, kvTokens: 414_000 };
    expect(concurrencyOf("auto", small)).toEqual({ concurrency: 8, concurrencyMax: 1_024 });
    expect(concurrencyOf("auto", { ...small, sequencesMax: 256 })).toMatchObject({ concurrencyMax: 256 });
    const tiny = { ...unknown, contextTokens: 1_024, kvTokens: 1_024 };
    expect(concurrencyOf("auto", tiny)).toEqual({ concurrency: 4, concurrencyMax: 4 });
    const slots = { ...unknown, sequencesMax: 6, hasSlots: true };
    expect(concurrencyOf("auto", slots)).toEqual({ concurrency: 6, concurrencyMax: 6 });
    expect(concurrencyOf(64, slots)).toEqual({ concurrency: 6, concurrencyMax: 6 });
  });

  for (const kind of KINDS) {
    it(`is whether it stops what its client has left: ${kind}`, async () => {
      const stopping = await open({ kind });
      expect(await stopping.driver.report(never)).toMatchObject({ abort: "stops" });
      const deaf = await open({ kind, ignoresAborts: true });
      expect(await deaf.driver.report(never)).toMatchObject({ abort: "goes-on" });
    });
  }

  it("is unknown where it runs something else, or says nothing", async () => {
    const { server } = await open({ kind: "vllm" });
    const busy = driverOf("vllm", server.url);
    opened.push(busy);
    await busy.probe(never);
    const abort = new AbortController();
    const begun = Promise.withResolvers<void>();
    const held = busy.sample(
      { ...request, pieces: [{ text: HOLD }], onFirstToken: begun.resolve },
      abort.signal,
    );
    await begun.promise;
    const beside = driverOf("vllm", server.url);
    opened.push(beside);
    const { abort: finding, facts } = await beside.report(never);
    expect(finding).toBe("unknown");
    expect(facts).not.toHaveProperty("stepFloorMs");
    abort.abort(new Error("enough"));
    await expect(held).rejects.toThrow("enough");
    expect(await (await open({ kind: "other" })).driver.report(never)).toMatchObject({
      abort: "unknown",
      reading: null,
    });
  });

  it("is what it does not say, and the flag that would change it", async () => {
    const flags = async (server: OpenaiServerOptions) => {
      const { missing } = await (await open(server)).driver.report(never);
      return missing.map(({ remedy }) => remedy.split(" ").slice(3).join(" "));
    };
    const bare = { reportsCachedTokens: false, hasMetrics: false };
    expect(await flags({ kind: "vllm", ...bare })).toEqual([
      "--enable-prompt-tokens-details",
      "--scheduling-policy priority",
      "vLLM through to this address",
    ]);
    expect(await flags({ kind: "sglang", ...bare })).toEqual([
      "--enable-metrics",
      "--enable-priority-scheduling",
      "--enable-cache-report",
    ]);
    expect(await flags({ kind: "llama-server", ...bare })).toEqual(["--metrics"]);
    for (const kind of KINDS) expect(await flags({ kind, isPrioritized: true })).toEqual([]);
  });
});

describe("how long a decoding step takes", () => {
  /** Each of the answers takes so long behind its first token, and has so many tokens. */
  function measured(
    answers: readonly { readonly tookMs: number; readonly tokens: number | null }[],
    change: Partial<StepCheck> = {},
  ) {
    const clock = createVirtualClock();
    const left = [...answers];
    const sample: StepCheck["sample"] = async (_, onFirstToken) => {
      const answer = left.shift();
      if (answer === undefined) throw new Error("asked too often");
      clock.advance(1_000);
      onFirstToken();
      clock.advance(answer.tookMs);
      return { ...UNKNOWN_TOKENS, completionTokens: answer.tokens };
    };
    const check = { reading: null, sample, clock, limits: { stepsMs: 5_000 }, ...change };
    return measureStepFloor(check, never);
  }

  it("is the time behind the first token for each token more, the lesser of two", async () => {
    const quiet = { tookMs: 168, tokens: 25 };
    const disturbed = { tookMs: 240, tokens: 25 };
    expect(await measured([quiet, disturbed])).toBe(7);
    expect(await measured([disturbed, quiet])).toBe(7);
    // The same by another tokenizer's count.
    expect(await measured([disturbed, { tookMs: 56, tokens: 9 }])).toBe(7);
  });

  it("is not known of answers that ended early, do not say their tokens, or came at once", async () => {
    const whole = { tookMs: 168, tokens: 25 };
    expect(await measured([whole, { tookMs: 49, tokens: 8 }])).toBeNull();
    expect(await measured([whole, { tookMs: 168, tokens: null }])).toBeNull();
    expect(await measured([whole, { tookMs: 0, tokens: 25 }])).toBeNull();
    const sample = () => Promise.resolve({ ...UNKNOWN_TOKENS, completionTokens: 25 });
    expect(await measured([], { sample })).toBeNull();
  });

  it("is not known of a host that fails, or takes too long", async () => {
    expect(await measured([])).toBeNull();
    const clock = createVirtualClock();
    const sample: StepCheck["sample"] = (_, __, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        clock.advance(5_000);
      });
    expect(await measured([], { clock, sample })).toBeNull();
    const gone = new Error("leaving");
    const check = { reading: null, sample, clock, limits: { stepsMs: 9_000 } };
    const leaving = new AbortController();
    const left = measureStepFloor(check, leaving.signal);
    leaving.abort(gone);
    await expect(left).rejects.toBe(gone);
    expect(clock.pending()).toBe(0);
  });

  it("is not asked of a host that says that it runs something else", async () => {
    const whole = { tookMs: 168, tokens: 25 };
    const reading = (doing: object) => ({ reading: { ...UNKNOWN_READING, ...doing } });
    expect(await measured([whole, whole], reading({ running: 0, waiting: 0 }))).toBe(7);
    expect(await measured([whole, whole], reading({ running: 1 }))).toBeNull();
    expect(await measured([whole, whole], reading({ running: 0, waiting: 2 }))).toBeNull();
  });

  for (const kind of [...KINDS, "other"] as const) {
    it(`is measured by a host's own route, once: ${kind}`, async () => {
      const { server, driver } = await open({ kind });
      const facts = await driver.probe(never);
      expect(facts.stepFloorMs).toBeGreaterThan(0);
      const asked = server.requests.length;
      expect(await driver.probe(never)).toEqual(facts);
      expect(server.requests.length).toBeLessThan(2 * asked);
    });

    it(`fails no probe where it cannot be measured: ${kind}`, async () => {
      const { driver } = await open({ kind, completionTokensMax: 8 });
      const facts = await driver.probe(never);
      expect(facts).toMatchObject({ model: "tiny" });
      expect(facts).not.toHaveProperty("stepFloorMs");
    });
  }

  it("is unknown of hosts that do not say what they completed, and of one that completes nothing", async () => {
    for (const server of [
      { kind: "vllm", reportsUsage: false },
      { kind: "other", reportsUsage: false },
      { kind: "vllm", reward: () => [[0.5]] },
    ] as const)
      expect(await (await open(server)).driver.probe(never)).not.toHaveProperty("stepFloorMs");
  });
});

describe("how an engine is doing", () => {
  it("is unknown before it was found", async () => {
    const { driver } = await open({ kind: "vllm" });
    expect(await driver.signals(never)).toBeNull();
  });

  for (const kind of KINDS) {
    it(`is read from its own metrics: ${kind}`, async () => {
      const { driver } = await open({ kind });
      await driver.probe(never);
      const abort = new AbortController();
      const begun = Promise.withResolvers<void>();
      const long = "4 5 6 10 ".repeat(20);
      const pieces = [{ text: long + HOLD }];
      const held = driver.sample({ ...request, pieces, onFirstToken: begun.resolve }, abort.signal);
      await begun.promise;
      const signals = await driver.signals(never);
      abort.abort(new Error("enough"));
      await expect(held).rejects.toThrow("enough");
      expect(signals).toMatchObject({ running: 1, waiting: 0, refusals: 0, cacheClears: 0 });
      expect(signals?.promptTokensComputed).toBeGreaterThan(40);
      if (kind === "llama-server") expect(signals).toMatchObject({ kvUsage: null, preemptions: null });
      else expect(signals).toMatchObject({ kvUsage: 0.01, preemptions: 0 });
      // The probe has asked the same long prompt more than once.
      expect(signals?.promptTokensCached).toBeGreaterThan(40);
    });
  }

  it("is read from SGLang's loads where it has no metrics, whichever release it is", async () => {
    const signals = async (version: string) => {
      const { driver } = await open({ kind: "sglang", hasMetrics: false, version });
      await driver.probe(never);
      return driver.signals(never);
    };
    expect(await signals("0.5.23")).toMatchObject({
      running: 0,
      waiting: 0,
      kvUsage: 0,
      promptTokensComputed: expect.any(Number),
      promptTokensCached: null,
    });
    expect(await signals("0.4.10")).toMatchObject({ running: 0, waiting: 0, kvUsage: null });
  });

  it("counts refusals for want of room, and nothing else", async () => {
    for (const kind of [...KINDS, "other"] as const) {
      const { server, driver } = await open({ kind });
      await driver.probe(never);
      server.misbehave({ kind: "status", status: 429, retryAfterS: 0.001 }, 1);
      await driver.sample(request, never);
      server.misbehave({ kind: "status", status: 503 }, 2);
      await expect(driver.sample(request, never)).rejects.toMatchObject({ code: "unavailable" });
      server.misbehave({ kind: "status", status: 400 }, 1);
      await expect(driver.sample(request, never)).rejects.toMatchObject({ code: "invalid_argument" });
      expect(await driver.signals(never)).toMatchObject({ refusals: 3 });
    }
  });

  it("tells that a host came back with an empty cache", async () => {
    for (const kind of KINDS) {
      const { server, driver } = await open({ kind });
      await driver.probe(never);
      expect(await driver.signals(never)).toMatchObject({ cacheClears: 0 });
      server.restart();
      expect(await driver.signals(never)).toMatchObject({ cacheClears: 1 });
      await driver.sample(request, never);
      expect(await driver.signals(never)).toMatchObject({ cacheClears: 1 });
    }
  });

  it("is unknown while the host says that it is not ready, and a failure where nobody answers", async () => {
    const { server, driver } = await open({ kind: "vllm" });
    await driver.probe(never);
    server.setUp(false);
    expect(await driver.signals(never)).toMatchObject({
      running: null,
      promptTokensComputed: null,
      refusals: 0,
    });
    await server.close();
    await expect(driver.signals(never)).rejects.toMatchObject({ code: "unavailable" });
    const gone = new Error("leaving");
    await expect(driver.signals(AbortSignal.abort(gone))).rejects.toBe(gone);
  });
});

describe("a host that fails", () => {
  const failures = [
    [
      "refuses for want of room",
      { kind: "status", status: 429 },
      "resource_exhausted",
      /found 429 \(status 429\)/,
    ],
    ["is not up", { kind: "status", status: 503 }, "unavailable", /found 503 \(status 503\)/],
    ["cuts the connection", { kind: "disconnect" }, "unavailable", /found no connection/],
    [
      "ends without an end",
      { kind: "truncate" },
      "data_loss",
      /expected a finish_reason at the end of the stream/,
    ],
    [
      "sends half a chunk",
      { kind: "malformed-chunk" },
      "data_loss",
      /expected JSON, found \{"choices": \[\{"te/,
    ],
    ["reports an error inside", { kind: "error-chunk" }, "unavailable", /found the error EngineCore died/],
    [
      "is silent",
      { kind: "silent" },
      "deadline_exceeded",
      /expected a word at least every 1000 ms, found silence/,
    ],
    [
      "answers as something else",
      { kind: "body", type: "text/html", body: "<html>nginx" },
      "data_loss",
      /expected a stream of events, found <html>nginx/,
    ],
    [
      "streams something else",
      { kind: "body", type: "text/event-stream", body: 'data: {"type":"ping"}\n\n' },
      "data_loss",
      /expected a c.*"(choices|text|content)", found \{"type":"ping"\}/,
    ],
  ] as const;
  const paths = {
    vllm: "/v1/completions",
    sglang: "/generate",
    "llama-server": "/completion",
    other: "/v1/completions",
  };
  for (const [what, how, code, message] of failures) {
    it(`is told by its address and by what went wrong, and is tried again: ${what}`, async () => {
      for (const kind of [...KINDS, "other"] as const) {
        const { server, driver } = await open(
          { kind },
          { limits: { ...LIMITS, retriesMax: 0, ...(what === "is silent" ? { idleMs: 1_000 } : {}) } },
        );
        await driver.probe(never);
        server.misbehave(how, 1);
        const failed: unknown = await driver.sample(request, never).catch((error: unknown) => error);
        expect(failed).toMatchObject({ code, isRetryable: true, message: expect.stringMatching(message) });
        expect(String(failed)).toContain(`from ${server.url}${paths[kind]}`);
        expect((await driver.sample(request, never)).result.kind).toBe("rollout");
      }
    });
  }
});

describe("SGLang's native route", () => {
  it("is asked in its own words", async () => {
    const { driver, sent } = await open({ kind: "sglang" });
    await driver.sample({ ...request, sampling: { ...sampling, topK: 5, stop: ["\n"] } }, never);
    expect(sent()).toEqual({
      rid: expect.stringMatching(/^coppice-[0-9a-f]+-\d+\.$/),
      text: "4 5 6 10\n",
      sampling_params: {
        temperature: 0.8,
        top_p: 0.95,
        top_k: 5,
        min_p: 0,
        max_new_tokens: 64,
        sampling_seed: 7,
        stop: ["\n"],
      },
      stream: true,
    });
    const old = await open({ kind: "sglang", version: "0.5.2" });
    await old.driver.sample(request, never);
    expect(old.sent()["sampling_params"]).not.toHaveProperty("sampling_seed");
  });

  it("gives the same whether it streams the whole text or increments", async () => {
    const asked = { ...request, sampling: { ...sampling, logprobs: true, tokens: true } };
    const whole = await (await open({ kind: "sglang" })).driver.sample(asked, never);
    const parts = await (await open({ kind: "sglang", isIncremental: true })).driver.sample(asked, never);
    expect(parts).toEqual(whole);
    expect(whole.result.tokens?.length).toBeGreaterThan(0);
    expect(whole.result.meanLogprob).toBeLessThan(0);
  });

  it("is told by name what is not wanted any more", async () => {
    const { server, driver } = await open({ kind: "sglang" });
    await driver.probe(never);
    const before = server.abortRequests.length;
    const abort = new AbortController();
    const onFirstToken = () => abort.abort(new Error("withdrawn"));
    const held = driver.sample({ ...request, pieces: [{ text: HOLD }], onFirstToken }, abort.signal);
    await expect(held).rejects.toThrow("withdrawn");
    await expect
      .poll(() => server.abortRequests.slice(before))
      .toEqual([{ rid: server.requests.at(-1)?.["rid"] }]);
  });

  it("is given names of which none begins another, since an abort goes to all that begin alike", async () => {
    const { server, driver } = await open({ kind: "sglang" });
    for (let n = 0; n < 12; n += 1) await driver.sample(request, never);
    const names = server.requests.flatMap(({ rid }) => (typeof rid === "string" ? [rid] : []));
    expect(names.length).toBeGreaterThan(12);
    for (const name of names) expect(names.filter((each) => each.startsWith(name))).toEqual([name]);
  });

  it("says of what kind the failure of a stream is", async () => {
    const { server, driver } = await open({ kind: "sglang" });
    await driver.probe(never);
    const ended = async (chunk: unknown) => {
      server.misbehave(
        { kind: "body", type: "text/event-stream", body: `data: ${JSON.stringify(chunk)}\n\n` },
        9,
      );
      const failure: unknown = await driver.sample(request, never).catch((error: unknown) => error);
      server.misbehave({ kind: "silent" }, 0);
      return failure;
    };
    const aborted = (finish: unknown) => ({ text: "", output_ids: [], meta_info: { finish_reason: finish } });
    expect(await ended({ error: { message: "The input is longer than the context" } })).toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("The input is longer than the context"),
    });
    const full = { type: "abort", message: "The request queue is full.", status_code: 503 };
    expect(await ended(aborted(full))).toMatchObject({
      code: "unavailable",
      message: expect.stringMatching(/gave it up \(The request queue is full\.\), from http.*\/generate/),
    });
    expect(await driver.signals(never)).toMatchObject({ refusals: 2 });
    expect(await ended(aborted({ type: "abort", message: "bad", status_code: 400 }))).toMatchObject({
      code: "invalid_argument",
    });
    expect(await ended({ output_ids: [] })).toMatchObject({ code: "data_loss" });
  });
});
