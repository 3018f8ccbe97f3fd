import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { folder, PUZZLES, RECORDS, REPLAY_SWEEP, run } from "./command.ts";

const FILES = { "sweep.yaml": REPLAY_SWEEP, "puzzles.jsonl": PUZZLES, "records.jsonl": RECORDS };

describe("coppice summary", () => {
  const place = folder(FILES);
  afterAll(() => place.remove());
  const file = join(place.path, "runs/replay/summary.json");
  beforeAll(() => run(place.path, "run", "sweep.yaml"));

  test("shows a row for each k, each estimate with its interval, and the account of every task", async () => {
    const { status, out } = await run(place.path, "summary", "runs/replay");
    expect(status).toBe(0);
    const lines = out.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^strategy +solved/);
    expect(lines).toContain("best-of-n: mean over 2 problems (95% interval over problems)");
    expect(out).toMatch(/^k +pass@k +pass\^k +best-of-n@k/m);
    // One of two samples solves the first puzzle, none of two the second.
    expect(out).toMatch(/^1 +0\.2500 \(0\.\d{3}-0\.\d{3}\) +0\.2500 /m);
    expect(out).toMatch(/^2 +0\.5000 \(0\.\d{3}-0\.\d{3}\) +0\.0000 \(0\.000-0\.\d{3}\) +0\.5000 /m);
    expect(lines.at(-1)).toBe("2 problems x 1 strategy: 2 completed");
  });

  test("--json is summary.json on one line", async () => {
    const { out } = await run(place.path, "summary", "runs/replay", "--json");
    expect(JSON.parse(out)).toEqual(JSON.parse(await readFile(file, "utf8")));
    expect(out.trimEnd()).not.toContain("\n");
  });

  test("a run that has no summary, and one that is damaged, are refused by name", async () => {
    const text = await readFile(file, "utf8");
    const none = await run(place.path, "summary", "runs/nowhere");
    expect(none).toMatchObject({ status: 1 });
    expect(none.said).not.toContain("--resume");
    expect(none.said).toMatch(/nowhere\/summary\.json: expected the summary of a run.*ENOENT/);
    await rm(file);
    const begun = await run(place.path, "summary", "runs/replay");
    expect(begun.said).toMatch(/if nothing works on it any more, go on with: .* run --resume runs\/replay$/m);
    await writeFile(file, text);
    const summary = JSON.parse(text);
    summary.strategies["best-of-n"].estimates.pass_at_k["1"].mean = "many";
    await writeFile(file, JSON.stringify(summary));
    const damaged = await run(place.path, "summary", "runs/replay");
    expect(damaged.said).toMatch(/summary\.json: strategies\.best-of-n\.estimates\.pass_at_k\.1\.mean: /);
    expect(damaged.status).toBe(1);
  });
});
