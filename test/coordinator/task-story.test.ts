import { appendFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { storyLines } from "../../services/cli/task-story-lines.ts";
import type { SweepEvent } from "../../services/coordinator/status.ts";
import type { Sweep } from "../../services/coordinator/sweep.ts";
import { findTask, readTaskStory } from "../../services/coordinator/task-story.ts";
import {
  arm,
  newSweep,
  puzzles,
  RAW,
  rowsOf,
  startInProcess,
  type InProcess,
} from "../support/in-process.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";

const STEPS = { max_steps: 3, step_stop: ["\n"] };

describe("the story of a task", () => {
  let parts: InProcess;
  let sweep: Sweep;
  let release: () => void;
  const events: SweepEvent[] = [];

  beforeAll(async () => {
    parts = await startInProcess({ run: { decisions: { flushMs: 0 } } });
    const held = new Promise<void>((resolve) => (release = resolve));
    let asked = 0;
    const first = Promise.withResolvers<void>();
    const onSample = (): Promise<void> | undefined => {
      asked += 1;
      if (asked === 3) first.resolve();
      return asked > 2 ? held : undefined;
    };
    await parts.addHost("a", createSeededDriver({ onSample, cachedTokens: () => 3 }));
    sweep = await newSweep({
      arms: [arm("best-of-n", { n: 4 }), arm("beam-search", { width: 4, expand: 2, ...STEPS })],
    });
    const run = await parts.coordinator.submit(sweep, puzzles(3), RAW);
    run.watch((event) => events.push(event));
    await first.promise;
  });
  afterAll(() => parts.close());

  test("is told while the run is in progress", async () => {
    const answers = async (): Promise<number> =>
      (await readTaskStory(sweep.output, "best-of-n/p0")).ends.filter(({ answer }) => answer === "rollout")
        .length;
    await expect.poll(answers).toBe(2);
    const { decisions, result, ends } = await readTaskStory(sweep.output, "best-of-n/p0");
    expect(result).toBeNull();
    expect(decisions?.map(({ kind, host }) => [kind, host])).toEqual([
      ["placed", "a"],
      ["sent", "a"],
    ]);
    expect(ends.filter(({ answer }) => answer === "rollout")).toMatchObject([
      { end: "answered", host: "a", cached_tokens: 3 },
      { end: "answered", host: "a", cached_tokens: 3 },
    ]);
    const lines = storyLines(await readTaskStory(sweep.output, "best-of-n/p0"));
    expect(lines[0]).toBe("best-of-n/p0: not settled yet");
    expect(lines.join("\n")).toContain("2 answered, 2 without an answer so far");
  });

  test("goes on in the next attempt at the run, and tells what each ask came to", async () => {
    const [held] = parts.coordinator.list();
    await held?.interrupt();
    release();
    const again = await parts.coordinator.reopen(sweep);
    again.watch((event) => events.push(event));
    expect((await again.ended).tasks.completed).toBe(6);
    const { decisions, result, ends } = await readTaskStory(sweep.output, "best-of-n/p0");
    expect(new Set(decisions?.map(({ attempt }) => attempt))).toEqual(new Set([1, 2]));
    expect(result?.state).toBe("completed");
    const sent = new Set(decisions?.flatMap(({ asks }) => asks));
    const rollouts = ends.filter(({ answer }) => answer === "rollout");
    expect(rollouts.length).toBe(4);
    for (const { ask } of rollouts) expect(sent).toContain(ask);
    const text = storyLines({
      task: "best-of-n/p0",
      decisions,
      ends,
      result,
      isFull: false,
      damagedLines: 0,
    }).join("\n");
    expect(text).toMatch(/attempt 1 at the run[^]*opened at a \(seeded\): .* begins soonest there/);
    expect(text).toMatch(/attempt 2 at the run[^]*2 samples at depth 0 sent to a/);
    expect(text).toContain("2 answered, 2 came back and were sent again");
    expect(text).toMatch(/4 verifications off the hosts: /);
    expect(text).toMatch(/4 rollouts: \d+ prompt tokens, 12 of them reported cached/);
  });

  test("says of every host's ask of every task why it went there", async () => {
    const { rollouts } = await rowsOf(sweep.output);
    for (const row of rollouts) {
      const { task, ask } = JSON.parse(row) as { readonly task: string; readonly ask: string };
      const { decisions } = await readTaskStory(sweep.output, task);
      const mine = decisions?.filter(({ asks }) => asks.includes(ask)) ?? [];
      expect(mine.length, `${task} ${ask}`).toBeGreaterThan(0);
      for (const { host, reason, prompt_tokens } of mine) {
        expect([host, reason]).toEqual(["a", expect.stringMatching(/oldest-tree|least-asked|host-idle/)]);
        expect(prompt_tokens).toBeGreaterThan(0);
      }
    }
  });

  test("has its opening in the task's event, and is told as it is placed", () => {
    const settled = events.filter((event) => event.kind === "task");
    expect(settled.length).toBe(6);
    for (const { opening } of settled)
      expect(opening).toEqual({ kind: "placed", host: "a", reason: "least-wait" });
    expect(events).toContainEqual(
      expect.objectContaining({ kind: "placed", task: "beam-search/p2", host: "a" }),
    );
  });

  test("is found by a part that no other task has; others are refused, with what could be meant", async () => {
    expect(await findTask(sweep.output, "best-of-n/p1")).toBe("best-of-n/p1");
    expect(await findTask(sweep.output, "search/p1")).toBe("beam-search/p1");
    await expect(findTask(sweep.output, "p1")).rejects.toThrow(
      'task "p1": expected one task, found 2 that match: best-of-n/p1, beam-search/p1',
    );
    await expect(findTask(sweep.output, "beam")).rejects.toThrow(/found 3 that match/);
    await expect(findTask(sweep.output, "best-fo-n/p1")).rejects.toThrow(/did you mean "best-of-n\/p1"\?/);
    await expect(findTask(sweep.output, "zzzzzz")).rejects.toThrow(/ARM is one of best-of-n, beam-search/);
  });

  test("is told from the journal where the run has no decisions, or some that cannot be read", async () => {
    const path = join(sweep.output, "decisions.jsonl");
    await appendFile(path, '{"task":"best-of-n/p0","kind":7}\n{"task":"best-of-n/p0",');
    expect((await readTaskStory(sweep.output, "best-of-n/p0")).damagedLines).toBe(1);
    await rm(path);
    const story = await readTaskStory(sweep.output, "best-of-n/p0");
    expect(story.decisions).toBeNull();
    const text = storyLines(story).join("\n");
    expect(text).toContain("This run has no decisions.jsonl");
    expect(text).toContain("4 asks whose sending is not recorded: 4 answered");
  });
});
