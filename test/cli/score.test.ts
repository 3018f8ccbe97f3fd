import { cpSync, existsSync, readdirSync } from "node:fs";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { folder, run, start } from "./command.ts";

type Row = Readonly<Record<string, unknown>>;

/** Candidates of "6 x 7 = ?" (42): read by their last number the first and the last are right, read as they stand the second. */
const TEXTS = ["it is 42", "42", "41", "41, no: 42"];
const SWEEP = `name: asked
problems: problems.jsonl
model: recorded
hosts: [{ engine: replay, records: records.jsonl }]
strategies: [{ strategy: best-of-n, n: 4 }, { strategy: self-consistency, n: 4 }, { strategy: first-correct, n: 4 }]
verifier: { kind: exact }
output: run
`;
const place = folder({
  "sweep.yaml": SWEEP,
  "problems.jsonl": '{"id": "q", "prompt": "6 x 7 = ?", "reference": "42"}\n{"id": "r", "prompt": "lost"}\n',
  "records.jsonl": TEXTS.map((text, sample) => {
    return `${JSON.stringify({ problem: "q", prompt: "6 x 7 = ?", sample, text, finish_reason: "stop" })}\n`;
  }).join(""),
});
afterAll(() => place.remove());
beforeAll(async () => {
  expect(await run(place.path, "run", "sweep.yaml")).toMatchObject({ status: 0 });
});

const read = (name: string): Promise<string> => readFile(join(place.path, name), "utf8");

async function rows(name: string): Promise<readonly Row[]> {
  const lines = (await read(name)).split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Row);
}

const byTask = (all: readonly Row[]): ReadonlyMap<unknown, Row> =>
  new Map(all.map((row) => [row["task"], row]));

describe("coppice score", () => {
  test("with the same verifier gives the same rows and results", async () => {
    const { status, out } = await run(place.path, "score", "run", "--verifier", "exact", "--out", "same");
    expect(status).toBe(0);
    expect(out).toMatch(/^exact correct +\d+ +0 +0$/m);
    expect(out).toMatch(/^(\d+) of \1 verdicts agree \(100\.0%\)$/m);
    const sorted = async (name: string): Promise<readonly string[]> =>
      (await read(name)).split("\n").toSorted();
    expect(await sorted("same/rollouts.jsonl")).toEqual(await sorted("run/rollouts.jsonl"));
    expect(await sorted("same/results.jsonl")).toEqual(await sorted("run/results.jsonl"));
    const [before, after] = [await read("run/summary.json"), await read("same/summary.json")].map((text) =>
      JSON.parse(text),
    );
    expect(after.strategies).toEqual(before.strategies);
    expect(after.tasks).toEqual(before.tasks);
  });

  describe("with another verifier", () => {
    let before: readonly string[] = [];
    let out = "";
    beforeAll(async () => {
      before = [
        await read("run/rollouts.jsonl"),
        await read("run/results.jsonl"),
        await read("run/summary.json"),
      ];
      const scored = await run(place.path, "score", "run", "--verifier", "kind=numeric,extract=last-number");
      expect(scored).toMatchObject({ status: 0, said: "" });
      out = scored.out;
    });

    test("writes every row again with the new verdict, score and answer, and all else as it was", async () => {
      const old = await rows("run/rollouts.jsonl");
      const now = await rows("run-numeric/rollouts.jsonl");
      expect(now).toHaveLength(old.length);
      const keyOf = ({ task, ask }: Row): string => `${String(task)} ${String(ask)}`;
      const written = new Map(old.map((row) => [keyOf(row), row]));
      for (const row of now) {
        const wasJudged = written.get(keyOf(row))?.["verdict"] !== null;
        const isRight = row["text"] !== "41";
        const judgment = {
          verdict: isRight ? "correct" : "incorrect",
          score: Number(isRight),
          answer: isRight ? "42" : "41",
          reason: isRight ? null : expect.stringContaining('expected "42"'),
        };
        expect(row).toEqual({ ...written.get(keyOf(row)), ...(wasJudged ? judgment : {}) });
      }
      expect(now.filter(({ strategy }) => strategy === "best-of-n").map(({ verdict }) => verdict)).toEqual([
        "correct",
        "correct",
        "incorrect",
        "correct",
      ]);
    });

    test("selects the answer again by the same rule, or keeps the candidate where rows do not tell the rule", async () => {
      const results = byTask(await rows("run-numeric/results.jsonl"));
      // Exact: the second alone is right, and each text is an answer of its own. Numeric: the first of three that are right.
      expect(byTask(await rows("run/results.jsonl")).get("best-of-n/q")).toMatchObject({
        candidate: "0.1/0",
      });
      expect(results.get("best-of-n/q")).toMatchObject({
        candidate: "0.0/0",
        answer: "42",
        score: 1,
        verdict: "correct",
      });
      expect(results.get("self-consistency/q")).toMatchObject({
        answer: "42",
        score: 0.75,
        verdict: "correct",
      });
      expect(results.get("first-correct/q")).toMatchObject({
        selection: "first-correct",
        candidate: "0.1/0",
        answer: "42",
        score: 1,
      });
      expect(results.get("best-of-n/r")).toMatchObject({ state: "failed", verdict: null, answer: null });
    });

    test("sums up as a run does, tells how the verifiers agree, and is a run directory", async () => {
      expect(out).toMatch(/^exact incorrect +\d+ +\d+ +0$/m);
      expect(out).toContain(
        "answers of 2 tasks selected again; those of 1 kept: rows do not tell how they were selected",
      );
      expect(out).toContain("2 problems x 3 strategies: 3 completed, 3 failed");
      const summary = JSON.parse(await read("run-numeric/summary.json"));
      expect(summary.strategies["best-of-n"]).toMatchObject({ problems: 2, solved: 1, accuracy: 0.5 });
      expect(summary.agreement).toMatchObject({ before: "exact", after: "numeric", lost: 0 });
      const shown = await run(place.path, "summary", "run-numeric", "--json");
      expect(JSON.parse(shown.out)).toEqual(summary);
      expect((await run(place.path, "summary", "run-numeric")).out).toMatch(
        /^exact incorrect +\d+ +\d+ +0$/m,
      );
      const resolved = parse(await read("run-numeric/resolved.yaml"));
      expect(resolved).toMatchObject({
        verifier: { kind: "numeric", extract: "last-number" },
        output: join(place.path, "run-numeric"),
        problems: join(place.path, "run-numeric/problems.jsonl"),
      });
      expect(await read("run-numeric/problems.jsonl")).toBe(await read("run/problems.jsonl"));
      const exported = await run(
        place.path,
        "export",
        "run-numeric",
        "--to",
        "sft",
        "--strategy",
        "best-of-n",
      );
      expect(exported.out).toContain("3 rows of 1 of 1 problems (3 of 4 rollouts verified)");
    });

    test("does not change the run that it read", async () => {
      expect([
        await read("run/rollouts.jsonl"),
        await read("run/results.jsonl"),
        await read("run/summary.json"),
      ]).toEqual(before);
    });
  });

  test.each([
    [
      "a verifier that is none",
      ["--verifier", "numbers"],
      "coppice: --verifier numbers: verifier.kind: expected one of",
    ],
    [
      "an option that is none",
      ["--verifier", "{kind: numeric, digits: 3}"],
      "--verifier {kind: numeric, digits: 3}: verifier.digits: unknown key",
    ],
    [
      "a verifier that needs hosts",
      ["--verifier", "process-reward"],
      `"process-reward" runs on a sweep's hosts, and \`coppice score\` starts none`,
    ],
    [
      "no map",
      ["--verifier", "[1]"],
      "--verifier [1]: expected a kind, KEY=VALUE pairs with a kind, or a map",
    ],
    [
      "a directory that exists",
      ["--verifier", "numeric", "--out", "run"],
      "run: expected a new run directory, found one that exists; name another with --out",
    ],
  ])("refuses %s", async (_, args, expected) => {
    const { status, said } = await run(place.path, "score", "run", ...args);
    expect(said).toContain(expected);
    expect(status).toBe(1);
  });

  test("refuses rows that a killed run left without a result, and leaves nothing", async () => {
    cpSync(join(place.path, "run"), join(place.path, "killed"), { recursive: true });
    await writeFile(join(place.path, "killed/results.jsonl"), "");
    const { status, said } = await run(place.path, "score", "killed", "--verifier", "numeric");
    expect(said).toMatch(/rollouts\.jsonl:\d+: task .* has rollouts and no result.*--resume/);
    expect(status).toBe(1);
    expect(readdirSync(place.path).filter((name) => /killed.+/.test(name))).toEqual([]);
  });

  test("that is interrupted ends with 130 and leaves nothing", async () => {
    await writeFile(
      join(place.path, "mute.mjs"),
      "process.stdin.on('data', () => console.error('asked'));\n",
    );
    const verifier = JSON.stringify({
      kind: "command",
      command: [process.execPath, join(place.path, "mute.mjs")],
    });
    const scoring = start(place.path, "score", "run", "--verifier", verifier, "--out", "left");
    await vi.waitFor(
      () => expect(readdirSync(place.path).some((name) => name.startsWith(".left"))).toBe(true),
      {
        timeout: 30_000,
      },
    );
    scoring.child.kill("SIGINT");
    expect(await scoring.ended).toMatchObject({ status: 130 });
    expect(existsSync(join(place.path, "left"))).toBe(false);
    expect(readdirSync(place.path).filter((name) => name.includes("left"))).toEqual([]);
  });

  test("refuses a damaged row by its line", async () => {
    cpSync(join(place.path, "run"), join(place.path, "torn"), { recursive: true });
    await appendFile(join(place.path, "torn/results.jsonl"), '{"task": ');
    const { status, said } = await run(place.path, "score", "torn", "--verifier", "numeric");
    expect(said).toMatch(/torn\/results\.jsonl:7: cut short/);
    expect(status).toBe(1);
  });
});
