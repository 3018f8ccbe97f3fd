/**
 * The driver against a real llama-server with the shipped model. Its binary is no package of npm, so it runs where
 * COPPICE_LLAMA_SERVER names one.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sleep, systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { SampleRequest } from "../../workers/rollout/driver.ts";
import { createLlamaServerDriver } from "../../workers/rollout/drivers/llama-server.ts";
import { driverConformance } from "../conformance/driver.ts";
import { SHIPPED_MODEL_PATH } from "../../services/cli/version.ts";

const binary = process.env["COPPICE_LLAMA_SERVER"];
const never = new AbortController().signal;
const START_MS = 30_000;
const sampling = { temperature: 0.8, topP: 1, topK: 0, minP: 0, maxTokens: 64, stop: [] };
const request: SampleRequest = {
  pieces: [{ text: "4 5 6 10\n" }],
  problem: "g24-0900",
  sample: 0,
  seed: 7,
  sampling,
};

let url = "";
let server: ChildProcess | null = null;

beforeAll(async () => {
  if (binary === undefined) return;
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const model = [
    "--model",
    SHIPPED_MODEL_PATH,
    "--alias",
    "game24-tiny",
    "--ctx-size",
    "1024",
    "--parallel",
    "4",
  ];
  const at = ["--host", "127.0.0.1", "--port", String(port), "--threads", "1", "--metrics"];
  server = spawn(binary, [...model, ...at], { stdio: "ignore" });
  const driver = open();
  const late = AbortSignal.timeout(START_MS);
  for (;;) {
    const isUp = await driver.probe(late).then(
      () => true,
      () => false,
    );
    if (isUp) break;
    await sleep(systemClock, 100, late);
  }
  await driver.close();
}, START_MS);

afterAll(async () => {
  if (server === null) return;
  const gone = once(server, "exit");
  server.kill("SIGKILL");
  await gone;
});

function open() {
  const options = { url, model: null, apiKey: null, concurrency: "auto" } as const;
  return createLlamaServerDriver({ ...options, clock: systemClock, random: createRandom(1) });
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  listener.close();
  return typeof address === "object" && address !== null ? address.port : 0;
}

describe.skipIf(binary === undefined)(
  "a real llama-server (skipped unless COPPICE_LLAMA_SERVER names it)",
  () => {
    driverConformance("llama-server", {
      open: () => Promise.resolve({ driver: open(), close: () => Promise.resolve() }),
      request,
      sibling: (n) => ({ ...request, sample: n, seed: 100 + n, sampling: { ...sampling, temperature: 1.5 } }),
      stopping: { ...request, sampling: { ...sampling, temperature: 0, stop: ["\n"] } },
      lengthy: { ...request, sampling: { ...sampling, maxTokens: 3 } },
      slow: { ...request, sampling: { ...sampling, maxTokens: 200 } },
      score: { pieces: [{ text: "4 5 6 10\n5 6 6?" }], positive: " good", negative: " bad" },
    });

    it("is found out whole: its slots, its cache, that it stops what is left", async () => {
      const driver = open();
      expect(await driver.report(never)).toMatchObject({
        server: "llama-server",
        facts: {
          model: "game24-tiny",
          concurrency: 4,
          concurrencyMax: 4,
          contextTokens: 256,
          kvCapacityTokens: 1024,
          blockTokens: 1,
          reportsCachedTokens: true,
          sharesColdPrefixes: false,
          stepFloorMs: expect.any(Number),
        },
        abort: "stops",
        priority: null,
        missing: [],
      });
      const before = await driver.signals(never);
      const { usage } = await driver.sample(request, never);
      expect(usage.cachedTokens).toBeGreaterThan(0);
      const after = await driver.signals(never);
      expect(after?.promptTokensCached).toBe((before?.promptTokensCached ?? 0) + (usage.cachedTokens ?? 0));
      expect(after).toMatchObject({ running: 0, waiting: 0, cacheClears: 0 });
      await driver.close();
    });
  },
);
