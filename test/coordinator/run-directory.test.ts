import { mkdtemp, readFile, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import {
  beginAttempt,
  createRunDirectory,
  hashRunProblems,
  readRunProblems,
  Rows,
} from "../../services/coordinator/run-directory.ts";
import type { Problem } from "../../services/coordinator/sweep.ts";

const problems: Problem[] = ["a", "b\u2028c"].map((prompt, n) => ({
  id: `p${n}`,
  prompt,
  reference: null,
  tests: null,
  metadata: {},
}));
const content = { given: "name: x\n", resolved: "name: x\nseed: 0\n", problems };

let parent: string;
let path: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "run-"));
  path = join(parent, "x");
});

describe("run directory", () => {
  test("holds the sweep as given, as resolved, and the problems, under one hash", async () => {
    let told: unknown;
    await createRunDirectory(path, content, async (_, file) => {
      told = file;
    });
    expect(await hashRunProblems(path)).toEqual(told);
    const read: Problem[] = [];
    for await (const problem of readRunProblems(path)) read.push(problem);
    expect(read).toEqual(problems);
    expect(await readFile(join(path, "sweep.yaml"), "utf8")).toBe("name: x\n");
  });

  test("one that exists is refused with the way to go on", async () => {
    await createRunDirectory(path, content, async () => undefined);
    await expect(createRunDirectory(path, content, async () => undefined)).rejects.toThrow(/--resume/);
  });

  test("of two made at once under one name one is whole and the other is refused", async () => {
    const outcomes = await Promise.allSettled(
      [1, 2].map(() => createRunDirectory(path, content, async () => undefined)),
    );
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect((await hashRunProblems(path)).count).toBe(2);
    expect(await readdir(parent)).toEqual(["x"]);
  });

  test("a failure half way leaves nothing behind", async () => {
    const failing = createRunDirectory(path, { ...content, problems: [] }, async () => undefined);
    await expect(failing).rejects.toThrow(/expected at least one problem/);
    expect(await readdir(parent)).toEqual([]);
  });

  test("rows behind the last settled entry are cut off when the run is opened again", async () => {
    await createRunDirectory(path, content, async () => undefined);
    const rows = await Rows.open(path, { rolloutsEnd: 0, resultsEnd: 0 });
    const ends = await rows.append([{ n: 1 }, { n: 2 }], { r: 1 });
    await rows.append([{ n: 3 }], { r: 2 });
    await rows.close();
    await (await Rows.open(path, ends)).close();
    expect(await readFile(join(path, "rollouts.jsonl"), "utf8")).toBe('{"n":1}\n{"n":2}\n');
    expect(await readFile(join(path, "results.jsonl"), "utf8")).toBe('{"r":1}\n');
  });

  test("each attempt gets its own folder of logs and latest points at the last", async () => {
    await createRunDirectory(path, content, async () => undefined);
    expect((await beginAttempt(path)).attempt).toBe(1);
    const { attempt, logs } = await beginAttempt(path);
    await writeFile(join(logs, "x.log"), "line");
    expect(attempt).toBe(2);
    expect(await readFile(join(path, "logs", "latest", "x.log"), "utf8")).toBe("line");
  });
});
