/** Verifying a run again, with a verifier that fails. */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  scoreRun,
  type ScoredCandidate,
  type ScoreParts,
} from "../../services/coordinator/score/score-run.ts";
import type { Summary } from "../../services/coordinator/status.ts";
import { NO_USAGE } from "../../services/coordinator/usage.ts";
import type { VerdictResult } from "../../services/queue/job.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { arm, newSweep } from "../support/in-process.ts";

const RIGHT: VerdictResult = { kind: "verdict", verdict: "correct", score: 1, answer: "x", reason: null };
const PROBLEMS = ["p", "q", "r"];

/** A run of three problems with two candidates each, verified again by `verify`. */
async function scored(
  verify: ScoreParts["verify"],
): Promise<{ readonly summary: Promise<Summary>; readonly output: string; readonly folder: string }> {
  const before = await newSweep({ arms: [arm("best-of-n", { n: 2 })] });
  await mkdir(before.output);
  const write = (name: string, rows: readonly unknown[]): Promise<void> =>
    writeFile(join(before.output, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const placeOf = (problem: string) => ({ task: `best-of-n/${problem}`, problem, strategy: "best-of-n" });
  await write("sweep.yaml", []);
  await write(
    "problems.jsonl",
    PROBLEMS.map((id) => ({ id, prompt: `${id}?`, reference: null, tests: null, metadata: {} })),
  );
  const judgment = { verdict: "incorrect", score: 0, answer: null };
  await write(
    "rollouts.jsonl",
    PROBLEMS.flatMap((problem) =>
      ["0.0/0", "0.1/0"].map((ask, sample) => {
        const sampled = { ask, sample, parent: null, text: `${problem}${sample}`, finish_reason: "stop" };
        return { ...placeOf(problem), ...sampled, ...judgment };
      }),
    ),
  );
  await write(
    "results.jsonl",
    PROBLEMS.map((problem) => {
      const settled = { state: "completed", selection: "highest-score", candidate: "0.0/0", usage: NO_USAGE };
      return { ...placeOf(problem), ...settled, ...judgment };
    }),
  );
  const folder = dirname(before.output);
  const output = join(folder, "again");
  const summary = scoreRun(
    { before, after: { ...before, verifier: { kind: "exact" }, output } },
    {
      verify,
      clock: systemClock,
      version: "test",
      signal: new AbortController().signal,
      onProgress: () => undefined,
      limits: { retryMs: 0, attemptsMax: 3 },
    },
  );
  return { summary, output, folder };
}

const away = (): CoppiceError => new CoppiceError("unavailable", "nobody answers");

describe("a verifier that fails", () => {
  test("for a while is asked again", async () => {
    const asked = new Map<string, number>();
    const { summary } = await scored(({ text }) => {
      asked.set(text, (asked.get(text) ?? 0) + 1);
      return text === "q1" && asked.get(text) === 1 ? Promise.reject(away()) : Promise.resolve(RIGHT);
    });
    expect((await summary).agreement).toMatchObject({ lost: 0, verdicts: { incorrect: { correct: 6 } } });
    expect(asked.get("q1")).toBe(2);
  });

  test("for good leaves that candidate without a verdict, and says so", async () => {
    const { summary, output } = await scored(({ text }) =>
      text === "q0" ? Promise.reject(away()) : Promise.resolve(RIGHT),
    );
    expect(await summary).toMatchObject({ agreement: { lost: 1, selected_again: 3 }, state: "completed" });
    const rows = (await readFile(join(output, "results.jsonl"), "utf8")).split("\n").slice(0, -1);
    expect(rows.map((row) => (JSON.parse(row) as { candidate: string }).candidate)).toEqual([
      "0.0/0",
      "0.1/0",
      "0.0/0",
    ]);
  });

  test("for a reason that no trying mends ends it, and leaves nothing", async () => {
    const { summary, folder } = await scored(({ text }) =>
      text === "r1"
        ? Promise.reject(new CoppiceError("failed_precondition", "no sandbox here"))
        : Promise.resolve(RIGHT),
    );
    await expect(summary).rejects.toThrow("no sandbox here");
    expect(await readdir(folder)).toEqual(["run"]);
  });
});

test("rows stand in the order of the problems, whatever is verified first", async () => {
  const waiting: (() => void)[] = [];
  const seen: string[] = [];
  // Every verdict waits until all are asked for; then the last is given first.
  const verify = ({ text }: ScoredCandidate): Promise<VerdictResult> =>
    new Promise((resolve) => {
      waiting.push(() => {
        seen.push(text);
        resolve(RIGHT);
      });
      if (waiting.length === 6) for (const give of waiting.toReversed()) give();
    });
  const { summary, output } = await scored(verify);
  await summary;
  expect(seen[0]).toBe("r1");
  const rows = (await readFile(join(output, "rollouts.jsonl"), "utf8")).split("\n").slice(0, -1);
  expect(rows.map((row) => (JSON.parse(row) as { text: string }).text)).toEqual([
    "p0",
    "p1",
    "q0",
    "q1",
    "r0",
    "r1",
  ]);
});
