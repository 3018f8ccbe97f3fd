/** What bench/two-hosts.ts stands on: its model, and its placement in turns. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { examplesInOrder, tokensOfPrompt } from "../../bench/two-hosts/few-shot.ts";
import { inTurns } from "../../bench/two-hosts/in-turns.ts";
import { BEGIN, longPromptModel } from "../../bench/two-hosts/long-prompt-model.ts";
import { createMemoryLanes } from "../../services/queue/memory-lanes.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { createEmbeddedDriver } from "../../workers/rollout/drivers/embedded.ts";
import type { Driver } from "../../workers/rollout/driver.ts";
import { rolloutJobs } from "../support/jobs.ts";

const SHIPPED = new URL("../../models/game24/game24-tiny.gguf", import.meta.url).pathname;
const signal = new AbortController().signal;

async function textBehind(driver: Driver, prompt: string) {
  const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0, maxTokens: 40, stop: [] };
  const request = { pieces: [{ text: prompt }], problem: "p", sample: 0, seed: 1, sampling };
  return driver.sample(request, signal);
}

describe("the model for long prompts", () => {
  test("writes behind a thousand tokens of letters what the shipped model writes behind none", async () => {
    const folder = await mkdtemp(join(tmpdir(), "long-prompt-"));
    const modelPath = join(folder, "model.gguf");
    await writeFile(modelPath, longPromptModel(await readFile(SHIPPED), 1_280));
    const options = { sequences: 2, reproducible: false };
    const shipped = createEmbeddedDriver({ ...options, modelPath: SHIPPED });
    const long = createEmbeddedDriver({ ...options, modelPath });
    onTestFinished(async () => {
      await Promise.all([shipped.close(), long.close()]);
      await rm(folder, { recursive: true, force: true });
    });
    const examples = examplesInOrder(createRandom(1));
    for (const puzzle of ["4 5 6 10", "3 5 8 13"]) {
      const alone = await textBehind(shipped, `${puzzle}\n`);
      const behind = await textBehind(long, `${examples}${BEGIN}${puzzle}\n`);
      expect(behind.result.text).toBe(alone.result.text);
      expect(behind.usage.promptTokens).toBe(tokensOfPrompt(examples, puzzle).length);
      expect(behind.usage.promptTokens).toBeGreaterThan(900);
    }
  });
});

describe("placement in turns", () => {
  test("puts the jobs of one lane into all hosts' lanes alike, and misses none of them", async () => {
    const lanes = createMemoryLanes({ clock: systemClock, random: createRandom(1) });
    onTestFinished(() => lanes.close());
    const names = ["host-a", "host-b"];
    const jobs = rolloutJobs(6);
    const lane = inTurns(lanes, names).lane("host-a");
    await lane.add(jobs);
    const depths = await Promise.all(names.map((name) => lanes.lane(name).depth()));
    expect(depths.map(({ waiting }) => waiting)).toEqual([3, 3]);
    const ids = jobs.map(({ id }) => id);
    expect(await lane.missing([...ids, "lost"])).toEqual(["lost"]);
    await lane.remove(ids);
    expect(await lane.missing(ids)).toEqual(ids);
  });

  test("leaves the lanes of verifiers as they are", async () => {
    const lanes = createMemoryLanes({ clock: systemClock, random: createRandom(1) });
    onTestFinished(() => lanes.close());
    const lane = inTurns(lanes, ["host-a", "host-b"]).lane("verify-game24");
    await lane.add(rolloutJobs(3));
    expect((await lanes.lane("verify-game24").depth()).waiting).toBe(3);
  });
});
