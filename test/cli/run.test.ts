import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readFile, readlink, rename } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Journal } from "../../services/coordinator/journal.ts";
import { HOLD, startOpenaiServer } from "../support/openai-server.ts";
import { folder, PUZZLES, RECORDS, REPLAY_SWEEP, run, start } from "./command.ts";

const FILES = { "sweep.yaml": REPLAY_SWEEP, "puzzles.jsonl": PUZZLES, "records.jsonl": RECORDS };

describe("a sweep over records", () => {
  const place = folder(FILES);
  afterAll(() => place.remove());
  let first: Awaited<ReturnType<typeof run>>;
  beforeAll(async () => {
    first = await run(place.path, "run", "sweep.yaml");
  });

  test("ends with a table, an account of every row, the run directory, and status 0", () => {
    expect(first).toMatchObject({ status: 0, said: "" });
    expect(first.out).toMatch(/strategy +solved +accuracy +pass@1/);
    expect(first.out).toMatch(/best-of-n +1\/2 +50\.0% +0\.2500 +4 +27 +27 +unknown/);
    expect(first.out.trimEnd().split("\n").slice(-2)).toEqual([
      "2 problems x 1 strategy: 2 completed",
      "run directory: runs/replay",
    ]);
  });

  test("leaves the run directory with the sweep as given and as resolved, the rows and the logs", async () => {
    const read = (name: string) => readFile(join(place.path, "runs/replay", name), "utf8");
    expect(await read("sweep.yaml")).toBe(REPLAY_SWEEP);
    expect(await read("resolved.yaml")).toContain("problems_sha256: ");
    expect((await read("results.jsonl")).trim().split("\n")).toHaveLength(2);
    expect((await read("rollouts.jsonl")).trim().split("\n")).toHaveLength(4);
    expect(await readlink(join(place.path, "runs/replay/logs/latest"))).toBe("attempt-1");
    expect(await read("logs/latest/run.log")).toContain('"event":"sweep_started"');
  });

  test("a second run into the same directory is refused, naming the ways on", async () => {
    const { status, said } = await run(place.path, "run", "sweep.yaml");
    expect(status).toBe(1);
    expect(said).toContain(
      "runs/replay: expected a new run directory, found one that exists; go on with it by: ",
    );
    expect(said).toContain("run --resume runs/replay; or name another with --set output=...");
  });

  test("resuming a run that is over tells its end again", async () => {
    const { status, out } = await run(place.path, "run", "--resume", "runs/replay");
    expect(status).toBe(0);
    expect(out).toContain("2 problems x 1 strategy: 2 completed");
  });

  test("a resumed run may not become another sweep", async () => {
    const { status, said } = await run(place.path, "run", "--resume", "runs/replay", "--set", "seed=3");
    expect(status).toBe(1);
    expect(said).toContain(
      "--set seed=3: a run that is resumed may change budget, hosts, hedge, strategies.best-of-n.n only",
    );
    expect(said).toContain("run RUN/resolved.yaml --set seed=3 --set output=ANOTHER");
  });

  test("a run that its budget ended is topped up, and another seed beside it is a run of its own", async () => {
    const { path, remove } = folder(FILES);
    const settled = (text: string): string | undefined =>
      /: (\d+ completed.*|\d+ exhausted.*)/.exec(text)?.[1];
    const ended = await run(path, "run", "sweep.yaml", "--set", "budget.rollouts=2");
    expect(settled(ended.out)).toBe("0 completed, 2 exhausted");
    const flags = ["--set", "budget.rollouts=+1"];
    const second = await run(path, "run", "--resume", "runs/replay", ...flags);
    expect(second.out).toContain("budget.rollouts 2 -> 3");
    expect(second.out).toContain("budget left: 0 of 3 rollouts");
    // What was added stands in the run: it needs no saying again.
    expect(await readFile(join(path, "runs/replay/resolved.yaml"), "utf8")).toContain("rollouts: 3");
    const third = await run(path, "run", "--resume", "runs/replay", ...flags);
    expect(settled(third.out)).toBe("2 completed");
    const rows = (await readFile(join(path, "runs/replay/rollouts.jsonl"), "utf8")).trim().split("\n");
    expect(new Set(rows.map((row) => JSON.stringify(JSON.parse(row).ask) + JSON.parse(row).task)).size).toBe(
      4,
    );
    for (const [flag, complaint] of [
      ["budget.rollouts=3", "budget.rollouts: expected at least the 4 that are spent, found 3"],
      ["budget.rollouts=+x", 'expected a number behind "+", found "x"'],
      [
        "strategies.best-of-n.n=1",
        "strategies.best-of-n.n: expected at least the 2 that the run has, found 1",
      ],
      ["model=other", "--set model=other: a run that is resumed may change budget"],
    ] as const) {
      const refused = await run(path, "run", "--resume", "runs/replay", "--set", flag);
      expect(refused.status).toBe(1);
      expect(refused.said).toContain(complaint);
    }
    const beside = ["--set", "seed=3", "--set", "output=runs/seed-3", "--set", "budget.rollouts=100"];
    const other = await run(path, "run", "runs/replay/resolved.yaml", ...beside);
    expect(settled(other.out)).toBe("2 completed");
    remove();
  });

  test("--json is one event per line, from started to done", async () => {
    const { status, out } = await run(place.path, "run", "sweep.yaml", "--json", "--set", "output=runs/json");
    expect(status).toBe(0);
    const kinds = out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { kind: string }).kind);
    expect(kinds[0]).toBe("started");
    expect(kinds.slice(-2)).toEqual(["ended", "done"]);
    expect(kinds.filter((kind) => kind === "task")).toHaveLength(2);
  });

  test("--dry-run prints the resolved sweep and its ceiling, and writes nothing", async () => {
    const { status, out } = await run(
      place.path,
      "run",
      "sweep.yaml",
      "--dry-run",
      "--set",
      "output=runs/dry",
    );
    expect(status).toBe(0);
    expect(out).toContain('first prompt (problem a): "4 6 10 10"');
    expect(out).toMatch(/best-of-n +2 +<= 4 +1\.\.4 +<= 4 +<= 256/);
    await expect(readFile(join(place.path, "runs/dry/sweep.yaml"))).rejects.toThrow("ENOENT");
  });

  test("a task whose rollouts are all lost fails alone; --fail-on-error decides the status", async () => {
    const args = ["run", "sweep.yaml", "--set", "problems=more.jsonl", "--fail-on-error"];
    const more = folder({ ...FILES, "more.jsonl": `${PUZZLES}{"id": "c", "prompt": "no record"}\n` });
    const strict = await run(more.path, ...args, "33%", "--set", "output=runs/strict");
    const lenient = await run(more.path, ...args, "34%", "--set", "output=runs/lenient");
    expect(strict.out).toContain("3 problems x 1 strategy: 2 completed, 1 failed");
    expect(strict.said).toContain("1 of 3 tasks failed, more than --fail-on-error 33% allows");
    expect([strict.status, lenient.status]).toEqual([2, 0]);
    const lines = ["lost: 2 no_record", expect.stringMatching(/^failed: best-of-n\/c: no_record: /)];
    expect(strict.out.split("\n")).toEqual(expect.arrayContaining(lines));
    const summary = await run(more.path, "summary", "runs/strict");
    expect(summary.out.split("\n")).toEqual(expect.arrayContaining(lines));
    more.remove();
  });

  test("--skip-invalid leaves out what is not valid and says how many", async () => {
    const other = folder({ ...FILES, "puzzles.jsonl": `${PUZZLES}nonsense\n` });
    const refused = await run(other.path, "run", "sweep.yaml");
    expect(refused.status).toBe(1);
    expect(refused.said).toContain("puzzles.jsonl:3: not JSON: ");
    expect(refused.said).toContain("the sweep was not started; --skip-invalid leaves these 1 out and runs 2");
    const skipped = await run(other.path, "run", "sweep.yaml", "--skip-invalid");
    expect(skipped).toMatchObject({ status: 0, said: "left out 1 problems that are not valid\n" });
    other.remove();
  });

  test("a run of another strategy version is refused, naming it", async () => {
    const { path, remove } = folder(FILES);
    await run(path, "run", "sweep.yaml");
    const directory = join(path, "runs/replay/journal");
    await rename(directory, `${directory}-old`);
    const { journal, header } = await Journal.reopen(`${directory}-old`, () => undefined);
    await journal.close();
    const arms = header.arms.map((arm) => ({ ...arm, version: arm.version + 1 }));
    await (await Journal.create(directory, { ...header, arms })).close();
    const { status, said } = await run(path, "run", "--resume", "runs/replay");
    expect(status).toBe(1);
    expect(said).toMatch(
      /cannot go on with this run:\n +best-of-n: version of strategy best-of-n: this program and sweep say \d+, the journal says/,
    );
    remove();
  });
});

describe("what is wrong is said, and the status is 1", () => {
  const place = folder({
    ...FILES,
    "broken.yaml": "name: [\n",
    "unknown.yaml": `${REPLAY_SWEEP}budget: { rolouts: 1 }\n`,
    "zero.yaml": `${REPLAY_SWEEP}budget: { rollouts: 0 }\n`,
    "twice.jsonl": `${PUZZLES}{"id": "a", "prompt": "1 2 3 4"}\n`,
    "model.gguf": "this is no model",
  });
  afterAll(() => place.remove());
  const HOST = "hosts=[{engine: openai, url: 'http://127.0.0.1:1'}]";

  test.each([
    ["broken YAML", ["broken.yaml"], /^coppice: broken\.yaml:\d+:\d+: not YAML: /],
    [
      "an unknown key",
      ["unknown.yaml"],
      'coppice: unknown.yaml:8: budget.rolouts: unknown key; did you mean "rollouts"?',
    ],
    [
      "a budget of zero",
      ["zero.yaml"],
      "coppice: zero.yaml:8: budget.rollouts: expected at least 1, found 0",
    ],
    ["a sweep that is not there", ["nowhere.yaml"], "coppice: nowhere.yaml: cannot be read: ENOENT"],
    [
      "problems that are not there",
      ["sweep.yaml", "--set", "problems=nowhere.jsonl"],
      "nowhere.jsonl: cannot read the problems: ENOENT",
    ],
    [
      "ids that are not unique",
      ["sweep.yaml", "--set", "problems=twice.jsonl"],
      'twice.jsonl:3: the id "a" stands at twice.jsonl:1 too',
    ],
    [
      "records that are not there",
      ["sweep.yaml", "--set", "hosts.replay.records=nowhere.jsonl"],
      /host replay: .*nowhere\.jsonl/,
    ],
    [
      "a host that is not reachable",
      ["sweep.yaml", "--set", HOST],
      /host 127\.0\.0\.1-1: .*ECONNREFUSED.*http:\/\/127\.0\.0\.1:1/,
    ],
    [
      "a model file that is not GGUF",
      ["sweep.yaml", "--set", "hosts=[{engine: embedded, model_path: model.gguf}]"],
      /host embedded: .*model\.gguf.*GGUF/,
    ],
    [
      "a run directory that is none",
      ["--resume", "nowhere"],
      "coppice: nowhere: expected a run directory: cannot be read",
    ],
    ["no sweep", [], "coppice: expected a sweep file or --resume DIRECTORY, found neither"],
    [
      "no host",
      ["sweep.yaml", "--set", "hosts=[]"],
      'hosts: missing; expected at least one host that serves the model "recorded"',
    ],
    [
      "an option that does not exist",
      ["sweep.yaml", "--dryrun"],
      "unknown option '--dryrun'\n(Did you mean --dry-run?)",
    ],
  ])("%s", async (_, args, expected) => {
    const { status, said } = await run(place.path, "run", ...args);
    expect(said).toMatch(expected);
    expect(status).toBe(1);
  });

  test("a host that answers rubbish", async () => {
    const server = createServer((_, response) => void response.end("<html>hello</html>")).listen(
      0,
      "127.0.0.1",
    );
    await vi.waitFor(() => expect(server.address()).not.toBeNull());
    // A server on a port has an address of this kind.
    const { port } = server.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}`;
    const { status, said } = await run(
      place.path,
      "run",
      "sweep.yaml",
      "--set",
      `hosts=[{engine: openai, url: '${url}'}]`,
    );
    expect(said).toContain(url);
    expect(status).toBe(1);
    server.close();
  });

  test("a model that no host serves", async () => {
    const server = await startOpenaiServer({ kind: "vllm", model: "tiny" });
    const host = `hosts=[{engine: vllm, url: '${server.url}'}]`;
    const { status, said } = await run(place.path, "run", "sweep.yaml", "--set", host, "--set", "model=huge");
    expect(said).toContain("huge");
    expect(said).toContain("tiny");
    expect(status).toBe(1);
    await server.close();
  });

  test("Redis is down at start", async () => {
    const { status, said } = await run(
      place.path,
      "coordinator",
      "--redis",
      "redis://127.0.0.1:1",
      "--listen",
      "127.0.0.1:0",
    );
    expect(said).toMatch(/coppice: .*redis:\/\/127\.0\.0\.1:1.*ECONNREFUSED/);
    expect(status).toBe(1);
  });

  test("flags of a worker that do not go together", async () => {
    const { status, said } = await run(place.path, "worker", "--engine", "openai", "--records", "x");
    expect(said).toContain("--url: missing; expected a text");
    expect(said).toContain("--records: does not go with --engine openai");
    expect(status).toBe(1);
  });
});

test("Ctrl-C ends with 130 and the command that goes on, which then settles the rest", async () => {
  const server = await startOpenaiServer({ kind: "vllm", model: "tiny" });
  const place = folder({
    ...FILES,
    "puzzles.jsonl": `{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": "${HOLD}"}\n`,
  });
  const host = `hosts=[{engine: vllm, url: '${server.url}'}]`;
  const running = start(place.path, "run", "sweep.yaml", "--json", "--set", host, "--set", "model=tiny");
  await vi.waitFor(() => expect(running.text()).toMatch(/"kind":"task","task":"best-of-n\/a"/), {
    timeout: 30_000,
  });
  running.child.kill("SIGINT");
  const { status, said } = await running.ended;
  expect(said.trimEnd().split("\n").at(-1)).toMatch(
    /^interrupted; go on with: .* run --resume runs\/replay$/,
  );
  expect(status).toBe(130);
  const records = `{"problem": "b", "prompt": "${HOLD}", "sample": 0, "text": "Answer: 1", "finish_reason": "stop"}\n`;
  const recorded = folder({ "records.jsonl": `${records}${records.replace('"sample": 0', '"sample": 1')}` });
  const replay = `hosts=[{engine: replay, records: ${join(recorded.path, "records.jsonl")}}]`;
  const resumed = await run(place.path, "run", "--resume", "runs/replay", "--set", replay);
  expect(resumed.out).toContain("2 problems x 1 strategy: 2 completed");
  expect(resumed.status).toBe(0);
  await server.close();
  recorded.remove();
  place.remove();
});
