/** A short piece of `make chaos`, and that its checks see what they are for. */
import { spawnSync } from "node:child_process";
import { appendFile, cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRandom } from "../../services/runtime/random.ts";
import { Bed } from "./bed.ts";
import { type Fault, KINDS, scheduleFaults } from "./fault.ts";
import { chargesOf, type Expected, violations } from "./invariants.ts";
import { runRound } from "./round.ts";
import { rowsOf } from "../support/in-process.ts";
import { type Reference, undisturbed } from "./sweep.ts";

/** A busy machine takes its time over a round, which has a limit of its own. */
const ROUND_TEST_MS = 300_000;
const hasRedis = spawnSync("redis-server", ["--version"]).status === 0;

let directory: string;
let reference: Reference;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "chaos-"));
  reference = await undisturbed(directory, 1);
});
afterAll(() => rm(directory, { recursive: true }));

function fault(kind: Fault["kind"], victim: Fault["victim"], atMs: number): Fault {
  return { kind, victim, peer: "redis", atMs, forMs: 100, way: 0 };
}

describe.skipIf(!hasRedis)(`a cluster${hasRedis ? "" : " (needs redis-server, which is absent)"}`, () => {
  let bed: Bed;
  beforeAll(async () => {
    bed = await Bed.start(join(directory, "bed"), ["kill", "redis-empty", "second"]);
  });
  afterAll(async () => {
    await bed.stop();
    expect(bed.strays()).toEqual([]);
  });

  test(
    "whose parts are killed gives the rows of an undisturbed run, none lost, none twice",
    async () => {
      const faults = [
        fault("kill", "coordinator", 300),
        fault("kill", "worker-1", 600),
        fault("kill", "verifier-1", 900),
        fault("second", "coordinator", 900),
      ];
      const round = await runRound(bed, "killed", { faults, reference });
      expect(round.wrong).toEqual([]);
      expect(round.faults.filter(({ hasStruck }) => hasStruck).length).toBeGreaterThanOrEqual(3);
    },
    ROUND_TEST_MS,
  );

  test(
    "whose Redis comes back empty gives them too",
    async () => {
      const faults = [fault("redis-empty", "redis", 500)];
      const { wrong, faults: struck } = await runRound(bed, "emptied", { faults, reference });
      expect(wrong).toEqual([]);
      expect(struck).toMatchObject([{ hasStruck: true }]);
    },
    ROUND_TEST_MS,
  );
});

test("a seed gives the same faults again, and another seed others", () => {
  const first = scheduleFaults(createRandom(5), KINDS);
  expect(scheduleFaults(createRandom(5), KINDS)).toEqual(first);
  expect(scheduleFaults(createRandom(6), KINDS)).not.toEqual(first);
  const kinds = Array.from({ length: 200 }, (_, seed) => scheduleFaults(createRandom(seed), KINDS)).flat();
  expect(new Set(kinds.map(({ kind }) => kind))).toEqual(new Set(KINDS));
});

describe("what must hold of a run directory is seen to be broken where", () => {
  /** A copy of the undisturbed run to do harm to. */
  async function copied(): Promise<{ readonly output: string; readonly expected: Expected }> {
    const output = await mkdtemp(join(directory, "copy-"));
    await cp(join(directory, "undisturbed-1"), output, { recursive: true });
    return { output, expected: { rows: await rowsOf(output), budget: await chargesOf(output) } };
  }
  const linesOf = async (path: string): Promise<readonly string[]> =>
    (await readFile(path, "utf8")).split("\n").filter((line) => line !== "");

  test("nothing is, in the run itself, to whose charges the budget fits exactly", async () => {
    const { output, expected } = await copied();
    expect(await violations(output, expected)).toEqual([]);
  });

  test("the journal answers an ask twice", async () => {
    const { output, expected } = await copied();
    const journal = join(output, "journal", "000001.jsonl");
    const answer = (await linesOf(journal)).find((line) => line.includes('"kind":"answer"'));
    await appendFile(journal, `${answer}\n`);
    expect((await violations(output, expected)).join("\n")).toMatch(
      /answers twice.*\n.*more than the budget/,
    );
  });

  test("a task has two result rows", async () => {
    const { output, expected } = await copied();
    const results = join(output, "results.jsonl");
    await appendFile(results, `${(await linesOf(results))[0]}\n`);
    expect((await violations(output, expected)).join("\n")).toMatch(/two result rows/);
  });

  test("a row is lost, and where one is another", async () => {
    const { output, expected } = await copied();
    const rollouts = join(output, "rollouts.jsonl");
    const [first = "", , ...rest] = await linesOf(rollouts);
    await writeFile(rollouts, `${[first.replace('"text":"', '"text":"x'), ...rest].join("\n")}\n`);
    expect((await violations(output, expected)).join("\n")).toMatch(/2 rows missing, 1 not expected/);
  });

  test("a charge passes the budget by one token", async () => {
    const { output, expected } = await copied();
    const entry = JSON.stringify({ kind: "spent", charge: { completionTokens: 1 } });
    const line = `${crc32(entry).toString(16).padStart(8, "0")} ${entry}\n`;
    await appendFile(join(output, "journal", "000001.jsonl"), line);
    expect((await violations(output, expected)).join("\n")).toMatch(/more than the budget of \d+ \(I3\)/);
  });
});
