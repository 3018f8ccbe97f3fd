/** Rows read back: by problem, by arm, and the texts of paths. */
import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readProblemRows } from "../../services/coordinator/run-rows/problem-rows.ts";
import { candidateText } from "../../services/coordinator/run-rows/stored-task.ts";

type Row = Readonly<Record<string, unknown>>;

function rollout(task: string, ask: string, given: Row = {}): Row {
  const [strategy, problem] = task.split("/");
  const judgment = { score: null, verdict: null };
  const sampled = { sample: 0, parent: null, text: `<${ask}>`, finish_reason: "stop" };
  return { task, problem, strategy, ask, ...sampled, ...judgment, ...given };
}

async function runWith(rows: readonly Row[], problems: readonly string[] = ["p", "q"]): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "rows-"));
  const lines = (values: readonly unknown[]): string =>
    values.map((value) => `${JSON.stringify(value)}\n`).join("");
  await writeFile(join(path, "problems.jsonl"), lines(problems.map((id) => ({ id, prompt: id }))));
  await writeFile(join(path, "rollouts.jsonl"), lines(rows));
  return path;
}

function readRun(path: string) {
  const { signal } = new AbortController();
  return Array.fromAsync(readProblemRows(path, { arms: ["beam", "mcts"], signal }));
}

async function read(rows: readonly Row[]) {
  return readRun(await runWith(rows));
}

describe("rows of a run", () => {
  test("come problem by problem and arm by arm, however tasks settled", async () => {
    const found = await read([
      rollout("mcts/q", "0/0"),
      rollout("beam/q", "0/0"),
      rollout("beam/q", "0/1"),
      rollout("beam/p", "0/0"),
    ]);
    expect(
      found.map(({ problem, tasks }) => [problem.id, tasks.map(({ id, rollouts }) => [id, rollouts.length])]),
    ).toEqual([
      ["p", [["beam/p", 1]]],
      [
        "q",
        [
          ["beam/q", 2],
          ["mcts/q", 1],
        ],
      ],
    ]);
  });

  test("that keep keys of a newer version are given whole", async () => {
    const [first] = await read([rollout("beam/p", "0/0", { tokens: [1, 2] })]);
    expect(first?.tasks[0]?.rollouts[0]?.row).toMatchObject({ tokens: [1, 2], ask: "0/0" });
  });

  test.each([
    [
      "of a task in two places",
      [rollout("beam/p", "0/0"), rollout("beam/q", "0/0"), rollout("beam/p", "0/1")],
      /jsonl:3: expected the rows of task beam\/p to stand together, found others at line 1/,
    ],
    [
      "of one ask twice",
      [rollout("beam/p", "0/0"), rollout("beam/p", "0/0")],
      /jsonl:2: ask 0\/0 of task beam\/p stands at .*jsonl:1 too/,
    ],
    [
      "of an arm that is none",
      [rollout("bfs/p", "0/0")],
      /jsonl:1: strategy: expected an arm of this run \(beam, mcts\), found "bfs"/,
    ],
  ])("are refused %s", async (_, rows, expected) => {
    await expect(read(rows)).rejects.toThrow(expected);
  });
});

describe("a file of rows", () => {
  const rows = [rollout("beam/p", "0/0")];

  test.each([
    ["cut short", '{"task": "be', /rollouts\.jsonl:2: cut short, as by a run that was killed/],
    ["damaged", "nonsense\n", /rollouts\.jsonl:2: not JSON: /],
  ])("that is %s is refused", async (_, tail, expected) => {
    const path = await runWith(rows);
    await appendFile(join(path, "rollouts.jsonl"), tail);
    await expect(readRun(path)).rejects.toThrow(expected);
  });

  test("that is not there holds no rows", async () => {
    const path = await runWith(rows);
    await rm(join(path, "rollouts.jsonl"));
    const found = await readRun(path);
    expect(found.map(({ tasks }) => tasks)).toEqual([[], []]);
  });

  test("whose problems are damaged is refused by their line", async () => {
    const path = await runWith(rows);
    await appendFile(join(path, "problems.jsonl"), "nonsense\n");
    const reading = readRun(path);
    await expect(reading).rejects.toThrow(/problems\.jsonl:3: not JSON: /);
  });
});

describe("the text of a path", () => {
  async function textOf(rows: readonly Row[], ask: string): Promise<string> {
    const [first] = await read(rows);
    const task = first?.tasks[0];
    const row = task?.byAsk.get(ask);
    if (task === undefined || row === undefined) throw new Error(`no row ${ask}`);
    return candidateText(task, row);
  }

  test("is the texts of its rollouts, root first, whatever their order in the file", async () => {
    const rows = [
      rollout("beam/p", "0/2", { parent: "0/1" }),
      rollout("beam/p", "0/0"),
      rollout("beam/p", "0/1", { parent: "0/0" }),
    ];
    expect(await textOf(rows, "0/2")).toBe("<0/0><0/1><0/2>");
  });

  test("is what the row says where the program wrote a part of it", async () => {
    expect(await textOf([rollout("beam/p", "0/0", { candidate_text: "judged" })], "0/0")).toBe("judged");
  });

  test.each([
    [
      "is not there",
      [rollout("beam/p", "0/0", { parent: "9/9" })],
      /jsonl:1: its parent 9\/9 is no rollout of task beam\/p/,
    ],
    [
      "is below itself",
      [rollout("beam/p", "0/0", { parent: "0/1" }), rollout("beam/p", "0/1", { parent: "0/0" })],
      /jsonl:\d: its parent 0\/\d is below itself/,
    ],
  ])("is refused where a parent %s", async (_, rows, expected) => {
    await expect(textOf(rows, "0/0")).rejects.toThrow(expected);
  });
});
