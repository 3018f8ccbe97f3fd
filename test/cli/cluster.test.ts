import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { HOLD, startOpenaiServer } from "../support/openai-server.ts";
import { freePort } from "../../deploy/local-cluster.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { folder, run, start, type Running } from "./command.ts";

const WAIT = { timeout: 45_000, interval: 100 };

let redis: TestRedis;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

const running: Running[] = [];
afterEach(async () => {
  for (const { child } of running) child.kill("SIGKILL");
  await Promise.all(running.splice(0).map(({ ended }) => ended));
});

function background(cwd: string, ...args: readonly string[]): Running {
  const begun = start(cwd, ...args);
  running.push(begun);
  return begun;
}

async function says(process: Running, words: string | RegExp): Promise<void> {
  await vi.waitFor(() => expect(process.text()).toMatch(words), WAIT);
}

/** Puzzles enough that a sweep is still in its middle when its first task settles. */
const PROBLEMS = Array.from({ length: 60 }, (_, i) => ({ id: `p${i}`, prompt: `${i} 1 1 1` }));
const SAMPLES = 20;
const FILES = {
  "sweep.yaml": `name: replay
problems: puzzles.jsonl
model: recorded
hosts: [{ engine: replay, records: records.jsonl }]
strategies: [{ strategy: best-of-n, n: ${SAMPLES} }]
verifier: { kind: game24 }
`,
  "puzzles.jsonl": PROBLEMS.map((problem) => `${JSON.stringify(problem)}\n`).join(""),
  "records.jsonl": PROBLEMS.flatMap(({ id, prompt }) =>
    Array.from({ length: SAMPLES }, (_, sample) => {
      const text = `Answer: ${prompt.split(" ").join(sample % 3 === 0 ? " + " : " * ")} = 24`;
      return `${JSON.stringify({ problem: id, prompt, sample, text, finish_reason: "stop", completion_tokens: 9 })}\n`;
    }),
  ).join(""),
};

/** Rows by task and ask, without what depends on where and when they were made. */
async function rowsOf(directory: string): Promise<readonly unknown[]> {
  const text = await readFile(join(directory, "rollouts.jsonl"), "utf8");
  const rows = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
  const kept = rows.map(
    ({ host: _host, attempt: _attempt, started_ms: _started, ended_ms: _ended, ...row }) => row,
  );
  return kept.toSorted((a, b) =>
    JSON.stringify([a["task"], a["ask"]]) < JSON.stringify([b["task"], b["ask"]]) ? -1 : 1,
  );
}

/** A coordinator that answers, and the flags by which others find it. */
async function startCoordinator(cwd: string, prefix: string) {
  const address = `127.0.0.1:${await freePort()}`;
  const shared = ["--redis", redis.url, "--prefix", prefix];
  const serving = background(cwd, "coordinator", "--listen", address, "--runs", "cluster", ...shared);
  await says(serving, `coordinator on ${address}`);
  return { address, shared, at: ["--coordinator", address] };
}

test("separate processes give the rows of one process, also when the coordinator is killed in the middle", async () => {
  const place = folder(FILES);
  const address = `127.0.0.1:${await freePort()}`;
  const metrics = `127.0.0.1:${await freePort()}`;
  const shared = ["--redis", redis.url, "--prefix", "cli-rows"];
  const joined = ["--coordinator", address, ...shared];
  const serve = ["coordinator", "--listen", address, "--runs", "cluster", ...shared];
  const coordinator = background(place.path, ...serve);
  await says(coordinator, `coordinator on ${address}`);
  const worker = background(
    place.path,
    "worker",
    "--engine",
    "replay",
    "--records",
    "records.jsonl",
    "--id",
    "w1",
    ...joined,
  );
  const verifier = background(place.path, "verifier", "--concurrency", "1", ...joined);
  await Promise.all([
    says(worker, 'worker w1 serves "*"'),
    says(verifier, "serves calculator, exact, game24, math, numeric"),
  ]);
  const submitted = background(
    place.path,
    "submit",
    "sweep.yaml",
    "--coordinator",
    address,
    "--watch",
    "--json",
  );
  await says(submitted, '"kind":"task"');
  coordinator.child.kill("SIGKILL");
  await coordinator.ended;
  const again = background(place.path, ...serve, "--metrics", metrics);
  await says(again, /goes on with .*cluster\/replay/);
  const { status, out } = await submitted.ended;
  expect(out.trimEnd().split("\n").at(-1)).toBe(
    JSON.stringify({
      kind: "done",
      exit_status: 0,
      state: "completed",
      output: join(place.path, "cluster/replay"),
    }),
  );
  expect(status).toBe(0);
  const scraped = await (await fetch(`http://${metrics}/metrics`)).text();
  expect(scraped).toContain('coppice_tasks{sweep="replay",state="completed"} 60');
  expect(scraped).toContain('coppice_lane_depth{host="w1",state="waiting"} 0');
  const checked = await run(place.path, "doctor", "--redis", redis.url, "--coordinator", address);
  expect(checked.out).toMatch(new RegExp(`ok +coordinator ${address}: answers; holds 1 sweeps; hosts: w1`));
  expect(checked.out).toMatch(/ok +embedded host/);
  expect(checked.status).toBe(0);
  for (const { child } of [worker, verifier, again]) child.kill("SIGTERM");
  for (const { ended } of [worker, verifier, again]) expect((await ended).status).toBe(0);
  expect(await readFile(join(place.path, "cluster/replay/logs/latest/coordinator.log"), "utf8")).toContain(
    '"event":"sweep_started"',
  );

  expect((await run(place.path, "run", "sweep.yaml")).status).toBe(0);
  const rows = await rowsOf(join(place.path, "runs/replay"));
  expect(rows).toHaveLength(60 * SAMPLES);
  expect(await rowsOf(join(place.path, "cluster/replay"))).toEqual(rows);
  place.remove();
}, 180_000);

test("a sweep on a coordinator is watched, paused, resumed and cancelled", async () => {
  const server = await startOpenaiServer({ kind: "vllm", model: "recorded" });
  const place = folder({ ...FILES, "puzzles.jsonl": `{"id": "held", "prompt": "${HOLD}"}\n` });
  const { address, shared, at } = await startCoordinator(place.path, "cli-words");
  const worker = background(
    place.path,
    "worker",
    "--engine",
    "vllm",
    "--url",
    server.url,
    "--id",
    "gpu",
    ...at,
    ...shared,
  );
  await says(worker, 'worker gpu serves "recorded"');

  const submitted = await run(place.path, "submit", "sweep.yaml", ...at, "--set", "strategies.0.n=2");
  expect(submitted.status).toBe(0);
  expect(submitted.out).toContain(`watch replay --coordinator ${address}`);
  const watching = background(place.path, "watch", "replay", ...at, "--json");
  await vi.waitFor(() => expect(server.open()).toBe(2), WAIT);
  const state = async (word: string) =>
    (JSON.parse((await run(place.path, word, "replay", ...at, "--json")).out) as { state: string }).state;
  expect(await state("pause")).toBe("paused");
  expect(await state("resume")).toBe("running");
  expect((await run(place.path, "get", "replay", ...at)).out).toContain("replay: running");
  expect(await state("cancel")).toBe("cancelled");
  expect((await watching.ended).out).toContain('"state":"cancelled"');
  await vi.waitFor(() => expect(server.open()).toBe(0), WAIT);
  expect((await run(place.path, "list", ...at)).out).toMatch(/replay +cancelled +1\/1/);

  const twice = await run(place.path, "submit", "sweep.yaml", ...at);
  expect(twice.status).toBe(1);
  expect(twice.said).toContain("found one that exists");
  const unknown = await run(place.path, "get", "nothing", ...at);
  expect(unknown.status).toBe(1);
  expect(unknown.said).toContain('sweep "nothing": this coordinator does not hold it');
  await server.close();
  place.remove();
}, 180_000);

test("a submitted sweep of which more fails than may is paused, and can be resumed", async () => {
  const [firstRecord = ""] = FILES["records.jsonl"].split(/(?<=\n)/);
  const place = folder({ ...FILES, "records.jsonl": firstRecord });
  const { shared, at } = await startCoordinator(place.path, "cli-limit");
  const submitted = background(place.path, "submit", "sweep.yaml", ...at, "--watch", "--fail-on-error", "0");
  await says(submitted, "sweep replay runs");
  background(place.path, "worker", "--engine", "replay", "--records", "records.jsonl", ...at, ...shared);
  const { status, said } = await submitted.ended;
  expect(status).toBe(2);
  expect(said).toMatch(
    /paused: \d+ of the \d+ tasks that have begun failed, more than --fail-on-error 0 allows; go on with: .* resume replay/,
  );
  expect((await run(place.path, "get", "replay", ...at)).out).toMatch(/lost: [\d,]+ no_record/);
  place.remove();
}, 180_000);

test("a coordinator that is not there is named", async () => {
  const place = folder({});
  const address = `127.0.0.1:${await freePort()}`;
  const { status, said } = await run(place.path, "list", "--coordinator", address);
  expect(status).toBe(1);
  expect(said).toContain(address);
  place.remove();
}, 120_000);
