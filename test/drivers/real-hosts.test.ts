/**
 * The drivers against engines that run already, wherever these are: COPPICE_VLLM_URL and COPPICE_SGLANG_URL name one each, with
 * any model that samples. (llama-server.test.ts starts its own.)
 */
import { describe } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import type { SampleRequest } from "../../workers/rollout/driver.ts";
import { createSglangDriver } from "../../workers/rollout/drivers/sglang.ts";
import { createVllmDriver } from "../../workers/rollout/drivers/vllm.ts";
import { driverConformance } from "../conformance/driver.ts";

const HOSTS = [
  ["COPPICE_VLLM_URL", createVllmDriver],
  ["COPPICE_SGLANG_URL", createSglangDriver],
] as const;
const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, maxTokens: 32, stop: [] };
const request: SampleRequest = {
  // Longer than a block of its cache, so that there is something to be found there.
  pieces: [{ text: "1 + 2 = 3\n2 + 2 = 4\n".repeat(20) }],
  problem: "sums",
  sample: 0,
  seed: 7,
  sampling,
};

for (const [variable, create] of HOSTS) {
  const url = process.env[variable];
  describe.skipIf(url === undefined)(`a real host (skipped unless ${variable} names it)`, () => {
    driverConformance(variable, {
      open() {
        const options = { url: url ?? "", model: null, apiKey: null, concurrency: "auto" } as const;
        const driver = create({ ...options, clock: systemClock, random: createRandom(1) });
        return Promise.resolve({ driver, close: () => Promise.resolve() });
      },
      request,
      sibling: (n) => ({ ...request, sample: n, seed: 100 + n, sampling: { ...sampling, temperature: 1 } }),
      // It goes on with sums. Four are the most that some servers take.
      stopping: { ...request, sampling: { ...sampling, maxTokens: 512, stop: ["\n", " ", "1", "="] } },
      lengthy: { ...request, sampling: { ...sampling, maxTokens: 3 } },
      slow: { ...request, sampling: { ...sampling, temperature: 1, maxTokens: 1_000 } },
      score: { pieces: [{ text: "1 + 2 =" }], positive: " 3", negative: " 4" },
    });
  });
}
