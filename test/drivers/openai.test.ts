import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { SampleRequest } from "../../workers/rollout/driver.ts";
import { createOpenaiDriver } from "../../workers/rollout/drivers/openai.ts";
import type { HttpHostLimits } from "../../workers/rollout/drivers/http-host/limits.ts";
import { driverConformance } from "../conformance/driver.ts";
import {
  HOLD,
  startOpenaiServer,
  type OpenaiServerOptions,
  type ServerKind,
} from "../support/openai-server.ts";

const never = new AbortController().signal;
const sampling = { temperature: 0.8, topP: 0.95, topK: 0, minP: 0, maxTokens: 64, stop: [] };
const request: SampleRequest = {
  pieces: [{ text: "4 5 6 10\n" }],
  problem: "g24-0900",
  sample: 0,
  seed: 7,
  sampling,
};
const quick: Partial<HttpHostLimits> = {
  backoffMs: 1,
  backoffMaxMs: 4,
  retriesMax: 3,
  retryAfterMaxMs: 2_000,
  idleMs: 5_000,
  probeMs: 5_000,
};

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each.close();
});

async function open(
  options: Partial<OpenaiServerOptions> = {},
  limits: Partial<HttpHostLimits> = {},
  apiKey: string | null = null,
) {
  const server = await startOpenaiServer({ kind: "vllm", reportsCachedTokens: true, ...options });
  const driver = driverOf(server.url, limits, apiKey);
  opened.push(server, driver);
  return { server, driver };
}

function driverOf(
  url: string,
  limits: Partial<HttpHostLimits> = {},
  apiKey: string | null = null,
  model: string | null = null,
) {
  const options = { url, model, apiKey, concurrency: 8, clock: systemClock, random: createRandom(1) };
  return createOpenaiDriver({ ...options, limits: { ...quick, ...limits } });
}

for (const kind of ["vllm", "sglang", "llama-server", "other"] as const satisfies readonly ServerKind[]) {
  driverConformance(`openai on ${kind}`, {
    async open() {
      const server = await startOpenaiServer({ kind, reportsCachedTokens: kind !== "other" });
      return { driver: driverOf(server.url), close: () => server.close() };
    },
    request,
    sibling: (sample) => ({ ...request, sample, seed: 100 + sample }),
    stopping: { ...request, seed: 3, sampling: { ...sampling, maxTokens: 512, stop: ["\n"] } },
    lengthy: { ...request, sampling: { ...sampling, maxTokens: 3 } },
    slow: { ...request, pieces: [{ text: HOLD }] },
    score: { pieces: [{ text: "5 6 6?" }], positive: " good", negative: " bad" },
  });
}

describe("openai driver: what it sends and reads", () => {
  it("sends non-standard options to a plain server only when they are on", async () => {
    const { server, driver } = await open({ kind: "other" });
    await driver.sample(request, never);
    expect(server.requests.at(-1)).not.toHaveProperty("top_k");
    await driver.sample({ ...request, sampling: { ...sampling, topK: 20, minP: 0.1, stop: ["\n"] } }, never);
    expect(server.requests.at(-1)).toMatchObject({
      model: "tiny",
      prompt: "4 5 6 10\n",
      max_tokens: 64,
      temperature: 0.8,
      top_p: 0.95,
      seed: 7,
      top_k: 20,
      min_p: 0.1,
      stop: ["\n"],
      stream: true,
      stream_options: { include_usage: true },
    });
  });

  it("switches options off where the engine would take its own default", async () => {
    const vllm = await open({ kind: "vllm" });
    await vllm.driver.sample(request, never);
    expect(vllm.server.requests.at(-1)).toMatchObject({ top_k: -1, min_p: 0 });
    const llama = await open({ kind: "llama-server" });
    await llama.driver.sample(request, never);
    expect(llama.server.requests.at(-1)).toMatchObject({
      top_k: 0,
      min_p: 0,
      n_predict: 64,
      cache_prompt: true,
    });
  });

  it("finds out what the host is", async () => {
    const vllm = await open({ kind: "vllm" });
    expect(await vllm.driver.probe(never)).toEqual({
      model: "tiny",
      concurrency: 8,
      concurrencyMax: 8,
      blockTokens: 16,
      sharesColdPrefixes: true,
      kvCapacityTokens: 16_000,
      contextTokens: 4096,
      reportsCachedTokens: true,
      stepFloorMs: expect.any(Number),
      can: ["score", "likelihood", "tokens", "logprobs", "beam-search", "json-schema", "regex", "grammar"],
    });
    const llama = await open({ kind: "llama-server" });
    expect(await llama.driver.probe(never)).toMatchObject({
      concurrency: 4,
      kvCapacityTokens: 8192,
      contextTokens: 2048,
    });
  });

  it("probes a host whose context is too short for the usual probe", async () => {
    const { driver } = await open({ kind: "vllm", promptCharsMax: 20 });
    expect(await driver.probe(never)).toMatchObject({
      model: "tiny",
      can: expect.arrayContaining(["score", "likelihood"]),
    });
  });

  it("says that cached tokens are unknown where the server does not report them", async () => {
    const { driver } = await open({ reportsCachedTokens: false });
    expect(await driver.probe(never)).toMatchObject({ reportsCachedTokens: false });
    const { usage } = await driver.sample(request, never);
    expect(usage.cachedTokens).toBeNull();
    expect(usage.completionTokens).toBeGreaterThan(0);
  });

  it("leaves tokens unknown where no usage comes", async () => {
    const { driver } = await open({ kind: "other", reportsUsage: false });
    const { usage } = await driver.sample(request, never);
    expect(usage).toEqual({ promptTokens: null, cachedTokens: null, completionTokens: null });
  });

  it("tells the model's own end from a stop string", async () => {
    for (const kind of ["vllm", "sglang", "llama-server"] as const) {
      const { driver } = await open({ kind });
      const ends = await Promise.all(
        Array.from({ length: 40 }, (_, seed) =>
          driver.sample({ ...request, seed, sampling: { ...sampling, stop: ["\n"], maxTokens: 500 } }, never),
        ),
      );
      const own = ends.filter(({ result }) => result.stopString === null);
      expect(own.length).toBeGreaterThan(0);
      for (const { result } of own) expect(result.text).not.toContain("\n");
      expect(own.length).toBeLessThan(ends.length);
    }
  });

  it("computes the process reward from the listed probabilities", async () => {
    const score = { pieces: [{ text: "5 6 6?" }], positive: " good", negative: " bad" };
    const both = await open({ topLogprobs: { " good": Math.log(0.6), " bad": Math.log(0.2) } });
    expect((await both.driver.score(score, never)).score).toBeCloseTo(0.75);
    const one = await open({ topLogprobs: { " good": Math.log(0.6), x: Math.log(0.2) } });
    expect((await one.driver.score(score, never)).score).toBeCloseTo(0.75);
    const none = await open({ topLogprobs: { x: -1, y: -2 } });
    await expect(none.driver.score(score, never)).rejects.toThrow(
      /expected " good" or " bad" among .* found "x" "y", from http/,
    );
  });

  it("says that it cannot score where logprobs are refused", async () => {
    const { driver } = await open({ topLogprobs: null });
    expect(await driver.probe(never)).toMatchObject({
      can: ["tokens", "beam-search", "json-schema", "regex", "grammar"],
      reportsCachedTokens: true,
    });
    await expect(
      driver.score({ pieces: [{ text: "?" }], positive: "a", negative: "b" }, never),
    ).rejects.toMatchObject({
      code: "unimplemented",
    });
  });

  it("closes the stream on the host when it is aborted", async () => {
    const { server, driver } = await open();
    const abort = new AbortController();
    const slow = driver.sample(
      { ...request, pieces: [{ text: HOLD }], onUsage: () => abort.abort(new Error("withdrawn")) },
      abort.signal,
    );
    await expect(slow).rejects.toThrow("withdrawn");
    await expect.poll(() => server.aborted()).toBe(1);
    expect(server.open()).toBe(0);
  });
});

describe("openai driver: hosts that misbehave", () => {
  async function afterProbe(limits: Partial<HttpHostLimits> = {}) {
    const { server, driver } = await open({}, limits);
    await driver.probe(never);
    const before = server.requests.length;
    return { server, driver, asked: () => server.requests.length - before };
  }

  it("tries again after 429, no sooner than it is asked to", async () => {
    const { server, driver } = await afterProbe();
    server.misbehave({ kind: "status", status: 429, retryAfterS: 0.2 }, 1);
    const beganMs = performance.now();
    expect((await driver.sample(request, never)).result.text).not.toBe("");
    expect(performance.now() - beganMs).toBeGreaterThanOrEqual(195);
  });

  it("asks again at once where the host had closed a connection that was kept", async () => {
    const { driver, server } = await open({ closesConnections: true }, { retriesMax: 0 });
    await driver.probe(never);
    const asks = Array.from({ length: 20 }, (_, seed) => ({ ...request, seed }));
    for (const each of asks) expect((await driver.sample(each, never)).result.kind).toBe("rollout");
    expect(server.requests.slice(-20).map(({ seed }) => seed)).toEqual(asks.map(({ seed }) => seed));
  });

  it("leaves a host that asks for a long pause to the lane", async () => {
    const { server, driver, asked } = await afterProbe();
    server.misbehave({ kind: "status", status: 429, retryAfterS: 60 }, 9);
    await expect(driver.sample(request, never)).rejects.toMatchObject({
      code: "resource_exhausted",
      isRetryable: true,
    });
    expect(asked()).toBe(1);
  });

  it("tries again after 503 and gives up after its limit", async () => {
    const { server, driver, asked } = await afterProbe();
    server.misbehave({ kind: "status", status: 503 }, 2);
    expect((await driver.sample(request, never)).result.kind).toBe("rollout");
    server.misbehave({ kind: "status", status: 503 }, 99);
    await expect(driver.sample(request, never)).rejects.toThrow(
      /expected status 200, found 503 \(status 503\), from http.*completions/,
    );
    expect(asked()).toBe(3 + 4);
  });

  it("tries again after the connection was cut in the middle of the stream, and gives the same text", async () => {
    const { server, driver } = await afterProbe();
    const whole = await driver.sample(request, never);
    server.misbehave({ kind: "disconnect" }, 1);
    expect((await driver.sample(request, never)).result).toEqual(whole.result);
    server.misbehave({ kind: "disconnect" }, 99);
    await expect(driver.sample(request, never)).rejects.toMatchObject({
      code: "unavailable",
      isRetryable: true,
    });
  });

  const rubbish = [
    [
      "a malformed chunk",
      { kind: "malformed-chunk" },
      /expected JSON, found \{"choices": \[\{"te, from http/,
    ],
    [
      "a stream without an end",
      { kind: "truncate" },
      /expected a finish_reason at the end of the stream, found none after 1 events, from http/,
    ],
    [
      "a page",
      { kind: "body", type: "text/html", body: "<html><h1>Welcome to nginx</h1>" },
      /expected a stream of events, found <html><h1>Welcome to nginx/,
    ],
    [
      "another API's JSON",
      { kind: "body", type: "application/json", body: '{"ok":true}' },
      /expected a stream of events, found \{"ok":true\}/,
    ],
    [
      "a stream of another API",
      { kind: "body", type: "text/event-stream", body: 'data: {"type":"ping"}\n\n' },
      /expected a completion chunk with "choices"/,
    ],
    [
      "nothing",
      { kind: "body", type: "text/event-stream", body: "" },
      /expected a stream of events, found nothing, from http/,
    ],
  ] as const;
  for (const [what, how, message] of rubbish) {
    it(`says what it found instead of an answer: ${what}`, async () => {
      const { server, driver, asked } = await afterProbe();
      server.misbehave(how, 99);
      const sample = driver.sample(request, never);
      await expect(sample).rejects.toMatchObject({ code: "data_loss", isRetryable: true });
      await expect(sample).rejects.toThrow(message);
      expect(asked()).toBe(1);
    });
  }

  it("reads an error inside of the stream", async () => {
    const { server, driver } = await afterProbe({ retriesMax: 0 });
    server.misbehave({ kind: "error-chunk" }, 1);
    await expect(driver.sample(request, never)).rejects.toThrow(/found the error EngineCore died, from http/);
  });

  it("gives up on a host that accepts and never answers", async () => {
    const { server, driver } = await afterProbe({ idleMs: 50 });
    server.misbehave({ kind: "silent" }, 99);
    const sample = driver.sample(request, never);
    await expect(sample).rejects.toMatchObject({ code: "deadline_exceeded", isRetryable: true });
    await expect(sample).rejects.toThrow(/expected a word at least every 50 ms, found silence, from http/);
    await expect.poll(() => server.open()).toBe(0);
  });

  it("gives up on a stream that falls silent", async () => {
    const { driver } = await afterProbe({ idleMs: 50 });
    await expect(driver.sample({ ...request, pieces: [{ text: HOLD }] }, never)).rejects.toMatchObject({
      code: "deadline_exceeded",
    });
  });

  it("repeats the message of a refusal, shortened, and does not try again", async () => {
    const { server, driver, asked } = await afterProbe();
    const message = `This model's maximum context length is 4096 tokens. ${"x".repeat(5000)}`;
    server.misbehave(
      { kind: "status", status: 400, body: JSON.stringify({ error: { message, code: 400 } }) },
      1,
    );
    const error: unknown = await driver.sample(request, never).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "invalid_argument", isRetryable: false });
    expect(String(error)).toContain("maximum context length is 4096 tokens");
    expect(String(error).length).toBeLessThan(700);
    expect(asked()).toBe(1);
  });

  it("says that nobody listens at an address", async () => {
    const { server, driver } = await open();
    await server.close();
    await expect(driver.probe(never)).rejects.toThrow(
      /expected an answer, found no connection \(ECONNREFUSED.*from http:\/\/127/,
    );
    await expect(driver.sample(request, never)).rejects.toMatchObject({
      code: "unavailable",
      isRetryable: true,
    });
  });

  it("says that what listens does not speak HTTP", async () => {
    const server = createServer((socket) => {
      // What comes is read, else the end of the connection would not be seen.
      socket
        .on("error", () => undefined)
        .resume()
        .end("SSH-2.0-OpenSSH_9.2\r\n");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    opened.push({ close: () => new Promise((resolve) => server.close(() => resolve())) });
    const address = server.address();
    const port = typeof address === "object" ? address?.port : 0;
    await expect(driverOf(`http://127.0.0.1:${port}`).probe(never)).rejects.toThrow(
      /expected an HTTP answer, found HPE_/,
    );
  });

  it("says which models a host serves when the wanted one is not among them", async () => {
    const { server } = await open();
    const driver = driverOf(server.url, {}, null, "llama-70b");
    await expect(driver.probe(never)).rejects.toThrow(
      /expected the model "llama-70b", found tiny, from http.*\/v1\/models/,
    );
  });

  it("says how to give a key where one is missing", async () => {
    const { server, driver } = await open({ apiKey: "secret" });
    await expect(driver.probe(never)).rejects.toThrow(/found 401 \(Unauthorized\).*api_key_env/);
    const withKey = driverOf(`${server.url}/v1/`, {}, "secret");
    opened.push(withKey);
    expect(await withKey.probe(never)).toMatchObject({ model: "tiny" });
  });

  it("says that a host is still loading", async () => {
    const { server, driver } = await open();
    server.setUp(false);
    await expect(driver.probe(never)).rejects.toThrow(/found 503 \(Loading model\), from http.*\/health/);
  });

  it("refuses an address that is none", () => {
    for (const url of ["gpu1:8000", "http://", "", "ftp://gpu1"])
      expect(() => driverOf(url)).toThrow(/expected the url of a host/);
  });
});
