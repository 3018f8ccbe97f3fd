/**
 * What every verifier that judges outside of this process must do, wherever it judges. Call it once per kind, with its own
 * examples. Each test has a pool of its own and closes it.
 */
import { describe, expect, test, vi } from "vitest";
import type { ProblemData, VerdictResult, VerifierSpec } from "../../services/queue/job.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { silentLog } from "../../services/runtime/log.ts";
import { createHistogram } from "../../workers/verify/histogram.ts";
import type { Judgement } from "../../workers/verify/judges.ts";
import { OutsidePool } from "../../workers/verify/outside-pool.ts";
import type { OutsideParts, OutsideVerifier } from "../../workers/verify/outside-verifier.ts";
import { DEFAULT_POOL_LIMITS } from "../../workers/verify/pool.ts";
import { parseOptions, quote } from "../../workers/verify/verifier.ts";
import { HOSTILE_TEXTS, STRANGE_TEXTS, type VerifierExample } from "./verifier.ts";

export interface OutsideExample extends VerifierExample {
  readonly tests?: string | null;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

export interface OutsideExamples {
  readonly correct: readonly OutsideExample[];
  readonly incorrect: readonly OutsideExample[];
  readonly undecided: readonly OutsideExample[];
  /** A problem, and options, for texts that are hostile, empty or strange. */
  readonly problem: Omit<OutsideExample, "text" | "answer" | "reason">;
  /** One whose judging does not end by itself, and what the verdict at the time limit is: "undecided" unless said. */
  readonly endless: OutsideExample & { readonly verdict?: "undecided" | "incorrect" };
  /** How many endless ones are being judged in the world now: processes that run, requests that are open. */
  readonly underWay: () => number | Promise<number>;
  /** The environment that the verifier sees. */
  readonly env?: OutsideParts["env"];
}

/** Verifications at once in every test. */
const PLACES = 2;
/** A time limit that no endless example is meant to reach. */
const LONG_MS = 120_000;
/** Longest reason and answer that a verdict may carry, in UTF-16 units. */
const REASON_CHARS_MAX = 4_096;
const ANSWER_CHARS_MAX = 16_384;
/** What starts or stops in the world may take so long to be seen, on a busy machine. */
const SEEN = { timeout: 30_000, interval: 20 };

export function describeOutsideVerifier<O extends OutsideVerifier["options"]>(
  given: OutsideVerifier<O>,
  examples: OutsideExamples,
): void {
  // The suite knows options by the verifier's own declaration only.
  const verifier = given as unknown as OutsideVerifier;
  const parts: OutsideParts = {
    clock: systemClock,
    log: silentLog,
    env: examples.env ?? {},
    concurrency: PLACES,
  };
  const untilUnderWay = (count: number): Promise<void> =>
    vi.waitFor(async () => expect(await examples.underWay()).toBe(count), SEEN);
  const endless = (timeoutMs: number): OutsideExample => ({
    ...examples.endless,
    options: { ...examples.endless.options, timeout_ms: timeoutMs },
  });

  async function withPool(work: (pool: OutsidePool) => Promise<void>): Promise<void> {
    const limits = DEFAULT_POOL_LIMITS;
    const opened = { ...verifier, isRemote: false, queues: false };
    const pool = new OutsidePool([opened], { parts, limits, latencyMs: createHistogram() });
    try {
      await work(pool);
    } finally {
      await pool.close();
    }
  }

  function ask(pool: OutsidePool, example: OutsideExample, signal?: AbortSignal): Promise<Judgement> {
    const { prompt = "", text, reference = null, tests = null, metadata = {} } = example;
    const problem: ProblemData = { id: "p-1", prompt, reference, tests, metadata };
    const spec: VerifierSpec = { kind: verifier.kind, ...example.options };
    const options = parseOptions(verifier, spec);
    return pool.judge({ spec, options, candidate: { prompt, text, problem } }, signal);
  }

  describe(`the ${verifier.kind} verifier`, () => {
    for (const verdict of ["correct", "incorrect", "undecided"] as const) {
      for (const [index, example] of examples[verdict].entries()) {
        test(`finds ${quote(example.text)} ${verdict} (${index + 1})`, () =>
          withPool(async (pool) => {
            const found = await ask(pool, example);
            expect(found.verdict).toMatchObject({ kind: "verdict", verdict });
            expectWhole(found.verdict);
            if (example.answer !== undefined) expect(found.verdict.answer).toBe(example.answer);
            if (example.reason !== undefined) expect(found.verdict.reason).toContain(example.reason);
          }));
      }
    }

    test("gives a whole verdict on candidates that are empty, strange or hostile", () =>
      withPool(async (pool) => {
        const texts = { empty: "", blank: " \n\t\r\n ", ...STRANGE_TEXTS, ...HOSTILE_TEXTS };
        const asked = Object.entries(texts).map(async ([name, text]) => {
          const options = { text_chars_max: 2_000_000, ...examples.problem.options };
          const { verdict } = await ask(pool, { ...examples.problem, text, options });
          expect(verdict.kind, name).toBe("verdict");
          expectWhole(verdict);
        });
        await Promise.all(asked);
      }));

    test("says of a candidate that is too long how long it may be", () =>
      withPool(async (pool) => {
        const options = { ...examples.problem.options, text_chars_max: 4 };
        const { verdict } = await ask(pool, { ...examples.problem, text: "24 24", options });
        expect(verdict.verdict).toBe("incorrect");
        expect(verdict.reason).toBe("the candidate is longer than 4 characters");
      }));

    test("ends at its time limit, stops what judged, and remembers nothing of it", () =>
      withPool(async (pool) => {
        const found = await ask(pool, endless(400));
        expect(found.verdict.verdict).toBe(examples.endless.verdict ?? "undecided");
        expectWhole(found.verdict);
        expect(found.isMemorable).toBe(false);
        await untilUnderWay(0);
      }));

    test("rejects with the reason of an abort, and stops what judged", () =>
      withPool(async (pool) => {
        const withdrawn = new AbortController();
        const asked = ask(pool, endless(LONG_MS), withdrawn.signal);
        const rejected = expect(asked).rejects.toThrow("withdrawn");
        await untilUnderWay(1);
        withdrawn.abort(new Error("withdrawn"));
        await rejected;
        await untilUnderWay(0);
        await vi.waitFor(() => expect(pool.load().running).toBe(0), SEEN);
      }));

    test("starts nothing for an abort that came first", () =>
      withPool(async (pool) => {
        const asked = ask(pool, endless(LONG_MS), AbortSignal.abort(new Error("too late")));
        await expect(asked).rejects.toThrow("too late");
        const judge = verifier.open(parts);
        const { text, prompt = "" } = examples.endless;
        const problem = { id: "p-1", prompt, reference: null, tests: null, metadata: {} };
        const options = parseOptions(verifier, { kind: verifier.kind, ...examples.endless.options });
        const direct = judge.verify(
          { prompt, text, problem },
          options,
          AbortSignal.abort(new Error("too late")),
        );
        await expect(direct).rejects.toThrow("too late");
        await judge.close();
        expect(await examples.underWay()).toBe(0);
      }));

    test("judges as many at once as it may, and no more", () =>
      withPool(async (pool) => {
        const withdrawn = new AbortController();
        const asked = Array.from({ length: PLACES + 2 }, () => ask(pool, endless(LONG_MS), withdrawn.signal));
        const settled = Promise.allSettled(asked);
        await untilUnderWay(PLACES);
        expect(pool.load()).toMatchObject({ running: PLACES, waiting: 2 });
        withdrawn.abort(new Error("withdrawn"));
        await settled;
        await untilUnderWay(0);
      }));

    test("stops what it judges when it is closed, once or twice", () =>
      withPool(async (pool) => {
        const asked = ask(pool, endless(LONG_MS));
        const rejected = expect(asked).rejects.toMatchObject({ code: "unavailable" });
        await untilUnderWay(1);
        await pool.close();
        await pool.close();
        await rejected;
        await untilUnderWay(0);
      }));

    test("closes without having judged, and judges no more", async () => {
      const judge = verifier.open(parts);
      await judge.close();
      await judge.close();
      const { text, prompt = "", tests = null, reference = null, metadata = {} } = examples.endless;
      const candidate = { prompt, text, problem: { id: "p-1", prompt, reference, tests, metadata } };
      const options = parseOptions(verifier, { kind: verifier.kind, ...examples.endless.options });
      const late = judge.verify(candidate, options, new AbortController().signal);
      await expect(late).rejects.toMatchObject({ code: "unavailable" });
    });

    test("refuses an option that it does not have or whose value is wrong", () => {
      const withOption = (options: Readonly<Record<string, unknown>>) => () =>
        parseOptions(verifier, { kind: verifier.kind, ...examples.problem.options, ...options });
      expect(withOption({ timeot_ms: 3 })).toThrow(`verifier ${verifier.kind}: unknown option "timeot_ms"`);
      expect(withOption({ timeout_ms: 0 })).toThrow(
        'timeout_ms must be a whole number from 1 to 600000, found "0"',
      );
    });
  });
}

/** A verdict, its score and its reason agree, and neither reason nor answer carries a whole hostile text along. */
function expectWhole(found: VerdictResult): void {
  if (found.verdict === "undecided") expect(found.score).toBeNull();
  else expect(found.score === null || Number.isFinite(found.score)).toBe(true);
  if (found.verdict === "correct") expect(found.reason).toBeNull();
  else expect(found.reason).toMatch(/\S/);
  expect((found.reason ?? "").length).toBeLessThanOrEqual(REASON_CHARS_MAX);
  expect((found.answer ?? "").length).toBeLessThanOrEqual(ANSWER_CHARS_MAX);
}
