/** The published GPT-4 rollouts in one process, also one that is killed, and through a cluster of real processes. See test/chaos. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { beforeAll, describe, expect, test } from "vitest";
import { LocalCluster } from "../../deploy/local-cluster.ts";
import { CLI, coppice } from "../support/coppice.ts";
import { dataFile, dataLines, NO_DATA } from "../support/data.ts";
import { IS_LONG } from "../support/long.ts";
import { rowsOf } from "../support/in-process.ts";

const records = dataFile("game24/gpt4-cot-100.records.jsonl");
const hasRedis = spawnSync("redis-server", ["--version"]).status === 0;
const missing = records === null ? NO_DATA : hasRedis ? null : "needs redis-server, which is absent";

let directory: string;
let sweepFile: string;
let expected: Awaited<ReturnType<typeof rowsOf>>;

async function startCluster(
  name: string,
): Promise<{ readonly cluster: LocalCluster; readonly runs: string }> {
  const runs = join(directory, name, "runs");
  const worker = ["--engine", "replay", "--records", records ?? ""];
  const options = { directory: join(directory, name), runs, workers: [worker, worker], verifiers: 1 };
  return { cluster: await LocalCluster.start(options), runs };
}

describe.skipIf(missing !== null)(
  `the published GPT-4 rollouts${missing === null ? "" : ` (${missing})`}`,
  () => {
    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), "cluster-"));
      const problems = join(directory, "problems.jsonl");
      await writeFile(problems, `${dataLines("game24/puzzles.jsonl").slice(900, 1000).join("\n")}\n`);
      sweepFile = join(directory, "sweep.yaml");
      const sweep = {
        name: "gpt4",
        problems,
        model: "gpt-4",
        hosts: [{ engine: "replay", records }],
        sampling: { temperature: 0.7, max_tokens: 256 },
        strategies: [{ strategy: "best-of-n", n: 100 }],
        verifier: { kind: "game24" },
        seed: 1,
        output: join(directory, "in-process"),
      };
      await writeFile(sweepFile, JSON.stringify(sweep));
      const { status, err } = await coppice(["run", sweepFile]);
      expect({ status, err }).toMatchObject({ status: 0 });
      expected = await rowsOf(sweep.output);
    });

    test("in one process: 403 of 10,000 correct, pass@k as published, every verdict as graded", async () => {
      const rows = expected.rollouts.map((line) => JSON.parse(line));
      expect(rows.length).toBe(10_000);
      expect(rows.filter((row) => row.verdict === "correct").length).toBe(403);
      const graded = dataLines("game24/gpt4-cot-100.records.jsonl").map((line) => JSON.parse(line));
      const verdicts = new Map(rows.map((row) => [`${row.problem}/${row.sample}`, row.verdict]));
      const disagreeing = graded.filter((record) => {
        return (verdicts.get(`${record.problem}/${record.sample}`) === "correct") !== (record.graded === 1);
      });
      expect(disagreeing).toEqual([]);
      const summary = JSON.parse(await readFile(join(directory, "in-process", "summary.json"), "utf8"));
      const passAt = summary.strategies["best-of-n"].pass_at_k;
      const published = {
        1: 0.0403,
        2: 0.0728,
        5: 0.14292,
        10: 0.214769,
        20: 0.295489,
        50: 0.406848,
        100: 0.49,
      };
      for (const [k, value] of Object.entries(published)) expect(passAt[k]).toBeCloseTo(value, 5);
      const { estimates } = summary.strategies["best-of-n"];
      for (const [k, value] of Object.entries(published)) {
        // The verifier is exact: what it scores highest, and what a vote weighs by its score, is correct where any is.
        for (const name of ["pass_at_k", "best_of_at_k"])
          expect(estimates[name][k].mean).toBeCloseTo(value, 5);
        expect(estimates.pass_at_k[k]).toMatchObject({ problems: 100 });
        expect(estimates.pass_at_k[k].low).toBeLessThan(value);
        expect(estimates.pass_at_k[k].high).toBeGreaterThan(value);
      }
      expect(estimates.pass_hat_k[1].mean).toBeCloseTo(0.0403, 12);
      expect(estimates.pass_hat_k[100].mean).toBe(0);
    });

    test("on a cluster: the rows of the run in one process (I4)", async () => {
      const { cluster, runs } = await startCluster("undisturbed");
      try {
        const { status, err } = await coppice([
          "submit",
          sweepFile,
          "--watch",
          "--coordinator",
          cluster.coordinator,
        ]);
        expect({ status, err }).toMatchObject({ status: 0 });
        expect(await rowsOf(join(runs, "in-process"))).toEqual(expected);
      } finally {
        await cluster.stop();
      }
    });

    test("in one process that is killed again and again, and resumed: the same rows", async () => {
      const output = join(directory, "killed-alone");
      const first = ["run", sweepFile, "--json", "--set", `output=${output}`];
      for (let kills = 0; kills < (IS_LONG ? 12 : 3); kills += 1) {
        await killedAfterTasks(kills === 0 ? first : ["run", "--resume", output, "--json"], 5);
      }
      const { status, err } = await coppice(["run", "--resume", output]);
      expect({ status, err }).toMatchObject({ status: 0 });
      expect(await rowsOf(output)).toEqual(expected);
    }, 300_000);
  },
);

/** Runs the command and kills it as soon as so many tasks have settled in this attempt. */
async function killedAfterTasks(args: readonly string[], tasks: number): Promise<void> {
  const child = spawn(process.execPath, [CLI, ...args], { stdio: ["ignore", "pipe", "ignore"] });
  const gone = new Promise((done) => child.once("exit", done));
  let settled = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    if (JSON.parse(line).kind === "task") settled += 1;
    if (settled >= tasks) child.kill("SIGKILL");
  }
  await gone;
  expect(settled).toBeGreaterThanOrEqual(tasks);
}
