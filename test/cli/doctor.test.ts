import { afterAll, afterEach, describe, expect, test } from "vitest";
import { startOpenaiServer, type OpenaiServerOptions } from "../support/openai-server.ts";
import { folder, run } from "./command.ts";

describe("doctor --host", () => {
  const place = folder({});
  const opened: { close(): Promise<void> }[] = [];
  afterAll(() => place.remove());
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close();
  });

  async function hostOf(options: OpenaiServerOptions): Promise<string> {
    const server = await startOpenaiServer(options);
    opened.push(server);
    return server.url;
  }

  test("says what a host is and does, and which flag would add what is missing", async () => {
    const url = await hostOf({ kind: "vllm", reportsCachedTokens: true, version: "0.32.0" });
    const { status, out } = await run(place.path, "doctor", "--host", url);
    expect(status).toBe(0);
    const said = out.slice(out.indexOf(`ok       host ${url}: serves "tiny"`));
    for (const line of [
      /answers +vllm 0\.32\.0\n/,
      /context +4,096 tokens\n/,
      /KV cache +16,000 tokens, used again in blocks of 16\n/,
      /rollouts at once +begins with 8, finds its number up to 62\n/,
      /decode step +[\d.,]+ ms alone\n/,
      /cached tokens +reported \(\d+ of \d+ of a prompt that was asked before\)\n/,
      /abort +stops a rollout whose connection is closed\n/,
      /priority +none\n/,
      /now +0 running, 0 waiting, KV cache 0%, 0 preemptions\n/,
      /missing +order by priority: start vLLM with --scheduling-policy priority\n/,
    ])
      expect(said).toMatch(line);
  });

  test("says all of it to a program, and takes nothing for zero that is unknown", async () => {
    const url = await hostOf({ kind: "other" });
    const { out } = await run(place.path, "doctor", "--host", url, "--json");
    const found: unknown = JSON.parse(out.trim().split("\n").at(-1) ?? "");
    expect(found).toMatchObject({
      check: `host ${url}`,
      state: "ok",
      report: {
        server: "other",
        facts: { kvCapacityTokens: null, blockTokens: null, reportsCachedTokens: false },
        abort: "unknown",
        priority: null,
        reading: null,
      },
    });
  });

  test("says of a decoding step that it was not measured", async () => {
    const url = await hostOf({ kind: "other", reportsUsage: false });
    const { status, out } = await run(place.path, "doctor", "--host", url);
    expect(status).toBe(0);
    expect(out).toMatch(/decode step +not measured\n/);
  });

  test("insists on the engine and the model that were named", async () => {
    const url = await hostOf({ kind: "sglang" });
    const [other, absent] = await Promise.all([
      run(place.path, "doctor", "--host", url, "--engine", "vllm"),
      run(place.path, "doctor", "--host", url, "--engine", "sglang", "--model", "large"),
    ]);
    expect(other.status).toBe(1);
    expect(other.out).toMatch(/missing +host .*expected a host of the engine vllm .* owned by "sglang"/);
    expect(absent.out).toMatch(/missing +host .*expected the model "large", found tiny/);
    const wrong = await run(place.path, "doctor", "--host", url, "--engine", "tgi");
    expect(wrong.said).toMatch(/Allowed choices are openai, vllm, sglang, llama-server/);
  });
});
