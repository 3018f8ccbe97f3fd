/** The shipped model in one process and on a cluster of processes: llama.cpp's arithmetic included, the same rows. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { LocalCluster } from "../../deploy/local-cluster.ts";
import { coppice } from "../support/coppice.ts";
import { IS_LONG } from "../support/long.ts";
import { rowsOf } from "../support/in-process.ts";

const hasRedis = spawnSync("redis-server", ["--version"]).status === 0;
const root = resolve(import.meta.dirname, "../..");

describe.skipIf(!hasRedis)(`the demo${hasRedis ? "" : " (needs redis-server, which is absent)"}`, () => {
  test("with deterministic: true, on two hosts of a cluster gives the rows of one process (I4)", async () => {
    const directory = await mkdtemp(join(tmpdir(), "demo-"));
    const puzzles = await readFile(join(root, "models/game24/demo-puzzles.jsonl"), "utf8");
    const problems = join(directory, "problems.jsonl");
    await writeFile(
      problems,
      puzzles
        .split("\n")
        .slice(0, IS_LONG ? 12 : 3)
        .join("\n"),
    );
    const output = join(directory, "demo");
    const sets = [`problems=${problems}`, `output=${output}`, "deterministic=true"];
    const args = [join(root, "examples/game24.yaml"), ...sets.flatMap((set) => ["--set", set])];
    expect(await coppice(["run", ...args])).toMatchObject({ status: 0 });
    const runs = join(directory, "runs");
    const worker = ["--engine", "embedded"];
    const cluster = await LocalCluster.start({ directory, runs, workers: [worker, worker], verifiers: 1 });
    try {
      const submitted = await coppice(["submit", ...args, "--watch", "--coordinator", cluster.coordinator]);
      expect(submitted).toMatchObject({ status: 0 });
    } finally {
      await cluster.stop();
    }
    const rows = await rowsOf(output);
    expect(rows.rollouts.length).toBeGreaterThan(150);
    expect(await rowsOf(join(runs, "demo"))).toEqual(rows);
  }, 300_000);
});
