import { afterAll, describe, expect, test } from "vitest";
import { folder, run } from "./command.ts";

const SWEEP = `name: lab
problems: problems.jsonl
prompt_template: "You are a careful solver of problems. {prompt}"
model: llama
hosts: [{ engine: vllm, url: "http://127.0.0.1:9" }]
strategies: [{ strategy: best-of-n, n: 8 }, { strategy: beam-search, width: 4, expand: 2, max_steps: 20 }]
verifier: { kind: exact, extract: last-line }
process_verifier: { kind: process-reward, prompt: "{prompt}{text}?", positive: " good", negative: " bad" }
sampling: { max_tokens: 400 }
`;
const PROBLEMS = Array.from({ length: 20 }, (_, i) => {
  return `${JSON.stringify({ id: `p${i}`, prompt: `${i}`.padEnd(200, "x"), reference: "1" })}\n`;
}).join("");

const place = folder({ "sweep.yaml": SWEEP, "problems.jsonl": PROBLEMS });
afterAll(place.remove);

const plan = (...args: readonly string[]) => run(place.path, "plan", "sweep.yaml", ...args);

describe("coppice plan", () => {
  test("says how long, how many GPU-hours, what limits it, and what it assumes", async () => {
    const { status, out, said } = await plan("--host-profile", "70b-4xh100", "--hosts", "2");
    expect(said).toBe("");
    expect(status).toBe(0);
    expect(out).toContain("lab on 2 hosts like 70b-4xh100 (70B on 4xH100): a model, nothing was run");
    expect(out).toMatch(/^duration +\d/m);
    expect(out).toMatch(/^GPU-hours +\d/m);
    expect(out).toMatch(/^limited by +\S/m);
    expect(out).toMatch(/^open trees a host +\d/m);
    expect(out).toMatch(/^hosts +duration +GPU-hours\n1 .*\n2 .*\n4 /m);
    expect(out).toContain("best-of-n: 200 tokens an answer on average (half of max_tokens");
    expect(out).toContain("beam-search: 200 tokens an answer in 10 steps of 20 on average");
    expect(out).toContain("4 GPUs each");
  });

  test("gives the same as JSON, by what it was told to assume", async () => {
    const args = ["--host-profile", "8b-h100", "--hosts", "1", "--json"];
    const told = ["--kv-tokens", "50000", "--tokens-per-rollout", "100", "--steps-per-answer", "5"];
    const { status, out } = await plan(...args, ...told, "--set", "seed=3");
    expect(status).toBe(0);
    const made = JSON.parse(out) as Record<string, number>;
    expect(made).toMatchObject({
      sweep: "lab",
      hosts: 1,
      kv_tokens: 50_000,
      problems: 20,
      tasks: 40,
      simulated_hosts: 1,
      simulated_problems: 20,
      other_hosts: [{ hosts: 2 }],
      assumes: {
        arms: [
          { arm: "best-of-n", answer_tokens: 100, step_tokens: null, steps: null },
          { arm: "beam-search", answer_tokens: 100, step_tokens: 20, steps: 5 },
        ],
        // What the template begins with.
        root_tokens: 9,
      },
    });
    // 8 answers of 100, and 5 rounds of 4 steps of 20, about.
    expect((made["completion_tokens"] ?? 0) / (20 * 1_200)).toBeCloseTo(1, 0.5);
    expect(made["duration_ms"]).toBeGreaterThanOrEqual(made["least_duration_ms"] ?? Infinity);
    expect(made["gpu_hours"]).toBeCloseTo((made["duration_ms"] ?? 0) / 3_600_000, 6);
  });

  test("says how much of a sweep it simulated, and that a budget ends it", async () => {
    const args = ["--host-profile", "8b-h100", "--hosts", "2", "--problems", "8"];
    const { out } = await plan(...args, "--set", "budget.wall=1s");
    expect(out).toContain("8 of 20 problems on 2 of 2 hosts were simulated, and scaled up");
    expect(out).toContain("the budget allows 1.0s: the sweep would end before it is done");
  });

  test("refuses a profile that is none, hosts below one, and prompts that fit no host", async () => {
    const unknown = await plan("--host-profile", "8b-h10", "--hosts", "2");
    expect(unknown.status).toBe(1);
    expect(unknown.said).toContain('found "8b-h10"; did you mean "8b-h100"?');
    const none = await plan("--host-profile", "8b-h100", "--hosts", "0");
    expect(none.status).toBe(1);
    expect(none.said).toContain("Expected a whole number from 1");
    const small = await plan("--host-profile", "8b-h100", "--hosts", "1", "--kv-tokens", "300");
    expect(small.status).toBe(1);
    expect(small.said).toContain("expected prompts and answers to fit 300 tokens together");
  });

  test("names its options", async () => {
    const { status, out } = await run(place.path, "plan", "--help");
    expect(status).toBe(0);
    for (const option of [
      "--host-profile",
      "--hosts",
      "--kv-tokens",
      "--tokens-per-rollout",
      "--problems",
      "--json",
    ])
      expect(out).toContain(option);
    expect(out).toContain("70b-8xh100");
  });
});
