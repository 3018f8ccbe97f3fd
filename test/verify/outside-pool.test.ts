import { afterEach, describe, expect, test, vi } from "vitest";
import type { ProblemData } from "../../services/queue/job.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { silentLog } from "../../services/runtime/log.ts";
import {
  createVerifierPool,
  withheldLines,
  type Outside,
  type PoolLimits,
  type VerifierPool,
} from "../../workers/verify/pool.ts";
import { describeOutsideVerifier } from "../conformance/outside-verifier.ts";
import { endlessUnderWay, patient } from "./outside-catalogue.ts";

const CATALOGUE = new URL("./outside-catalogue.ts", import.meta.url);
const problem: ProblemData = { id: "p-1", prompt: "4 5 6 10", reference: "24", tests: null, metadata: {} };
const candidate = (text: string) => ({ prompt: problem.prompt, text, problem });

describeOutsideVerifier(patient, {
  correct: [{ text: "24", reference: "24", answer: "24" }],
  incorrect: [{ text: "25", reference: "24", answer: null, reason: "another text" }],
  undecided: [{ text: "24", answer: "24", reason: "no reference" }],
  problem: { reference: "24" },
  endless: { text: "endless" },
  underWay: endlessUnderWay,
});

const pools: VerifierPool[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close()));
});

async function openPool(
  outside: Partial<Outside> | null = {},
  limits: Partial<PoolLimits> = {},
): Promise<VerifierPool> {
  const pool = await createVerifierPool({
    clock: systemClock,
    threads: 2,
    catalogueUrl: CATALOGUE,
    limits: { probeMs: 50, ...limits },
    ...(outside === null ? {} : { outside: { env: {}, log: silentLog, allowsCommands: false, ...outside } }),
  });
  pools.push(pool);
  return pool;
}

describe("the verifier pool, outside of this process", () => {
  test("offers what can judge here, and says of the rest why not", async () => {
    const pool = await openPool();
    expect(pool.kinds).toEqual(["patient", "unrepeatable", "remote", "deaf"]);
    expect(pool.withheld).toEqual([
      { kind: "commander", reason: expect.stringContaining("that was not allowed") },
      { kind: "barred", reason: "the fence has a hole" },
      { kind: "hesitant", reason: "no answer within 50 ms" },
    ]);
    expect(() => pool.check({ kind: "barred" })).toThrow(
      "the verifier barred is not offered here: the fence has a hole",
    );
    await expect(pool.verify({ kind: "barred" }, candidate("24"))).rejects.toMatchObject({
      code: "failed_precondition",
    });
    expect(() => pool.check({ kind: "patent" })).toThrow("expected a verifier of kind patient,");
  });

  test("offers kinds that run commands where that is allowed, and only the kinds that are wanted", async () => {
    const pool = await openPool({ allowsCommands: true, kinds: ["commander", "game24"] });
    expect(pool.kinds).toEqual(["commander"]);
    expect(pool.withheld).toEqual([]);
    expect(await pool.verify({ kind: "commander" }, candidate("24"))).toMatchObject({ verdict: "correct" });
  });

  test("offers none of them where nothing outside may be used", async () => {
    const pool = await openPool(null);
    expect(pool.kinds).toEqual([]);
  });

  test("says in one line what one reason withholds", () => {
    const lines = withheldLines([
      { kind: "unit-tests", reason: "no bwrap" },
      { kind: "command", reason: "not allowed" },
      { kind: "execute", reason: "no bwrap" },
    ]);
    expect(lines).toEqual([
      "does not offer unit-tests, execute: no bwrap",
      "does not offer command: not allowed",
    ]);
  });

  test("remembers verdicts of a kind whose verdicts repeat, and none of another", async () => {
    const pool = await openPool();
    const first = await pool.verify({ kind: "patient" }, candidate("random"));
    expect(await pool.verify({ kind: "patient" }, candidate("random"))).toEqual(first);
    const other = await pool.verify({ kind: "unrepeatable" }, candidate("random"));
    expect(await pool.verify({ kind: "unrepeatable" }, candidate("random"))).not.toEqual(other);
    expect(pool.metrics()).toMatchObject({ verifications: 4, memoHits: 1, running: 0, waiting: 0 });
    expect(pool.metrics().latencyMs.count).toBe(3);
  });

  test("passes on what the world did as an error, and goes on", async () => {
    const pool = await openPool();
    const failed = pool.verify({ kind: "patient" }, candidate("fail"));
    await expect(failed).rejects.toMatchObject({ code: "unavailable", message: "the world is away" });
    expect(await pool.verify({ kind: "patient" }, candidate("24"))).toMatchObject({ verdict: "correct" });
  });

  test("asks more at once of a kind that judges on another machine", async () => {
    const pool = await openPool({}, { remoteAtOnceMax: 5 });
    const withdrawn = new AbortController();
    const asked = [1, 2, 3, 4, 5, 6].flatMap(() => [
      pool.verify({ kind: "remote" }, candidate("endless"), withdrawn.signal),
      pool.verify({ kind: "patient" }, candidate("endless"), withdrawn.signal),
    ]);
    const settled = Promise.allSettled(asked);
    await vi.waitFor(() => expect(endlessUnderWay()).toBe(7));
    expect(pool.metrics()).toMatchObject({ running: 7, waiting: 5 });
    withdrawn.abort(new Error("withdrawn"));
    await settled;
  });

  test("refuses what is more than may wait, of all kinds together", async () => {
    const pool = await openPool({}, { waitingMax: 1 });
    const withdrawn = new AbortController();
    const asked = [1, 2, 3].map(() =>
      pool.verify({ kind: "patient" }, candidate("endless"), withdrawn.signal),
    );
    const settled = Promise.allSettled(asked);
    await vi.waitFor(() => expect(pool.metrics().waiting).toBe(1));
    const more = pool.verify({ kind: "remote" }, candidate("24"));
    await expect(more).rejects.toMatchObject({ code: "resource_exhausted" });
    withdrawn.abort(new Error("withdrawn"));
    await settled;
  });

  test("gives up a judge that neither answers nor stops, and gives its place to the next", async () => {
    const pool = await openPool({}, { overrunMs: 10 });
    const spec = { kind: "deaf", timeout_ms: 20 };
    const found = await Promise.all([1, 2, 3].map(() => pool.verify(spec, candidate("24"))));
    for (const verdict of found) {
      expect(verdict).toMatchObject({ verdict: "undecided", reason: "took longer than 20 ms" });
    }
    expect(pool.metrics()).toMatchObject({ terminations: 3, running: 0, waiting: 0, memoHits: 0 });
  });

  test("rejects what waits when it closes", async () => {
    const pool = await openPool();
    const asked = [1, 2, 3].map(() => pool.verify({ kind: "patient" }, candidate("endless")));
    const settled = Promise.allSettled(asked);
    await pool.close();
    for (const outcome of await settled) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "unavailable" } });
    }
  });
});
