/** Strategies of the user's own, from the sweep that names one to its rows. */
import { appendFile, readFile, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { createTestShell } from "./shell.ts";
import { parseRun } from "../../services/cli/load-sweep.ts";
import { catalogueWith } from "../../services/cli/strategy-modules.ts";
import { folder, PUZZLES, RECORDS, REPLAY_SWEEP, run } from "./command.ts";

const EXAMPLES = resolve(import.meta.dirname, "../../examples");

const OWN = `import { finish, sample, selectHighest } from "coppice/search";
export const strategy = {
  name: "one-shot", version: 1, about: "One rollout.", paper: "none", costFormula: "1 rollout",
  parameters: { times: { type: "integer", default: 1, min: 1, max: 9, about: "How often." } },
  extendsRollouts: false, isIndependentSampling: false, isOrderAdaptive: false,
  needs: () => ({}), cost: () => ({ rollouts: 1, verifications: 1 }),
  *search(prompt) {
    const { text, ask } = yield* sample(prompt);
    return selectHighest([yield* finish({ index: 0, prefix: prompt.extend(text, ask), ask })], null);
  },
};
`;
const SWEEP = REPLAY_SWEEP.replace("best-of-n, n: 2", "./one-shot.ts, times: 2");
const FILES = { "sweep.yaml": SWEEP, "puzzles.jsonl": PUZZLES, "records.jsonl": RECORDS };
const places: { remove: () => void }[] = [];
afterAll(() => {
  for (const place of places) place.remove();
});

function placeOf(files: Readonly<Record<string, string>>): string {
  const place = folder({ ...FILES, ...files });
  places.push(place);
  return place.path;
}

describe("a strategy of one's own", () => {
  test("runs beside the project's: the example that is shown", async () => {
    const place = placeOf({});
    const output = join(place, "own");
    const { status, out } = await run(EXAMPLES, "run", "own-strategy.yaml", "--set", `output=${output}`);
    expect(status).toBe(0);
    expect(out).toMatch(/halving +[1-4]\/4/);
    expect(out).toContain("4 problems x 2 strategies: 8 completed");
    const rows = (await readFile(join(output, "results.jsonl"), "utf8")).trim().split("\n");
    expect(rows.filter((row) => row.includes('"task":"halving/'))).toHaveLength(4);
  });

  test("is found wherever its module lies, and its parameters are checked like all others", async () => {
    const place = placeOf({ "one-shot.ts": OWN });
    expect((await run(place, "run", "sweep.yaml")).out).toContain("2 problems x 1 strategy: 2 completed");
    const { status, said } = await run(place, "run", "sweep.yaml", "--set", "strategies.0.times=10");
    expect(status).toBe(1);
    expect(said).toContain("strategies.0.times");
  });

  test("goes on after its run was taken up again, and not once it has changed", async () => {
    const place = placeOf({ "one-shot.ts": OWN });
    await run(place, "run", "sweep.yaml");
    await rm(join(place, "runs/replay/summary.json"));
    expect(await run(place, "run", "--resume", "runs/replay")).toMatchObject({ status: 0 });
    await appendFile(join(place, "one-shot.ts"), "// changed\n");
    const { status, said } = await run(place, "run", "--resume", "runs/replay");
    expect(status).toBe(1);
    expect(said).toContain("one-shot: module of strategy one-shot: this program and sweep say");
  });

  test.each([
    ["that is not there", "", "one-shot.ts: expected a strategy's module: ENOENT"],
    ["that exports something else", "export const x = 1;", "one-shot.ts: strategy: missing; expected a map"],
    ["that does not load", "export const strategy = ;", "one-shot.ts: expected a module that loads:"],
    ["whose declaration is wrong", OWN.replace("version: 1", 'version: "1"'), "strategy.version: "],
    ["without a search", OWN.replace("*search(", "*find("), "strategy.search: expected a function"],
  ])("in a module %s is refused, saying what was expected", async (_, text, message) => {
    const place = placeOf(text === "" ? {} : { "one-shot.ts": text });
    const { status, said } = await run(place, "run", "sweep.yaml");
    expect(status).toBe(1);
    expect(said).toContain(message);
  });

  test("is offered by a coordinator under its own name, and by no path that a client sends", async () => {
    // Only declared here, and not run: it needs nothing of the project's.
    const place = placeOf({ "one-shot.ts": OWN.slice(OWN.indexOf("export")) });
    const { cwd } = createTestShell({ cwd: place });
    const catalogue = await catalogueWith(["one-shot.ts"], cwd);
    const named = SWEEP.replace("./one-shot.ts", "one-shot");
    const parsed = parseRun(named, { path: join(place, "client.yaml"), catalogue });
    expect(parsed.arms[0]).toMatchObject({ id: "one-shot", parameters: { times: 2 } });
    expect(() => parseRun(SWEEP, { path: join(place, "client.yaml"), catalogue })).toThrow(
      /strategies\.0\.strategy: expected one of .*one-shot; found "\.\/one-shot\.ts"/u,
    );
    await expect(catalogueWith(["one-shot.ts", "one-shot.ts"], cwd)).rejects.toThrow(
      'expected a name of its own, found a second strategy "one-shot"',
    );
  });

  test("is listed with what it declares", async () => {
    const place = placeOf({ "one-shot.ts": OWN });
    const { out } = await run(place, "strategies", "--strategy", "one-shot.ts");
    expect(out).toContain("one-shot: One rollout.");
    expect(out).toContain("times (integer 1..9, default 1): How often.");
  });
});
