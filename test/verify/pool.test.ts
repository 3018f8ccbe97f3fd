import { afterEach, describe, expect, test, vi } from "vitest";
import type { ProblemData, VerifierSpec } from "../../services/queue/job.ts";
import { systemClock, type Clock } from "../../services/runtime/clock.ts";
import { createVerifierPool, type PoolLimits, type VerifierPool } from "../../workers/verify/pool.ts";

// A thread's start takes a second or more on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const STUBBORN = new URL("./stubborn-catalogue.ts", import.meta.url);
const problem: ProblemData = { id: "p-1", prompt: "4 5 6 10", reference: "24", tests: null, metadata: {} };
const SOON: VerifierSpec = { kind: "stubborn", timeout_ms: 1_000 };
const LATE: VerifierSpec = { kind: "stubborn", timeout_ms: 60_000 };

const pools: VerifierPool[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close()));
});

async function openPool(
  options: {
    readonly threads?: number;
    readonly catalogueUrl?: URL;
    readonly limits?: Partial<PoolLimits>;
  } = {},
): Promise<VerifierPool> {
  const pool = await createVerifierPool({
    clock: systemClock,
    threads: 1,
    catalogueUrl: STUBBORN,
    ...options,
  });
  pools.push(pool);
  return pool;
}

const candidate = (text: string) => ({ prompt: problem.prompt, text, problem });

describe("the verifier pool", () => {
  test("verifies with the project's own kinds", async () => {
    const pool = await createVerifierPool({ clock: systemClock, threads: 2 });
    pools.push(pool);
    expect(pool.kinds).toEqual(["calculator", "exact", "game24", "math", "numeric"]);
    const verdicts = await Promise.all([
      pool.verify({ kind: "game24" }, candidate("4*5+10-6")),
      pool.verify({ kind: "numeric" }, candidate("it is 24")),
      pool.verify({ kind: "exact", ignore_case: true }, candidate("25")),
    ]);
    expect(verdicts.map((found) => found.verdict)).toEqual(["correct", "correct", "incorrect"]);
  });

  test("kills a verification that takes too long, calls it undecided and goes on", async () => {
    const pool = await openPool();
    const hung = pool.verify(SOON, candidate("hang"));
    const next = pool.verify(SOON, candidate("answer 1"));
    expect(await hung).toMatchObject({
      verdict: "undecided",
      score: null,
      answer: null,
      reason: "took longer than 1000 ms",
    });
    expect(await next).toMatchObject({ verdict: "incorrect", answer: "1" });
    expect(pool.metrics()).toMatchObject({
      verifications: 2,
      terminations: 1,
      crashes: 0,
      waiting: 0,
      running: 0,
    });
  });

  test("takes a stall of the whole process for no slowness of the verification", async () => {
    // As after a stall: what falls due first is the timer of the verification, before its thread could say anything.
    let stalls = 1;
    const clock: Clock = {
      ...systemClock,
      after: (delayMs, fire, options) =>
        systemClock.after(delayMs < 1_000 && stalls-- > 0 ? 0 : delayMs, fire, options),
    };
    const pool = await createVerifierPool({ clock, threads: 1, catalogueUrl: STUBBORN });
    pools.push(pool);
    const spec: VerifierSpec = { kind: "stubborn", timeout_ms: 900 };
    expect(await pool.verify(spec, candidate("answer 1"))).toMatchObject({ answer: "1" });
    expect(stalls).toBeLessThanOrEqual(0);
    expect(pool.metrics().terminations).toBe(0);
  });

  test("kills a regular expression that backtracks without end", async () => {
    const pool = await createVerifierPool({ clock: systemClock, threads: 1 });
    pools.push(pool);
    const spec = { kind: "exact", extract: "pattern", pattern: "^(a+)+$", timeout_ms: 200 };
    const found = await pool.verify(spec, candidate(`${"a".repeat(60)}b`));
    expect(found).toMatchObject({ verdict: "undecided", reason: "took longer than 200 ms" });
  });

  test("lets a hung verification harm no other", async () => {
    const pool = await openPool({ threads: 2 });
    const hung = pool.verify({ kind: "stubborn", timeout_ms: 3_000 }, candidate("hang"));
    const others = Array.from({ length: 50 }, (_, i) => pool.verify(SOON, candidate(`answer ${i}`)));
    expect((await Promise.all(others)).map((found) => found.answer)).toEqual(others.map((_, i) => String(i)));
    expect(pool.metrics()).toMatchObject({ terminations: 0 });
    expect((await hung).reason).toBe("took longer than 3000 ms");
  });

  test("calls a verification undecided whose thread runs out of memory, exits or throws", async () => {
    const pool = await openPool({ limits: { heapMib: 32 } });
    expect(await pool.verify(LATE, candidate("hoard"))).toMatchObject({
      verdict: "undecided",
      reason: expect.stringContaining("memory"),
    });
    expect(await pool.verify(LATE, candidate("exit"))).toMatchObject({
      verdict: "undecided",
      reason: "the verifier's thread died: exit code 3",
    });
    const thrown = await pool.verify(LATE, candidate("throw"));
    expect(thrown).toMatchObject({
      verdict: "undecided",
      reason: "the stubborn verifier threw: thrown on purpose",
    });
    const deep = await pool.verify(LATE, candidate("recurse"));
    expect(deep).toMatchObject({ verdict: "undecided", reason: expect.stringContaining("call stack") });
    expect(await pool.verify(LATE, candidate("answer 1"))).toMatchObject({ verdict: "incorrect" });
    expect(pool.metrics()).toMatchObject({ crashes: 2, terminations: 0 });
  });

  test("answers the same content from memory, and other content or another specification anew", async () => {
    const pool = await openPool();
    const first = await pool.verify(LATE, candidate("random"));
    expect(await pool.verify(LATE, candidate("random"))).toEqual(first);
    expect(await pool.verify(SOON, candidate("random"))).not.toEqual(first);
    const elsewhere = { ...candidate("random"), problem: { ...problem, id: "p-2" } };
    expect(await pool.verify(LATE, elsewhere)).not.toEqual(first);
    expect(pool.metrics()).toMatchObject({ verifications: 4, memoHits: 1 });
    expect(pool.metrics().latencyMs.count).toBe(3);
  });

  test("forgets the verdict that was asked for longest ago when its memory is full", async () => {
    const pool = await openPool({ limits: { memoEntriesMax: 2 } });
    const ask = async (n: number) => (await pool.verify(LATE, candidate(`random ${n}`))).answer;
    const [one, two] = [await ask(1), await ask(2)];
    expect(await ask(1)).toBe(one);
    await ask(3);
    expect(await ask(1)).toBe(one);
    expect(await ask(2)).not.toBe(two);
  });

  test("does not remember that a verification took too long", async () => {
    const pool = await openPool();
    await pool.verify({ kind: "stubborn", timeout_ms: 50 }, candidate("hang"));
    await pool.verify({ kind: "stubborn", timeout_ms: 50 }, candidate("hang"));
    expect(pool.metrics()).toMatchObject({ memoHits: 0, terminations: 2 });
  });

  test("frees a caller that aborts, waiting or running, and goes on", async () => {
    const pool = await openPool();
    const [running, waiting] = [new AbortController(), new AbortController()];
    const hung = pool.verify({ kind: "stubborn", timeout_ms: 500 }, candidate("hang"), running.signal);
    const queued = pool.verify(LATE, candidate("answer 1"), waiting.signal);
    const last = pool.verify(LATE, candidate("answer 2"));
    running.abort(new Error("withdrawn"));
    waiting.abort(new Error("withdrawn too"));
    await expect(hung).rejects.toThrow("withdrawn");
    await expect(queued).rejects.toThrow("withdrawn too");
    expect(await last).toMatchObject({ answer: "2" });
    await expect(pool.verify(LATE, candidate("answer 3"), waiting.signal)).rejects.toThrow("withdrawn too");
  });

  test("refuses a kind that it does not have, an option that is wrong, and too many at once", async () => {
    const pool = await openPool({ limits: { waitingMax: 2 } });
    expect(() => pool.check({ kind: "stubborm" })).toThrow(
      'expected a verifier of kind stubborn; found "stubborm"',
    );
    await expect(pool.verify({ kind: "stubborn", timeout_ms: -1 }, candidate(""))).rejects.toMatchObject({
      code: "invalid_argument",
    });
    const held = [1, 2].map((n) => pool.verify(LATE, candidate(`answer ${n}`)));
    await expect(pool.verify(LATE, candidate("answer 3"))).rejects.toMatchObject({
      code: "resource_exhausted",
      isRetryable: true,
    });
    await Promise.all(held);
  });

  test("fails what waits when no thread starts", async () => {
    const pool = await openPool({
      catalogueUrl: new URL("./broken-catalogue.ts", import.meta.url),
      threads: 2,
    });
    const asked = ["a", "b"].map((text) => pool.verify(LATE, candidate(text)));
    for (const found of await Promise.allSettled(asked)) {
      expect(found).toMatchObject({
        status: "rejected",
        reason: { code: "internal", message: expect.stringContaining("broken on purpose") },
      });
    }
  });

  test("rejects what runs and waits when it closes, and everything after", async () => {
    const pool = await openPool();
    const hung = pool.verify(LATE, candidate("hang"));
    const waiting = pool.verify(LATE, candidate("answer 1"));
    const settled = Promise.allSettled([hung, waiting]);
    await pool.close();
    for (const found of await settled)
      expect(found).toMatchObject({ status: "rejected", reason: { code: "unavailable" } });
    await expect(pool.verify(LATE, candidate("answer 2"))).rejects.toMatchObject({ code: "unavailable" });
  });

  test("does not load a module that is no catalogue", async () => {
    const url = new URL("../../workers/verify/rational.ts", import.meta.url);
    await expect(openPool({ catalogueUrl: url })).rejects.toThrow("to export VERIFIERS");
  });
});
