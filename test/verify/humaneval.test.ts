import { describe, expect, test } from "vitest";
import { systemClock } from "../../services/runtime/clock.ts";
import { silentLog } from "../../services/runtime/log.ts";
import { unitTests } from "../../workers/verify/outside/unit-tests.ts";
import { createVerifierPool } from "../../workers/verify/pool.ts";
import { dataLines, NO_DATA } from "../support/data.ts";
import { IS_LONG, shareOf } from "../support/long.ts";
import { NO_SANDBOX } from "../support/sandbox.ts";

interface Row {
  readonly task_id: string;
  readonly prompt: string;
  readonly canonical_solution: string;
  readonly test: string;
  readonly entry_point: string;
}

const ROWS = shareOf(dataLines("humaneval/problems.jsonl"), 6).map((line): Row => JSON.parse(line));
/** The programs of several problems take a second on an idle machine. */
const SPEC = { kind: unitTests.kind, timeout_ms: 30_000 };

/** What came of every problem with this body: its verdicts, and a few of the reasons that do not match. */
async function judgeAll(bodyOf: (row: Row) => string) {
  const outside = { env: process.env, log: silentLog, allowsCommands: false, kinds: [unitTests.kind] };
  const pool = await createVerifierPool({ clock: systemClock, threads: 2, outside });
  try {
    return await Promise.all(
      ROWS.map(async (row) => {
        const { task_id: id, prompt, test: tests, entry_point: entryPoint } = row;
        const problem = {
          id,
          prompt,
          reference: null,
          tests: `${tests}\ncheck(${entryPoint})`,
          metadata: {},
        };
        const { verdict, reason } = await pool.verify(SPEC, { prompt, text: bodyOf(row), problem });
        return { id, verdict, reason };
      }),
    );
  } finally {
    await pool.close();
  }
}

const missing = ROWS.length === 0 ? NO_DATA : NO_SANDBOX;

describe.skipIf(missing !== null)(`HumanEval in the sandbox ${missing ?? ""}`.trim(), () => {
  test("accepts every canonical solution", { timeout: 300_000 }, async () => {
    const found = await judgeAll((row) => row.canonical_solution);
    expect(found.length).toBe(IS_LONG ? 164 : 28);
    expect(found.filter(({ verdict }) => verdict !== "correct")).toEqual([]);
  });

  test("refuses every solution whose body does nothing", { timeout: 300_000 }, async () => {
    const found = await judgeAll(() => "    pass\n");
    expect(found.filter(({ verdict }) => verdict !== "incorrect")).toEqual([]);
    expect(found.filter(({ reason }) => !/Error|longer than/.test(reason ?? ""))).toEqual([]);
  });

  test(
    "refuses every solution whose body raises an error, and says which",
    { timeout: 300_000 },
    async () => {
      const found = await judgeAll(() => '    raise NotImplementedError("not yet")\n');
      expect(found.filter(({ verdict }) => verdict !== "incorrect")).toEqual([]);
      expect(found.filter(({ reason }) => !reason?.includes("NotImplementedError: not yet"))).toEqual([]);
    },
  );
});
