/** The examples of verifiers that a user writes, each run as a person runs it. */
import { spawn, spawnSync, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "./command.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const hasPython = spawnSync("python3", ["--version"]).status === 0;
const NO_PYTHON = "needs python3, which is not installed";
const skipped = hasPython ? "" : ` (skipped: ${NO_PYTHON})`;

const place = mkdtempSync(join(tmpdir(), "coppice-examples-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

interface Row {
  readonly [field: string]: unknown;
}

function rows(output: string, file: string): readonly Row[] {
  const lines = readFileSync(join(output, file), "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line) as Row);
}

const results = (output: string): Readonly<Record<string, Row>> =>
  Object.fromEntries(rows(output, "results.jsonl").map((row) => [String(row["task"]), row]));

test("a verifier that cannot be started is told, and what was lost to it, while the sweep goes on without verdicts", async () => {
  const sets = ["--set", `output=${join(place, "missing")}`, "--set", "verifier.command=[/no/such/program]"];
  const { said, out } = await run(ROOT, "run", "examples/command-verifier.yaml", ...sets);
  const why = `expected to start the program "/no/such/program" in ${ROOT}, found: no such file or directory (ENOENT)`;
  const [told, first, tenth, ...others] = said.trim().split("\n");
  expect(told).toBe(`warning: verifier command: ${why}`);
  for (const [line, count] of [
    [first, 1],
    [tenth, 10],
  ] as const) {
    expect(line).toContain(`warn: lost to verifier_unavailable (${count} so far): `);
    expect(line).toContain(why);
  }
  expect(others).toEqual([]);
  expect(out).toContain("4 problems x 2 strategies: 8 completed");
});

describe.skipIf(!hasPython)(`a verifier in Python${skipped}`, () => {
  test("behind standard input judges every candidate of the sweep and reads its answer", async () => {
    const output = join(place, "command");
    const { status, said, out } = await run(
      ROOT,
      "run",
      "examples/command-verifier.yaml",
      "--set",
      `output=${output}`,
    );
    expect({ status, said }).toEqual({ status: 0, said: "" });
    expect(out).toContain("4 problems x 2 strategies: 8 completed");
    expect(results(output)).toMatchObject({
      "best-of-n/france": { answer: "Paris", verdict: "correct", score: 1 },
      "best-of-n/australia": { answer: "Canberra", verdict: "correct" },
      "best-of-n/brazil": { answer: "Brasilia", verdict: "correct" },
      "best-of-n/canada": { verdict: "incorrect", score: 0 },
      "self-consistency/france": { answer: "Paris", verdict: "correct" },
      "self-consistency/australia": { answer: "Sydney", verdict: "incorrect", score: 0.75 },
    });
    const rollouts = rows(output, "rollouts.jsonl").filter(({ strategy }) => strategy === "best-of-n");
    const correct = rollouts.filter(({ verdict }) => verdict === "correct");
    expect([correct.length, rollouts.length]).toEqual([6, 16]);
    expect(rollouts.find(({ text }) => text === "")).toMatchObject({ verdict: "incorrect", answer: null });
  });

  describe("behind HTTP", () => {
    let server: ChildProcessByStdio<null, Readable, null>;
    let url = "";
    beforeAll(async () => {
      const script = join(ROOT, "examples/verifiers/http_verifier.py");
      server = spawn("python3", [script, "0"], { stdio: ["ignore", "pipe", "inherit"] });
      const [line] = (await once(createInterface({ input: server.stdout }), "line")) as [string];
      url = line.replace("listening on ", "");
    });
    afterAll(() => void server.kill());

    test("judges every candidate of the sweep, and its scores decide", async () => {
      const output = join(place, "http");
      const sets = ["--set", `output=${output}`, "--set", `verifier.url=${url}`];
      const { status, said } = await run(ROOT, "run", "examples/http-verifier.yaml", ...sets);
      expect({ status, said }).toEqual({ status: 0, said: "" });
      expect(results(output)).toMatchObject({
        "best-of-n/france": { answer: "Paris", verdict: "correct", score: 1, candidate: "0.1/0" },
        "best-of-n/australia": { answer: "Canberra", verdict: "correct", score: 1 / 6 },
        "best-of-n/brazil": { answer: "Brasilia", verdict: "correct", score: 1, candidate: "0.1/0" },
        "best-of-n/canada": { verdict: "incorrect", score: 0 },
      });
    });
  });
});
