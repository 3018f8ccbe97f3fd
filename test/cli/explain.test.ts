import { afterAll, beforeAll, expect, test } from "vitest";
import { folder, PUZZLES, RECORDS, REPLAY_SWEEP, run } from "./command.ts";

const place = folder({ "sweep.yaml": REPLAY_SWEEP, "puzzles.jsonl": PUZZLES, "records.jsonl": RECORDS });
afterAll(() => place.remove());
beforeAll(() => run(place.path, "run", "sweep.yaml"));

test("coppice explain tells why a task was on its host, what was sent, and how it ended", async () => {
  const { status, out } = await run(place.path, "explain", "runs/replay", "a");
  expect(status).toBe(0);
  expect(out).toMatch(/^best-of-n\/a: completed after .*chosen by highest-score, is correct, score 1$/m);
  expect(out).toMatch(
    /opened at replay.* \(recorded\): of the hosts that can serve it, it begins soonest there/,
  );
  expect(out).toMatch(/> replay\S* +0ms +\d+ms +0 of \d+ tokens +0\.00/);
  expect(out).toMatch(/2 samples at depth 0 sent to replay/);
  // The replay engine does not say what it had cached: unknown, not zero.
  expect(out).toMatch(/2 rollouts: unknown prompt tokens, unknown of them reported cached/);
});

test("coppice explain --json is one object; a task that is not there is refused with the nearest", async () => {
  const { out } = await run(place.path, "explain", "runs/replay", "best-of-n/b", "--json");
  expect(JSON.parse(out)).toMatchObject({
    task: "best-of-n/b",
    decisions: [{ kind: "placed" }, { kind: "sent", asks: [expect.any(String), expect.any(String)] }],
    ends: expect.arrayContaining([expect.objectContaining({ end: "answered", answer: "verdict" })]),
    full: false,
    result: { task: "best-of-n/b", state: "completed" },
  });
  const wrong = await run(place.path, "explain", "runs/replay", "best-of-m/b");
  expect(wrong).toMatchObject({ status: 1, out: "" });
  expect(wrong.said).toContain('task "best-of-m/b": no task of');
  expect(wrong.said).toContain('did you mean "best-of-n/b"?');
});
