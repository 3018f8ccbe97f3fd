/** What every verifier that is inference does, whatever it asks of its host. Call it once per kind, with its own examples. */
import { describe, expect, test } from "vitest";
import { type ProblemData, type PromptPiece, UNKNOWN_TOKENS } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { Driver } from "../../workers/rollout/driver.ts";
import { createJudge } from "../../workers/rollout/inference/create-judge.ts";
import type { InferenceVerifier } from "../../workers/rollout/inference/inference-verifier.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";

export interface InferenceExamples {
  /** Options beside `kind` under which the seeded host's answers decide something. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Options that each would be right alone; refused together, with a message that holds the text. */
  readonly wrong?: readonly (readonly [Readonly<Record<string, unknown>>, string])[];
}

export const PROBLEM: ProblemData = {
  id: "p-1",
  prompt: "4 5 6 10",
  reference: "24",
  tests: null,
  metadata: {},
};
export const PATH: readonly PromptPiece[] = [
  { text: "4 5 6 10\n" },
  { text: "10 - 4 = 6 left 5 6 6\n", tokens: [1, 2, 3] },
  { text: "5 * 6 = 30 left 6 30\n30 - 6 = 24 left 24\n" },
];

const never = new AbortController().signal;

/** A host that tells what it was asked, and may answer otherwise. */
export function watchedDriver(over: (driver: Driver) => Partial<Driver> = () => ({})) {
  const pieces: (readonly PromptPiece[])[] = [];
  const driver = createSeededDriver();
  const answering: Driver = { ...driver, ...over(driver) };
  const seen = <R extends { readonly pieces: readonly PromptPiece[] }>(request: R): R => {
    pieces.push(request.pieces);
    return request;
  };
  const watched: Driver = {
    ...answering,
    sample: (request, signal) => answering.sample(seen(request), signal),
    score: (request, signal) => answering.score(seen(request), signal),
    likelihood: (request, signal) => answering.likelihood(seen(request), signal),
    reward(request, signal) {
      pieces.push([{ text: request.input }]);
      return answering.reward(request, signal);
    },
  };
  return { driver: watched, pieces };
}

/** One judging by a kind under options, on a host. */
export function judgeOn(
  driver: Driver,
  spec: Readonly<Record<string, unknown>> & { readonly kind: string },
  given: {
    readonly path?: readonly PromptPiece[];
    readonly problem?: ProblemData;
    readonly seed?: number;
  } = {},
  signal: AbortSignal = never,
) {
  const judge = createJudge({
    spec: JSON.stringify(spec),
    problem: JSON.stringify(given.problem ?? PROBLEM),
    driver,
  });
  return judge({ path: given.path ?? PATH, seed: given.seed ?? 7 }, signal);
}

export function describeInferenceVerifier(verifier: InferenceVerifier, examples: InferenceExamples): void {
  const spec = { kind: verifier.kind, ...examples.options };

  describe(`the ${verifier.kind} verifier`, () => {
    test("judges alike on every host and at every attempt", async () => {
      const first = await judgeOn(createSeededDriver(), spec);
      expect(first.result).toMatchObject({ kind: "verdict", score: expect.any(Number) });
      if (first.result.verdict !== "correct") expect(first.result.reason).not.toBeNull();
      expect(await judgeOn(createSeededDriver(), spec)).toEqual(first);
    });

    test("judges by the path, whatever pieces it comes in", async () => {
      const inOne = [
        { text: PATH[0]?.text ?? "" },
        {
          text: PATH.slice(1)
            .map(({ text }) => text)
            .join(""),
        },
      ];
      const other = [{ text: "1 2 3 4\n" }, { text: "1 + 2 = 3 left 3 3 4\n" }];
      const [whole, pieces, another] = await Promise.all([
        judgeOn(createSeededDriver(), spec, { path: inOne }),
        judgeOn(createSeededDriver(), spec),
        judgeOn(createSeededDriver(), spec, { path: other }),
      ]);
      // A likelihood is of the last piece behind the others: there the pieces are the question.
      if (verifier.kind !== "likelihood") expect(pieces.result).toEqual(whole.result);
      expect(another.result).not.toEqual(whole.result);
    });

    test("says what it cost, and that it is unknown where the host does not say", async () => {
      const { usage } = await judgeOn(createSeededDriver(), spec);
      expect(usage.promptTokens).toBeGreaterThan(0);
      const silent = watchedDriver((driver) => ({
        sample: async (...args) => ({ ...(await driver.sample(...args)), usage: UNKNOWN_TOKENS }),
        score: async (...args) => ({ ...(await driver.score(...args)), usage: UNKNOWN_TOKENS }),
        likelihood: async (...args) => ({ ...(await driver.likelihood(...args)), usage: UNKNOWN_TOKENS }),
        reward: async (...args) => ({ ...(await driver.reward(...args)), usage: UNKNOWN_TOKENS }),
      }));
      expect((await judgeOn(silent.driver, spec)).usage).toMatchObject({
        promptTokens: null,
        cachedTokens: null,
      });
    });

    test("fails as its host does, and stops when it is told to", async () => {
      const failure = new CoppiceError("unavailable", "the host is gone");
      const gone = () => Promise.reject(failure);
      const dead = watchedDriver(() => ({ sample: gone, score: gone, likelihood: gone, reward: gone }));
      await expect(judgeOn(dead.driver, spec)).rejects.toBe(failure);
      const reason = new Error("not wanted");
      await expect(judgeOn(createSeededDriver(), spec, {}, AbortSignal.abort(reason))).rejects.toBe(reason);
    });

    test("refuses options that it does not have", () => {
      const { driver } = watchedDriver();
      expect(() => judgeOn(driver, { ...spec, tempreature: 1 })).toThrow(/unknown option "tempreature"/);
      for (const [options, message] of examples.wrong ?? [])
        expect(() => judgeOn(driver, { kind: verifier.kind, ...options })).toThrow(message);
    });
  });
}
