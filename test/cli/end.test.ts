import { describe, expect, test } from "vitest";
import { exitStatusOf } from "../../services/cli/exit-status.ts";
import {
  FAIL_TASKS_MIN,
  type FailCounts,
  type FailLimit,
  isPast,
  NO_FAIL_LIMIT,
  parseFailLimit,
  watchFailures,
} from "../../services/cli/fail-limit.ts";
import { tellEnd } from "../../services/cli/follow.ts";
import { reconciliationLine, summaryTable } from "../../services/cli/summary-table.ts";
import { createTestShell } from "./shell.ts";
import { statusWith, strategyWith, summaryWith, USAGE } from "./status.ts";

const END = { isJson: false, failLimit: NO_FAIL_LIMIT, output: "/here/runs/my demo", isResumableHere: true };

test("the table has a row per strategy; what is unknown or undefined is said so", () => {
  const strategies = {
    "best-of-n": strategyWith({ rollouts: 12_345 }),
    mcts: strategyWith({
      pass_at_k: {},
      solved: 0,
      accuracy: 0,
      tokens_per_solved: null,
      usage: { ...USAGE, cached_tokens: null },
    }),
  };
  expect(summaryTable(summaryWith({ strategies }))).toEqual([
    "strategy   solved  accuracy  pass@1  rollouts  tokens  tokens/solved   cached",
    "best-of-n   40/48     83.3%  0.2826    12,345   2,000             50    75.0%",
    "mcts         0/48      0.0%       -       768   2,000              -  unknown",
  ]);
});

test("the account says that no row was lost", () => {
  expect(reconciliationLine(summaryWith())).toBe("48 problems x 3 strategies: 144 completed");
  expect(reconciliationLine(summaryWith({ hedged: 1 }))).toContain("completed; 1 ask sent to a second host");
  const tasks = { total: 144, completed: 130, exhausted: 4, failed: 3, cancelled: 0 };
  expect(reconciliationLine(summaryWith({ tasks }))).toBe(
    "48 problems x 3 strategies: 130 completed, 4 exhausted, 3 failed, 7 not settled",
  );
});

describe("exit statuses", () => {
  test.each([
    ["every task settled", 0, 100, 0],
    ["failed tasks within the share", 7, 5, 0],
    ["failed tasks past the share", 8, 5, 2],
    ["not one may fail", 1, 0, 2],
    ["all failed, all may", 144, 100, 0],
  ])("%s", (_, failed, percent, expected) => {
    const tasks = { total: 144, completed: 144 - failed, exhausted: 0, failed, cancelled: 0 };
    expect(exitStatusOf(summaryWith({ tasks }), { kind: "share", percent })).toBe(expected);
  });

  test("a limit is a share of the tasks or a number of them", () => {
    expect(parseFailLimit("0.5%")).toEqual({ kind: "share", percent: 0.5 });
    expect(parseFailLimit("3")).toEqual({ kind: "count", count: 3 });
    for (const wrong of ["", "%", "101%", "-1", "5.5", "many"])
      expect(() => parseFailLimit(wrong)).toThrow(/share of the tasks such as "5%", or a number/);
    expect(isPast({ kind: "count", count: 3 }, { failed: 3, total: 4 })).toBe(false);
    expect(isPast({ kind: "count", count: 3 }, { failed: 4, total: 4_000 })).toBe(true);
  });

  /** What is told of a sweep of 1,000 tasks, of which some had settled before anybody watched. */
  function watched(limit: FailLimit, settledBefore = 0) {
    const past: FailCounts[] = [];
    const watch = watchFailures(limit, (counts) => past.push(counts));
    const tell = (tasks: {
      readonly failed: number;
      readonly settled: number;
      readonly begun: number;
    }): void => {
      const { failed, settled, begun } = tasks;
      const states = { completed: settled - failed, exhausted: 0, failed, cancelled: 0 };
      const status = statusWith({
        tasks: { total: 1_000, queued: 1_000 - begun, running: begun - settled, ...states },
      });
      watch({ kind: "status", status });
    };
    tell({ failed: settledBefore, settled: settledBefore, begun: settledBefore });
    return { past, tell };
  }

  test("a sweep is stopped once, when the share of those that have begun is passed, and never by its first few", () => {
    const { past, tell } = watched({ kind: "share", percent: 10 });
    tell({ failed: FAIL_TASKS_MIN - 1, settled: FAIL_TASKS_MIN - 1, begun: 64 });
    // What fails settles first: these are a tenth.
    tell({ failed: FAIL_TASKS_MIN, settled: 30, begun: 200 });
    expect(past).toEqual([]);
    tell({ failed: 21, settled: 40, begun: 200 });
    tell({ failed: 22, settled: 40, begun: 200 });
    expect(past).toEqual([{ failed: 21, begun: 200 }]);
  });

  test("a number of tasks that may fail is passed at once; what failed in an earlier attempt does not count", () => {
    const { past, tell } = watched({ kind: "count", count: 1 }, 30);
    tell({ failed: 31, settled: 31, begun: 94 });
    expect(past).toEqual([]);
    tell({ failed: 32, settled: 32, begun: 94 });
    expect(past).toEqual([{ failed: 2, begun: 64 }]);
  });

  test("the tasks that failed are listed with their reasons, and what was lost by its class", () => {
    const shell = createTestShell();
    const tasks = { total: 144, completed: 141, exhausted: 0, failed: 3, cancelled: 0 };
    const failed = [{ task: "a/p1", error: "host_refused: wrong key" }];
    const summary = summaryWith({
      tasks,
      failures_by_reason: { host_refused: 2, host_timeout: 40 },
      undecided: 7,
    });
    tellEnd(summary, shell, { ...END, failed });
    expect(shell.outLines).toEqual(
      expect.arrayContaining([
        "lost: 40 host_timeout, 2 host_refused",
        "undecided: 7 candidates; rollouts.jsonl says why",
        "failed: a/p1: host_refused: wrong key",
        "failed: 2 more; results.jsonl says why",
      ]),
    );
  });

  test("interrupted is 130, and the last line is the command that goes on", () => {
    const shell = createTestShell();
    expect(tellEnd(summaryWith({ state: "interrupted" }), shell, END)).toBe(130);
    expect(shell.saidLines.at(-1)).toBe("interrupted; go on with: coppice run --resume 'runs/my demo'");
  });

  test("who watched a coordinator that was told to leave hears what goes on with the sweep", () => {
    const shell = createTestShell();
    expect(tellEnd(summaryWith({ state: "interrupted" }), shell, { ...END, isResumableHere: false })).toBe(
      130,
    );
    expect(shell.outLines).toContain("48 problems x 3 strategies: 144 completed (interrupted)");
    expect(shell.saidLines.at(-1)).toMatch(
      /^interrupted: .* the next that starts over the same runs goes on/,
    );
  });
});

test("--json ends with one record of how it ended", () => {
  const shell = createTestShell();
  tellEnd(summaryWith(), shell, { ...END, isJson: true });
  expect(shell.outLines.map((line) => JSON.parse(line) as unknown)).toEqual([
    { kind: "done", exit_status: 0, state: "completed", output: "/here/runs/my demo" },
  ]);
});
