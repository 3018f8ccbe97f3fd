import { describe, expect, it } from "vitest";
import type { HostSpec } from "../../services/coordinator/sweep.ts";
import { HOST_DEFAULTS, SIMULATED_PROFILES } from "../../services/coordinator/sweep-file/sweep-schema.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { createDriver, type DriverSpec } from "../../workers/rollout/create-driver.ts";
import { ENGINE_PROFILE_NAMES } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { startOpenaiServer } from "../support/openai-server.ts";

const options = { model: null, env: {}, clock: systemClock, random: createRandom(1) };
const openai = {
  engine: "openai",
  model: null,
  id: "h",
  url: "http://127.0.0.1:1",
  api_key_env: "KEY",
  concurrency: 4,
  timeout_ms: 1_000,
} as const;

describe("createDriver", () => {
  it("takes every host that a sweep can name", async () => {
    const hosts: readonly HostSpec[] = [
      { engine: "replay", id: "r", records: "records.jsonl", concurrency: 4 },
      {
        engine: "embedded",
        id: "e",
        model_path: "m.gguf",
        sequences: 1,
        context_tokens: null,
        threads: 1,
        reproducible: false,
        speculative_tokens: 0,
      },
      { ...openai, api_key_env: null, gpus: 1 },
      {
        ...openai,
        api_key_env: null,
        gpus: 1,
        engine: "vllm",
        concurrency: "auto",
        kv_events: "tcp://gpu1:5557",
      },
      { ...openai, api_key_env: null, gpus: 1, engine: "sglang", kv_events: null },
      { ...openai, api_key_env: null, gpus: 1, engine: "llama-server" },
      { engine: "simulated", id: "s", gpus: 1, ...HOST_DEFAULTS.simulated },
    ];
    const specs: readonly DriverSpec[] = hosts;
    for (const spec of specs) {
      const driver = await createDriver(spec, options);
      expect(driver.engine).toBe(spec.engine);
      await driver.close();
    }
  });

  it("simulates every host that a sweep may name, and says what is wrong with one that cannot be", async () => {
    expect([...SIMULATED_PROFILES]).toEqual(ENGINE_PROFILE_NAMES);
    const simulated = { engine: "simulated", ...HOST_DEFAULTS.simulated } as const;
    const tight = await createDriver({ ...simulated, kv_capacity_tokens: 4_096, concurrency: 16 }, options);
    expect(await tight.probe(new AbortController().signal)).toMatchObject({
      model: "simulated",
      concurrency: 16,
      concurrencyMax: 16,
      kvCapacityTokens: 4_096,
      contextTokens: 4_096,
    });
    await tight.close();
    await expect(createDriver({ ...simulated, kv_capacity_tokens: 1 }, options)).rejects.toThrow(
      /profile 8b-h100: expected kvCapacityTokens to be .* at least one block \(16 tokens\), found 1/,
    );
  });

  it("sends the key that the environment holds, and says which variable lacks it", async () => {
    const server = await startOpenaiServer({ kind: "vllm", apiKey: "secret" });
    const driver = await createDriver(
      { ...openai, url: server.url },
      { ...options, env: { KEY: " secret\n" } },
    );
    expect(await driver.probe(new AbortController().signal)).toMatchObject({ model: "tiny" });
    await driver.close();
    await server.close();
    await expect(createDriver(openai, options)).rejects.toThrow(
      /in the environment variable KEY \(api_key_env\), found none/,
    );
  });
});
