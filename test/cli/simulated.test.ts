/** Sweeps on simulated hosts, as a person runs them. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { folder, run } from "./command.ts";

const SWEEP = `name: simulated
problems:
  - { id: a, prompt: "How many legs has a cat?\\n", reference: "4" }
  - { id: b, prompt: "How many days has a week, less the first?\\n", reference: "6" }
model: simulated
hosts:
  - { engine: simulated, id: one, speed: 1000, line_tokens: 16, mean_tokens: 64 }
  - { engine: simulated, id: two, speed: 1000, line_tokens: 16, mean_tokens: 64, profile: 70b-4xh100 }
sampling: { max_tokens: 200 }
strategies:
  - { strategy: best-of-n, n: 6 }
  - { strategy: beam-search, width: 4, expand: 2, max_steps: 3, step_stop: ["\\n"] }
verifier: { kind: numeric }
process_verifier: { kind: process-reward, prompt: "{prompt}{text}?", positive: " good", negative: " bad" }
deterministic: true
`;

interface Row {
  readonly problem: string;
  readonly text: string;
  readonly host: string;
}

describe("a sweep on two simulated hosts", () => {
  const place = folder({ "sweep.yaml": SWEEP });
  afterAll(() => place.remove());
  let ended: Awaited<ReturnType<typeof run>>[];
  beforeAll(async () => {
    ended = [
      await run(place.path, "run", "sweep.yaml", "--set", "output=first"),
      await run(place.path, "run", "sweep.yaml", "--set", "output=second"),
    ];
  });

  const rows = async (output: string): Promise<readonly Row[]> => {
    const text = await readFile(join(place.path, output, "rollouts.jsonl"), "utf8");
    // Rows of the program's own making.
    return text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Row);
  };

  test("searches by whole answers and by steps, and judges the steps on the hosts", async () => {
    expect(ended[0]).toMatchObject({ status: 0, said: "" });
    expect(ended[0]?.out).toContain("2 problems x 2 strategies: 4 completed");
    const summary: unknown = JSON.parse(await readFile(join(place.path, "first/summary.json"), "utf8"));
    expect(summary).toMatchObject({ usage: { cached_tokens: expect.any(Number) } });
    expect(["one", "two"]).toEqual(expect.arrayContaining((await rows("first")).map(({ host }) => host)));
  });

  test("gives the same texts again, whichever host served them", async () => {
    const texts = async (output: string) =>
      (await rows(output)).map(({ problem, text }) => `${problem}: ${text}`).toSorted();
    expect(ended[1]?.status).toBe(0);
    expect(await texts("second")).toEqual(await texts("first"));
  });

  test("is refused where a host's options are wrong, saying what was expected", async () => {
    const at = (setting: string) => run(place.path, "run", "sweep.yaml", "--set", setting);
    expect((await at("hosts.one.profile=8b-h1000")).said).toMatch(
      /expected one of 8b-h100, .*; found "8b-h1000"; did you mean "8b-h100"\?/,
    );
    expect((await at("hosts.one.speed=0")).said).toContain("speed");
  });
});
