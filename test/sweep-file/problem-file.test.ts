import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  checkProblems,
  complaintText,
  readProblems,
} from "../../services/coordinator/sweep-file/problem-file.ts";
import type { ProblemSource } from "../../services/coordinator/sweep-file/sweep-resolve.ts";
import type { Problem } from "../../services/coordinator/sweep.ts";

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "coppice-problems-"));
});
afterAll(() => rm(directory, { recursive: true }));

async function check(name: string, text: string | Uint8Array, fields: readonly string[] = ["prompt"]) {
  const path = join(directory, name);
  await writeFile(path, text);
  const options = { file: name, fields };
  return { path, options, check: await checkProblems(path, options) };
}

async function valid(source: ProblemSource, name = "problems"): Promise<readonly Problem[]> {
  const options = { file: name, fields: ["prompt"] };
  return Array.fromAsync(readProblems(source, await checkProblems(source, options), options));
}

describe("problems that are right", () => {
  test("JSON Lines: blank lines, CRLF and a byte order mark do not matter", async () => {
    const text =
      '\uFEFF{"id": "a", "prompt": "1 2", "reference": 24}\r\n\r\n{"id": 7, "prompt": "3 4", "metadata": {"x": 1}}';
    const { path, check: found } = await check("puzzles.jsonl", text);
    expect(found).toMatchObject({ count: 2, complaints: [], first: { id: "a", reference: "24" } });
    expect(await valid(path)).toEqual([
      { id: "a", prompt: "1 2", reference: "24", tests: null, metadata: {} },
      { id: "7", prompt: "3 4", reference: null, tests: null, metadata: { x: 1 } },
    ]);
  });

  test("a line cut by the reader's buffer is one line", async () => {
    const prompt = "\u00e9".repeat(100_000);
    const { path } = await check("long.jsonl", `{"prompt": "${prompt}"}\n{"prompt": "b"}\n`);
    expect((await valid(path)).map((problem) => problem.prompt)).toEqual([prompt, "b"]);
  });

  test("an id that is not given comes from the content", async () => {
    const one = await valid([{ prompt: "x" }, { prompt: "y" }]);
    const other = await valid([{ prompt: "y" }]);
    expect(one[1]?.id).toBe(other[0]?.id);
    expect(one[0]?.id).toMatch(/^p-[0-9a-f]{16}$/);
  });

  test("CSV: quoted fields, and other columns as metadata", async () => {
    const text = 'id,prompt,reference,level\na,"one, ""two""\nthree",24,easy\nb,four,,\n';
    const { path } = await check("puzzles.csv", text);
    expect(await valid(path)).toEqual([
      { id: "a", prompt: 'one, "two"\nthree', reference: "24", tests: null, metadata: { level: "easy" } },
      { id: "b", prompt: "four", reference: null, tests: null, metadata: {} },
    ]);
  });

  test("a JSON list", async () => {
    const { path } = await check("puzzles.json", '[{"id": "a", "prompt": "1"}]');
    expect(await valid(path)).toMatchObject([{ id: "a" }]);
  });

  test("the digest depends on the problems and not on how they are written", async () => {
    const { check: lines } = await check("a.jsonl", '{"prompt": "1", "id": "a"}\n\n');
    const { check: list } = await check("a.json", '[{"id": "a", "prompt": "1"}]');
    const { check: other } = await check("b.jsonl", '{"id": "a", "prompt": "2"}\n');
    expect(list.sha256).toBe(lines.sha256);
    expect(other.sha256).not.toBe(lines.sha256);
  });
});

describe("what is wrong is told with its line", () => {
  test.each([
    ["not JSON", '{"prompt": "1"}\n{"prompt": \n', "p.jsonl:2: not JSON: "],
    ["no prompt", '{"id": "a"}\n', "p.jsonl:1: prompt: missing; expected a text"],
    [
      "a chat",
      '{"id": "a", "messages": []}\n',
      'p.jsonl:1: chat problems ("messages") are not available in this version; give "prompt"',
    ],
    [
      "a chat and a prompt",
      '{"prompt": "a", "messages": []}\n',
      'p.jsonl:1: expected exactly one of "prompt" and "messages", found both',
    ],
    [
      "an unknown key",
      '{"prompt": "a", "refrence": "1"}\n',
      'p.jsonl:1: refrence: unknown key; did you mean "reference"?',
    ],
    ["a list", "[1]\n", "p.jsonl:1: expected a map, found a list"],
    [
      "an id twice",
      '{"id": "a", "prompt": "1"}\n{"id": "a", "prompt": "2"}\n',
      'p.jsonl:2: the id "a" stands at p.jsonl:1 too; ids must be unique',
    ],
    ["the same content twice without ids", '{"prompt": "1"}\n{"prompt": "1"}\n', "stands at p.jsonl:1 too"],
  ])("%s", async (_, text, expected) => {
    const { check: found } = await check("p.jsonl", text);
    expect(complaintText(found)).toContain(expected);
    expect(found.invalid.size).toBe(1);
  });

  test("bytes that are not UTF-8", async () => {
    const { check: found } = await check(
      "p.jsonl",
      Buffer.concat([Buffer.from('{"prompt": "'), Buffer.from([0xff]), Buffer.from('"}\n')]),
    );
    expect(complaintText(found)).toContain("p.jsonl:1: not UTF-8");
  });

  test("a field of the template that the problem does not have", async () => {
    const { check: found } = await check("p.jsonl", '{"prompt": "1"}\n', ["prompt", "metadata.level"]);
    expect(complaintText(found)).toBe(
      "p.jsonl:1: prompt_template asks for {metadata.level}, which is missing",
    );
  });

  test("CSV records: the line is where the record begins", async () => {
    const { check: found } = await check("p.csv", 'id,prompt\na,"1\n2"\nb\nc,"3\n');
    expect(complaintText(found).split("\n")).toEqual([
      "p.csv:4: expected 2 fields as in the header, found 1",
      "p.csv:5: a quotation mark is opened and never closed",
    ]);
  });

  test("many: the first are shown, the rest counted", async () => {
    const { check: found } = await check("p.jsonl", "nonsense\n".repeat(30));
    const lines = complaintText(found).split("\n");
    expect(lines).toHaveLength(21);
    expect(lines.at(-1)).toBe("... and 10 more");
  });

  test("a file that is not there", async () => {
    const options = { file: "nowhere.jsonl", fields: [] };
    const reading = checkProblems(join(directory, "nowhere.jsonl"), options);
    await expect(reading).rejects.toMatchObject({
      code: "not_found",
      message: expect.stringContaining("nowhere.jsonl: cannot read the problems"),
    });
  });

  test("a kind of file that comes later", async () => {
    const options = { file: "p.parquet", fields: [] };
    const reading = checkProblems(join(directory, "p.parquet"), options);
    await expect(reading).rejects.toThrow(
      "p.parquet: Parquet is not available in this version; available: .jsonl",
    );
  });
});

test("what the check left out is not read; what changed since is refused", async () => {
  const {
    path,
    options,
    check: found,
  } = await check("c.jsonl", '{"id": "a", "prompt": "1"}\nx\n{"id": "b", "prompt": "2"}\n');
  expect(found.count).toBe(2);
  expect((await Array.fromAsync(readProblems(path, found, options))).map(({ id }) => id)).toEqual(["a", "b"]);
  await writeFile(path, '{"id": "a", "prompt": "1"}\nx\nx\n');
  await expect(Array.fromAsync(readProblems(path, found, options))).rejects.toMatchObject({
    code: "data_loss",
  });
});
