import { describe, expect, test } from "vitest";
import { exitStatusOf } from "../../services/cli/exit-status.ts";
import { tellEnd } from "../../services/cli/follow.ts";
import { reconciliationLine, summaryTable } from "../../services/cli/summary-table.ts";
import { createTestShell } from "./shell.ts";
import { strategyWith, summaryWith, USAGE } from "./status.ts";

const END = { isJson: false, failPercentMax: 100, output: "/here/runs/my demo", isResumableHere: true };

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
  ])("%s", (_, failed, failPercentMax, expected) => {
    const tasks = { total: 144, completed: 144 - failed, exhausted: 0, failed, cancelled: 0 };
    expect(exitStatusOf(summaryWith({ tasks }), failPercentMax)).toBe(expected);
  });

  test("interrupted is 130, and the last line is the command that goes on", () => {
    const shell = createTestShell();
    expect(tellEnd(summaryWith({ state: "interrupted" }), shell, END)).toBe(130);
    expect(shell.saidLines.at(-1)).toBe("interrupted; go on with: coppice run --resume 'runs/my demo'");
  });
});

test("--json ends with one record of how it ended", () => {
  const shell = createTestShell();
  tellEnd(summaryWith(), shell, { ...END, isJson: true });
  expect(shell.outLines.map((line) => JSON.parse(line) as unknown)).toEqual([
    { kind: "done", exit_status: 0, state: "completed", output: "/here/runs/my demo" },
  ]);
});
