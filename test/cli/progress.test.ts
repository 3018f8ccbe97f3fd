import { describe, expect, test } from "vitest";
import { progressLine } from "../../services/cli/progress-line.ts";
import { createProgress, progressMode } from "../../services/cli/progress.ts";
import { createTestShell } from "./shell.ts";
import { statusWith, USAGE } from "./status.ts";
import { NO_CEILINGS, NOTHING_SPENT } from "../support/budget.ts";

describe("the line", () => {
  test("says solved, rollouts, tokens, cached share, what is in flight, and when it may end", () => {
    expect(progressLine(statusWith(), { tokensPerSecond: 33.3 })).toBe(
      "12/144 tasks | 7 solved | 1,234 rollouts | 33 tok/s | cached 75.0% | 32 in flight | 1m 00s | ETA 11m 00s",
    );
  });

  test("what an engine does not tell is unknown, not zero", () => {
    const status = statusWith({ usage: { ...USAGE, cached_tokens: null } });
    expect(progressLine(status, { tokensPerSecond: null })).toContain("? tok/s | cached unknown");
  });

  test("the scarcest budget counts, for what is left and for the end", () => {
    const given = { ...NO_CEILINGS, rollouts: 2_468, completion_tokens: 20_000 };
    const status = statusWith({
      budget: {
        given,
        spent: { ...NOTHING_SPENT, rollouts: 1_234, completion_tokens: 2_000, wall_ms: 60_000 },
      },
    });
    expect(progressLine(status, { tokensPerSecond: null })).toContain(
      "left 50% of rollouts, 90% of completion tokens | 1m 00s | ETA 1m 00s",
    );
  });

  test("a state that is not running, lost rollouts and failed tasks are said", () => {
    const tasks = { ...statusWith().tasks, failed: 3 };
    const line = progressLine(statusWith({ state: "paused", failures: 5, tasks }), { tokensPerSecond: null });
    expect(line).toMatch(/^paused 15\/144 tasks .*5 rollouts lost \| 3 tasks failed/);
  });
});

describe("off a terminal", () => {
  test("a heartbeat comes every ten seconds, also when nothing moves", () => {
    const shell = createTestShell();
    const progress = createProgress(shell, progressMode(shell, false));
    progress.event({ kind: "status", status: statusWith() });
    shell.clock.advance(9_999);
    expect(shell.outLines).toEqual([]);
    shell.clock.advance(1);
    expect(shell.outLines).toHaveLength(1);
    shell.clock.advance(20_000);
    expect(shell.outLines).toHaveLength(3);
    expect(shell.outLines[2]).toContain("no word for 30.0s");
    progress.stop();
    shell.clock.advance(60_000);
    expect(shell.outLines).toHaveLength(3);
  });

  test("it comes before the first status too", () => {
    const shell = createTestShell();
    createProgress(shell, "heartbeat");
    shell.clock.advance(10_000);
    expect(shell.outLines[0]).toContain("waiting for the first status");
  });

  test("tokens per second are those of the last ten seconds", () => {
    const shell = createTestShell();
    const progress = createProgress(shell, "heartbeat");
    for (let second = 0; second <= 30; second += 1) {
      const completion_tokens = second <= 15 ? 0 : (second - 15) * 100;
      progress.event({ kind: "status", status: statusWith({ usage: { ...USAGE, completion_tokens } }) });
      shell.clock.advance(1_000);
    }
    expect(shell.outLines[2]).toContain("100 tok/s");
  });
});

test("on a terminal one line is drawn again and again, no wider than it, and taken away at the end", () => {
  const shell = createTestShell({ isTerminal: true, columns: 40 });
  const progress = createProgress(shell, progressMode(shell, false));
  progress.event({ kind: "status", status: statusWith() });
  shell.clock.advance(200);
  expect(shell.live()).toBe("12/144 tasks | 7 solved | 1,234 rollout");
  expect(shell.outLines).toEqual([]);
  progress.stop();
  expect(shell.live()).toBe("");
});

test("with --json every line is an event; statuses that change little are thinned out", () => {
  const shell = createTestShell({ isTerminal: true });
  const progress = createProgress(shell, progressMode(shell, true));
  const status = { kind: "status", status: statusWith() } as const;
  progress.event(status);
  progress.event(status);
  progress.event({
    kind: "task",
    task: "a/b",
    state: "completed",
    verdict: "correct",
    rollouts: 1,
    opening: null,
  });
  progress.event({ kind: "status", status: statusWith({ state: "paused" }) });
  shell.clock.advance(60_000);
  progress.event({ kind: "log", level: "warn", message: "look" });
  expect(shell.outLines.map((line) => (JSON.parse(line) as { kind: string }).kind)).toEqual([
    "status",
    "task",
    "status",
    "log",
  ]);
  expect(shell.live()).toBe("");
});
