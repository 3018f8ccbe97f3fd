/** The simulated engine behind HTTP: what the drivers for real servers find there, and what else it answers. */
import { afterEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { SampleRequest } from "../../workers/rollout/driver.ts";
import { createOpenaiDriver } from "../../workers/rollout/drivers/openai.ts";
import { createSimulatedDriver } from "../../workers/rollout/drivers/simulated.ts";
import { engineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import {
  startSimulatedServer,
  type SimulatedServerOptions,
} from "../../workers/rollout/drivers/simulated/server.ts";
import { createVllmDriver } from "../../workers/rollout/drivers/vllm.ts";
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
const LIMITS = { backoffMs: 1, backoffMaxMs: 4, retriesMax: 1, idleMs: 5_000, abortMs: 300, abortPollMs: 5 };
/** What of the server's answers is looked at. */
interface Answered {
  readonly choices?: readonly { readonly text: string; readonly prompt_token_ids?: readonly number[] }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly prompt_tokens_details: { readonly cached_tokens: number };
  };
  readonly tokens?: readonly number[];
  readonly prompt?: string;
  readonly error?: { readonly message: string };
}

const PROFILE = engineProfile("8b-h100");

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).toReversed()) await each.close();
});

function start(options: Partial<SimulatedServerOptions> = {}) {
  return startSimulatedServer({
    profile: PROFILE,
    model: "simulated",
    speed: 500,
    clock: systemClock,
    sharesColdPrefixes: true,
    schedulesByPriority: false,
    host: "127.0.0.1",
    port: 0,
    ...options,
  });
}

async function open(options: Partial<SimulatedServerOptions> = {}) {
  const server = await start(options);
  opened.push(server);
  const post = async (path: string, body: unknown) => {
    const answer = await fetch(server.url + path, { method: "POST", body: JSON.stringify(body) });
    const text = await answer.text();
    const answered: Answered = text === "" ? {} : JSON.parse(text);
    return { status: answer.status, body: answered };
  };
  const get = async (path: string) => (await fetch(server.url + path)).text();
  return { server, post, get };
}

const CREATE = { vllm: createVllmDriver, openai: createOpenaiDriver } as const;

function driverOn(engine: keyof typeof CREATE, url: string, clock: Clock = systemClock) {
  const options = { url, model: null, apiKey: null, concurrency: 8, clock, limits: LIMITS };
  return CREATE[engine]({ ...options, random: createRandom(1) });
}

for (const [engine, schedulesByPriority] of [
  ["vllm", false],
  ["vllm", true],
  ["openai", false],
] as const) {
  driverConformance(`${engine} on a simulated server${schedulesByPriority ? " by priority" : ""}`, {
    async open() {
      const server = await start({ schedulesByPriority, shape: { meanTokens: 1_000_000 } });
      return { driver: driverOn(engine, server.url), close: () => server.close() };
    },
    request,
    sibling: (sample) => ({ ...request, sample, seed: 100 + sample }),
    stopping: { ...request, sampling: { ...sampling, maxTokens: 512, stop: [" the"] } },
    lengthy: { ...request, sampling: { ...sampling, maxTokens: 3 } },
    slow: { ...request, seed: 3, sampling: { ...sampling, maxTokens: 20_000 } },
    score: { pieces: [{ text: "5 6 6?" }], positive: " good", negative: " bad" },
  });
}

describe("a driver of vLLM on a simulated server", () => {
  it("finds the host that was simulated", async () => {
    const { server } = await open({ profile: engineProfile("8b-h100", { kvCapacityTokens: 20_000 }) });
    const driver = driverOn("vllm", server.url);
    opened.push(driver);
    expect(await driver.probe(never)).toMatchObject({
      model: "simulated",
      kvCapacityTokens: 20_000,
      contextTokens: 20_000,
      blockTokens: 16,
      reportsCachedTokens: true,
      sharesColdPrefixes: true,
      can: expect.arrayContaining(["score", "likelihood", "tokens", "logprobs", "beam-search"]),
    });
  });

  it("finds how long a step takes at least, within a few parts of a hundred of the profile's base", async () => {
    // Time goes on with what the process does, however busy the machine is.
    const clock = createVirtualClock();
    const { server } = await open({ clock, speed: 1 });
    const driver = driverOn("vllm", server.url, clock);
    opened.push(driver);
    const state = { isProbed: false };
    const probed = driver.probe(never).finally(() => (state.isProbed = true));
    while (!state.isProbed) {
      clock.advance(0.25);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { stepFloorMs = 0 } = await probed;
    expect(stepFloorMs / PROFILE.stepBaseMs).toBeGreaterThan(0.9);
    expect(stepFloorMs / PROFILE.stepBaseMs).toBeLessThan(1.1);
  });

  it("gets the answers that the driver in this process gives", async () => {
    const { server } = await open();
    const far = driverOn("vllm", server.url);
    const near = createSimulatedDriver({
      profile: PROFILE,
      model: "simulated",
      speed: 500,
      clock: systemClock,
    });
    opened.push(far, near);
    await far.probe(never);
    for (const seed of [1, 2, 3]) {
      const asked = {
        ...request,
        seed,
        sampling: { ...sampling, maxTokens: 300, logprobs: true, tokens: true },
      };
      const [there, here] = [await far.sample(asked, never), await near.sample(asked, never)];
      const { meanLogprob, ...result } = here.result;
      expect(there.result).toEqual({ ...result, meanLogprob: expect.closeTo(meanLogprob ?? 1, 9) });
      expect(there.usage.promptTokens).toBe(here.usage.promptTokens);
      expect(there.usage.completionTokens).toBe(here.usage.completionTokens);
    }
    const score = { pieces: [{ text: "a path?" }], positive: " good", negative: " bad" };
    expect((await far.score(score, never)).score).toBeCloseTo((await near.score(score, never)).score, 9);
    const likelihood = { pieces: request.pieces, continuation: { text: " it is 23." } };
    const [there, here] = [await far.likelihood(likelihood, never), await near.likelihood(likelihood, never)];
    expect(there.meanLogprob).toBeCloseTo(here.meanLogprob, 9);
  });

  it("aborts on the host by closing its connection", async () => {
    const { server, get } = await open({ speed: 20, shape: { meanTokens: 1_000_000 } });
    const driver = driverOn("vllm", server.url);
    opened.push(driver);
    await driver.probe(never);
    const abort = new AbortController();
    const slow = { ...request, sampling: { ...sampling, maxTokens: 20_000 } };
    const sampled = driver.sample(
      { ...slow, onFirstToken: () => abort.abort(new Error("gone")) },
      abort.signal,
    );
    await expect(sampled).rejects.toThrow("gone");
    await expect
      .poll(() => get("/metrics"))
      .toContain('vllm:num_requests_running{engine="0",model_name="simulated"} 0');
  });
});

describe("simulated server", () => {
  it("answers a text and its token ids alike, and says what it took from its cache", async () => {
    const { post } = await open();
    const prompt = "one two three four five six seven eight nine ten ".repeat(8);
    const body = { model: "simulated", max_tokens: 8, seed: 3, temperature: 1 };
    const first = await post("/v1/completions", { ...body, prompt });
    const { tokens = [] } = (await post("/tokenize", { prompt })).body;
    const again = await post("/v1/completions", { ...body, prompt: tokens, return_token_ids: true });
    expect(first).toMatchObject({ status: 200, body: { object: "text_completion" } });
    expect(again.body.choices?.[0]?.text).toBe(first.body.choices?.[0]?.text);
    expect(again.body.choices?.[0]?.prompt_token_ids).toEqual(tokens);
    const { usage } = again.body;
    expect(usage?.prompt_tokens).toBe(tokens.length);
    expect(usage?.prompt_tokens_details.cached_tokens).toBe(16 * Math.floor((tokens.length - 1) / 16));
    expect((await post("/detokenize", { tokens })).body.prompt).toBe(prompt);
    expect((await post("/reset_prefix_cache", {})).status).toBe(200);
    const cold = await post("/v1/completions", { ...body, prompt });
    expect(cold.body.usage?.prompt_tokens_details.cached_tokens).toBe(0);
  });

  it("streams what it answers whole", async () => {
    const { server, post } = await open({ speed: 50, shape: { meanTokens: 1_000_000 } });
    const body = { prompt: "a\n", max_tokens: 1_000, seed: 5, stop: "ten" };
    const whole = (await post("/v1/completions", body)).body;
    const answer = await fetch(`${server.url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    });
    const lines = (await answer.text()).split("\n\n").filter((line) => line !== "");
    expect(answer.headers.get("content-type")).toContain("text/event-stream");
    expect(lines.at(-1)).toBe("data: [DONE]");
    const chunks = lines.slice(0, -1).map((line) => JSON.parse(line.slice("data: ".length)));
    const choices = chunks.flatMap((chunk) => chunk.choices);
    expect(choices.length).toBeGreaterThan(1);
    expect(choices.map((choice) => choice.text).join("")).toBe(whole.choices?.[0]?.text);
    expect(choices.at(-1)).toMatchObject({ finish_reason: "stop", stop_reason: "ten" });
    expect(whole.choices?.[0]?.text).not.toContain("ten");
    expect(chunks.at(-1).usage.completion_tokens).toBe(whole.usage?.completion_tokens);
  });

  it("says how it is doing under vLLM's names", async () => {
    const { post, get } = await open();
    await post("/v1/completions", { prompt: "x ".repeat(40), max_tokens: 5, ignore_eos: true });
    const metrics = await get("/metrics");
    const at = 'engine="0",model_name="simulated"';
    for (const line of [
      `vllm:num_requests_waiting{${at}} 0`,
      `vllm:kv_cache_usage_perc{${at}} 0`,
      `vllm:num_preemptions_total{${at}} 0`,
      `vllm:generation_tokens_total{${at}} 5`,
      `vllm:prompt_tokens_by_source_total{${at},source="local_cache_hit"} 0`,
      'vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="25875"} 1',
    ])
      expect(metrics).toContain(`${line}\n`);
  });

  it.each([
    ["another model", { model: "gpt" }, 404, /"gpt" does not exist; it is "simulated"/],
    [
      "no prompt",
      { prompt: undefined },
      400,
      /prompt: expected one text, or one list of token ids; found nothing/,
    ],
    ["two prompts", { prompt: ["a", "b"] }, 400, /prompt: expected one text/],
    ["an id that is none", { prompt: [1, 3] }, 400, /expected a token id of this model, found 3/],
    ["a fraction of a token", { max_tokens: 1.5 }, 400, /max_tokens: expected a whole number; found 1.5/],
    ["no tokens", { max_tokens: 0 }, 400, /max_tokens: expected a number from 1/],
    ["more than its context", { max_tokens: 200_000 }, 400, /maximum context length is 131072 tokens/],
    ["several completions", { n: 2 }, 400, /n: expected 1/],
    [
      "a priority",
      { priority: 1 },
      400,
      /priority: expected 0, since the server was not started with priority/,
    ],
    ["an empty stop string", { stop: [""] }, 400, /stop: expected at most 64 texts that are not empty/],
    ["too many logprobs", { logprobs: 21 }, 400, /logprobs: expected a number from 0 to 20/],
    [
      "a structure that is no choice",
      { structured_outputs: { regex: "a+" } },
      400,
      /expected a choice of texts/,
    ],
    ["a list", [], 400, /body: expected a JSON object; found \[\]/],
  ])("refuses %s with what was expected", async (_, change, status, message) => {
    const { post } = await open();
    const body = Array.isArray(change) ? change : { prompt: "a", ...change };
    const refused = await post("/v1/completions", body);
    expect(refused).toMatchObject({ status, body: { error: { code: status } } });
    expect(refused.body.error?.message).toMatch(message);
  });

  it("refuses what is no JSON, another method, and a path that it does not have", async () => {
    const { server, post } = await open();
    const broken = await fetch(`${server.url}/v1/completions`, { method: "POST", body: '{"prompt' });
    expect(broken.status).toBe(400);
    expect(await broken.text()).toContain("body: expected JSON");
    expect((await fetch(server.url, { method: "DELETE" })).status).toBe(405);
    expect((await post("/v1/chat/completions", {})).status).toBe(404);
  });

  it("serves by priority where it was told to", async () => {
    const profile = engineProfile("8b-h100", { sequencesMax: 1 });
    const { post } = await open({ profile, schedulesByPriority: true, speed: 20 });
    const order: number[] = [];
    const ask = async (priority: number): Promise<void> => {
      await post("/v1/completions", { prompt: `p${priority}`, max_tokens: 60, ignore_eos: true, priority });
      order.push(priority);
    };
    const first = ask(5);
    await Promise.all([first, ask(9), ask(1)]);
    expect(order.indexOf(1)).toBeLessThan(order.indexOf(9));
  });

  it("says that an address is taken", async () => {
    const { server } = await open();
    const port = Number(new URL(server.url).port);
    await expect(start({ port })).rejects.toThrow(
      new RegExp(`cannot listen on 127.0.0.1:${port}.*EADDRINUSE`),
    );
  });
});
