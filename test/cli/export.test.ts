import { readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { folder, run } from "./command.ts";

type Row = Readonly<Record<string, unknown>>;

/** Six samples of one puzzle: three solve it (two of them alike), three do not; and two of one that none solves. */
const TEXTS = {
  a: [
    "Answer: 4 + 10 + 10 = 24",
    "Answer: 4 * 6 * (10 / 10) = 24",
    "Answer:  4 * 6 * (10 / 10)  = 24",
    "Answer: 6 * 4 = 24",
    "So it is this.\nAnswer: 6 * 4 * 10 / 10 = 24",
    "no idea",
  ],
  b: ["Answer: 1 + 1", "Answer: 1 * 1"],
};
const PROMPTS = { a: "4 6 10 10", b: "1 1 1 1" };
const records = (["a", "b"] as const).flatMap((problem) =>
  Array.from({ length: 6 }, (_, sample) => ({
    problem,
    prompt: `Puzzle: ${PROMPTS[problem]}\n`,
    sample,
    text: TEXTS[problem][sample % TEXTS[problem].length],
    finish_reason: "stop",
  })),
);
const place = folder({
  "sweep.yaml": `name: replay
problems: puzzles.jsonl
model: recorded
hosts: [{ engine: replay, records: records.jsonl }]
prompt_template: "Puzzle: {prompt}\\n"
strategies: [{ strategy: best-of-n, n: 6 }, { strategy: self-consistency, n: 2 }]
verifier: { kind: game24 }
output: run
`,
  "puzzles.jsonl": (["a", "b"] as const)
    .map((id) => `${JSON.stringify({ id, prompt: PROMPTS[id] })}\n`)
    .join(""),
  "records.jsonl": records.map((record) => `${JSON.stringify(record)}\n`).join(""),
});
afterAll(() => place.remove());
beforeAll(async () => {
  expect(await run(place.path, "run", "sweep.yaml")).toMatchObject({ status: 0 });
});

const path = (name: string): string => join(place.path, name);

async function exported(name: string, ...args: readonly string[]): Promise<readonly Row[]> {
  const { status, said } = await run(place.path, "export", "run", "--out", name, ...args);
  expect({ status, said }).toEqual({ status: 0, said: "" });
  const lines = (await readFile(path(name), "utf8")).split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Row);
}

async function parquetRows(name: string): Promise<readonly Row[]> {
  return parquetReadObjects({ file: await asyncBufferFromFile(path(name)) });
}

describe("fine-tuning rows", () => {
  test("are the verified candidates with the prompt that the model saw, equal texts once", async () => {
    const rows = await exported("sft.jsonl", "--to", "sft");
    expect(rows).toHaveLength(2);
    expect(rows[0]).toEqual({
      prompt: "Puzzle: 4 6 10 10\n",
      completion: expect.stringContaining("10 / 10") as string,
      problem: "a",
      task: expect.stringMatching(/\/a$/) as string,
      score: 1,
    });
    expect(rows.map(({ completion }) => completion)).toContain(TEXTS.a[4]);
  });

  test("are every verified sample of every arm where nothing is left out, as sampled", async () => {
    const rows = await exported("all.jsonl", "--to", "sft", "--dedupe", "none", "--order", "first");
    expect(rows.map(({ task, completion }) => [task, completion])).toEqual([
      ["best-of-n/a", TEXTS.a[1]],
      ["best-of-n/a", TEXTS.a[2]],
      ["best-of-n/a", TEXTS.a[4]],
      ["self-consistency/a", TEXTS.a[1]],
    ]);
  });

  test("are chats with --format messages, of one arm with --strategy, the shortest with --order", async () => {
    const args = [
      "--format",
      "messages",
      "--strategy",
      "best-of-n",
      "--order",
      "shortest",
      "--max-per-problem",
      "1",
    ];
    expect(await exported("chat.jsonl", "--to", "sft", ...args)).toEqual([
      {
        messages: [
          { role: "user", content: "Puzzle: 4 6 10 10\n" },
          { role: "assistant", content: TEXTS.a[1] },
        ],
        problem: "a",
        task: "best-of-n/a",
        score: 1,
      },
    ]);
  });

  test("with --keep all and --min-score are what scores enough", async () => {
    const scored = ["--keep", "all", "--min-score", "0.5", "--dedupe", "none"];
    expect(await exported("scored.jsonl", "--to", "sft", ...scored)).toHaveLength(4);
  });
});

describe("preference pairs", () => {
  test("pair a correct with an incorrect candidate of one problem, each once", async () => {
    const rows = await exported("pairs.jsonl", "--to", "preference");
    expect(rows).toHaveLength(2);
    for (const row of rows) {
      expect(row).toMatchObject({ prompt: "Puzzle: 4 6 10 10\n", chosen_score: 1, rejected_score: 0 });
      expect(TEXTS.a.slice(1, 5)).toContain(row["chosen"]);
      expect([TEXTS.a[0], TEXTS.a[3], TEXTS.a[5]]).toContain(row["rejected"]);
    }
    expect(new Set(rows.map(({ rejected }) => rejected)).size).toBe(2);
  });

  test("are at most --max-per-problem, and chats with --format messages", async () => {
    const args = ["--to", "preference", "--max-per-problem", "1", "--format", "messages"];
    const [row, ...others] = await exported("pair.jsonl", ...args);
    expect(others).toEqual([]);
    expect(row).toMatchObject({
      prompt: [{ role: "user", content: "Puzzle: 4 6 10 10\n" }],
      chosen: [{ role: "assistant" }],
      rejected: [{ role: "assistant" }],
    });
  });
});

describe("rollouts", () => {
  test("stand in a Parquet file as they do in JSON Lines, typed", async () => {
    const rows = await exported("rollouts.jsonl", "--to", "jsonl");
    expect(rows).toHaveLength(16);
    const { status, out } = await run(place.path, "export", "run", "--to", "parquet");
    expect({ status, out }).toMatchObject({
      status: 0,
      out: "16 rows of 2 of 2 problems (4 of 16 rollouts verified): run-rollouts.parquet\n",
    });
    const stored = await parquetRows("run-rollouts.parquet");
    const plain = stored.map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([key, value]) => [key, typeof value === "bigint" ? Number(value) : value]),
      ),
    );
    expect(plain).toEqual(rows);
    expect(stored[0]).toMatchObject({ sample: 0n, prompt_tokens: null, score: 0, verdict: "incorrect" });
  });

  test("of any kind are Parquet where --out says so", async () => {
    const args = ["export", "run", "--to", "sft", "--format", "messages", "--out", "chat.parquet"];
    expect(await run(place.path, ...args, "--strategy", "self-consistency")).toMatchObject({ status: 0 });
    expect(await parquetRows("chat.parquet")).toEqual([
      {
        messages: [
          { role: "user", content: "Puzzle: 4 6 10 10\n" },
          { role: "assistant", content: TEXTS.a[1] },
        ],
        problem: "a",
        task: "self-consistency/a",
        score: 1,
      },
    ]);
  });
});

describe("what is refused leaves no file", () => {
  const original = (): Promise<string> => readFile(path("run/rollouts.jsonl"), "utf8");
  let rollouts = "";
  beforeAll(async () => {
    rollouts = await original();
  });
  afterEach(async () => {
    await writeFile(path("run/rollouts.jsonl"), rollouts);
    expect(readdirSync(place.path).filter((name) => /refused|partial/.test(name))).toEqual([]);
  });

  test.each([
    [
      "a file that exists",
      ["--to", "sft", "--out", "sweep.yaml"],
      /sweep\.yaml: expected a new file.*--force replaces it/,
    ],
    [
      "an arm that is none",
      ["--to", "sft", "--strategy", "bfs"],
      /--strategy: expected an arm of this run \(best-of-n, self-consistency\), found "bfs"/,
    ],
    [
      "a format of rollouts",
      ["--to", "jsonl", "--format", "messages"],
      /--format: does not go with --to jsonl/,
    ],
    ["--keep of pairs", ["--to", "preference", "--keep", "all"], /--keep: does not go with --to preference/],
    [
      "Parquet under another name",
      ["--to", "parquet", "--out", "refused.csv"],
      /--out refused\.csv: expected a name that ends in \.parquet/,
    ],
    ["a file nowhere", ["--to", "sft", "--out", "no/where.jsonl"], /where\.jsonl: cannot be written: ENOENT/],
  ])("%s", async (_, args, expected) => {
    const { status, said } = await run(place.path, "export", "run", ...args);
    expect(said).toMatch(expected);
    expect(status).toBe(1);
  });

  test("a row with a score that is none", async () => {
    await writeFile(path("run/rollouts.jsonl"), rollouts.replace('"score":0', '"score":"high"'));
    const { status, said } = await run(place.path, "export", "run", "--to", "sft", "--out", "refused.jsonl");
    expect(said).toMatch(/rollouts\.jsonl:\d+: score: expected a number, found the text "high"/);
    expect(status).toBe(1);
  });
});
