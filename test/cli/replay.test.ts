/** What-if on records: the production coordinator over published rollouts, and over a run's own rows. */
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { passAtK } from "../../services/search/estimators.ts";
import { coppice } from "../support/coppice.ts";
import { dataFile, dataLines, NO_DATA } from "../support/data.ts";

interface Point {
  readonly allocator: string;
  readonly budget: number;
  readonly accuracy: { readonly mean: number };
  readonly coverage: { readonly mean: number; readonly min: number; readonly max: number };
  readonly rollouts: number;
  readonly tokens: number;
}

async function replay(...args: readonly string[]): Promise<readonly Point[]> {
  const { out, err, status } = await coppice(["replay", ...args, "--json"]);
  expect(status, err).toBe(0);
  return out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Point);
}

const RECORDS = dataFile("game24/gpt4-cot-100.records.jsonl");

describe.skipIf(RECORDS === null)(`over published answers${RECORDS === null ? ` (${NO_DATA})` : ""}`, () => {
  test("5,000 of 10,000 rollouts: equal shares cover 0.407 of the puzzles, stop-on-verified at least 0.45", async () => {
    const directory = await mkdtemp(join(tmpdir(), "replay-"));
    const problems = join(directory, "problems.jsonl");
    await writeFile(problems, dataLines("game24/puzzles.jsonl").slice(900, 1000).join("\n"));
    const sweep = resolve(import.meta.dirname, "../../bench/allocators.yaml");
    const allocate = [
      "--allocate",
      "uniform,stop-on-verified",
      "--budget",
      "5000",
      "--set",
      `problems=${problems}`,
    ];
    const [uniform, stopOnVerified] = await replay(sweep, ...allocate);
    // Of the recorded order; over all orders pass@50 says what to expect.
    const graded = dataLines("game24/gpt4-cot-100.records.jsonl").map(
      (line) => JSON.parse(line) as { readonly problem: string; readonly graded: number }, // A line of the data set.
    );
    const puzzles = [...Map.groupBy(graded, ({ problem }) => problem).values()];
    const expected = puzzles.reduce((sum, answers) => {
      const correct = answers.filter((answer) => answer.graded === 1).length;
      return sum + passAtK(answers.length, correct, 50) / puzzles.length;
    }, 0);
    expect(expected).toBeCloseTo(0.407, 3);
    expect(uniform?.rollouts).toBe(5_000);
    expect(Math.abs((uniform?.coverage.mean ?? 0) - expected)).toBeLessThan(0.03);
    expect(stopOnVerified?.rollouts).toBe(5_000);
    expect(stopOnVerified?.coverage.mean).toBeGreaterThanOrEqual(0.45);
  }, 120_000);
});

describe("over the rows of a run", () => {
  let run: string;
  beforeAll(async () => {
    run = join(await mkdtemp(join(tmpdir(), "replayed-")), "run");
    const rows = Array.from({ length: 24 }, (_, i) => {
      const [problem, sample] = [`p${i % 4}`, Math.floor(i / 4)];
      // Nobody would find these right: the verdicts are the run's own.
      const verdict = (i % 4) + sample > 5 ? "correct" : "incorrect";
      return {
        task: `best-of-n/${problem}`,
        problem,
        strategy: "best-of-n",
        sample,
        depth: 0,
        text: `${sample}`,
        finish_reason: "stop",
        verdict,
        score: null,
        answer: `${sample}`,
        reason: null,
        usage: { completion_tokens: 10 },
      };
    });
    const sweep = `problems: [${["p0", "p1", "p2", "p3"].map((id) => `{ id: ${id}, prompt: ${id}, reference: x }`).join(", ")}]
model: m
hosts: []
strategies: [{ strategy: best-of-n, n: 6 }]
verifier: { kind: exact }
`;
    await writeRun(run, sweep, rows);
  });

  test("its verdicts are reused, its tokens counted, and a solved task leaves its share to others", async () => {
    const points = await replay(
      run,
      "--allocate",
      "uniform,{kind: stop-on-verified, round: 1}",
      "--budget",
      "16,24",
    );
    expect(points.map(({ allocator, budget }) => `${allocator} ${budget}`)).toEqual([
      "uniform 16",
      "stop-on-verified(round=1) 16",
      "uniform 24",
      "stop-on-verified(round=1) 24",
    ]);
    // Correct from sample 5, 4 and 3 on, of p1, p2 and p3.
    expect(points.map(({ coverage }) => coverage.mean)).toEqual([0.25, 0.25, 0.75, 0.75]);
    expect(points.map(({ rollouts }) => rollouts)).toEqual([16, 16, 24, 21]);
    expect(points.map(({ tokens }) => tokens)).toEqual([160, 160, 240, 210]);
  });

  test("seeds draw other samples, and tell the spread; the picture names every allocator", async () => {
    const svg = join(run, "..", "frontier.svg");
    const args = ["--allocate", "uniform,halving", "--budget", "8", "--seeds", "6", "--svg", svg];
    const [uniform] = await replay(run, ...args);
    expect(uniform?.coverage.max).toBeGreaterThan(uniform?.coverage.min ?? 1);
    const drawn = await readFile(svg, "utf8");
    expect(drawn).toMatch(/>uniform<[\s\S]*>halving</);
  });

  test("another strategy over all that is on record, without a word about allocators and budgets", async () => {
    const [point] = await replay(run, "--strategy", "self-consistency");
    // Of each puzzle 6 answers, all different: the first one is chosen.
    expect(point).toMatchObject({ allocator: "uniform", budget: 24, rollouts: 24, coverage: { mean: 0.75 } });
    expect(point?.accuracy.mean).toBe(0);
  });

  test("steps of a search are no answers, and a strategy that goes on from its steps is refused", async () => {
    const steps = (await readFile(join(run, "rollouts.jsonl"), "utf8")).replaceAll("best-of-n", "mcts");
    const tree = `${run}-tree`;
    await writeRun(
      tree,
      (await readFile(join(run, "resolved.yaml"), "utf8")).replace(
        "{ strategy: best-of-n, n: 6 }",
        '{ strategy: best-of-n, n: 6 }, { strategy: mcts, step_stop: ["\\n"] }',
      ) + "process_verifier: { kind: process-reward }\n",
      [
        ...(await readFile(join(run, "rollouts.jsonl"), "utf8"))
          .trim()
          .split("\n")
          .map((row) => JSON.parse(row) as object),
        ...steps
          .trim()
          .split("\n")
          .map((row) => JSON.parse(row) as object),
      ],
    );
    const [point] = await replay(tree, "--strategy", "best-of-n");
    expect(point?.budget).toBe(24);
    const { err, status } = await coppice(["replay", tree]);
    expect(status).toBe(1);
    expect(err).toContain("mcts: cannot be replayed: it goes on from what it sampled");
    const weighted = await coppice(["replay", run, "--strategy", "{strategy: noisy-channel}"]);
    expect(weighted.err).toContain("and has likelihood, and there are only records");
  });

  test("what cannot be replayed is told: allocators, budgets, and places without records", async () => {
    const said = async (...args: readonly string[]): Promise<string> =>
      (await coppice(["replay", ...args])).err;
    expect(await said(run, "--allocate", "unifrom", "--budget", "5")).toContain('did you mean "uniform"?');
    expect(await said(run, "--allocate", "uniform", "--budget", "five")).toContain("whole numbers from 1");
    expect(await said(`${run}-none`, "--allocate", "uniform", "--budget", "5")).toContain(
      "expected a run directory or a sweep file",
    );
  });
});

async function writeRun(run: string, sweep: string, rows: readonly object[]): Promise<void> {
  await mkdir(run, { recursive: true });
  const problems = ["p0", "p1", "p2", "p3"].map((id) => ({
    id,
    prompt: id,
    reference: "x",
    tests: null,
    metadata: {},
  }));
  await writeFile(join(run, "resolved.yaml"), sweep);
  await writeFile(join(run, "problems.jsonl"), `${problems.map((one) => JSON.stringify(one)).join("\n")}\n`);
  await writeFile(join(run, "rollouts.jsonl"), `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`);
}
