/** Equal paths of a task are judged once by hosts. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EqualAsks } from "../../services/coordinator/equal-asks.ts";
import type { OpenAsk } from "../../services/coordinator/backlog.ts";
import type { AnswerEntry } from "../../services/coordinator/journal-entry.ts";
import { NO_TOKENS } from "../../services/queue/job.ts";
import { finish } from "../../services/search/candidate.ts";
import { gatherArrived, judge, sample } from "../../services/search/operations.ts";
import type { Candidate, Program, VerifyAsk } from "../../services/search/program.ts";
import { rootPrefix } from "../../services/search/search.ts";
import { selectHighest } from "../../services/search/selection.ts";
import type { Strategy } from "../../services/search/strategy.ts";
import type { SampleRequest, ScoreRequest } from "../../workers/rollout/driver.ts";
import { promptText } from "../../workers/rollout/prompt.ts";
import {
  arm,
  type InProcess,
  newSweep,
  puzzles,
  RAW,
  rowsOf,
  startInProcess,
} from "../support/in-process.ts";
import { createSeededDriver } from "../support/seeded-driver.ts";
import { Effort } from "../../services/coordinator/effort.ts";
import { NOTHING } from "../../services/coordinator/amount.ts";

describe("of equal asks", () => {
  const prefix = rootPrefix("p").extend("a");
  const askOf = (id: string): VerifyAsk => ({
    kind: "verify",
    id,
    role: "process",
    tool: null,
    prefix,
    of: id,
  });
  const openOf = (ask: VerifyAsk): OpenAsk => ({
    ask,
    route: { kind: "host", model: "m", can: new Set() },
    issued: 0,
    isWithdrawn: false,
    job: null,
    effort: new Effort(),
    dispatches: 0,
    reservation: null,
    accepting: null,
    isHedge: false,
  });
  const [a, b, c] = ["0.0/1", "0.1/1", "0.2/1"].map(askOf) as [VerifyAsk, VerifyAsk, VerifyAsk];
  const answer: AnswerEntry = {
    kind: "answer",
    task: "t",
    ask: a.id,
    result: { kind: "verdict", verdict: "undecided", score: 0.5, answer: null, reason: "r" },
    usage: { promptTokens: 9, cachedTokens: 3, completionTokens: 1 },
    charge: NOTHING,
    host: "h",
    attempt: 1,
    startedMs: 1,
    endedMs: 2,
  };

  test("one is sent, and the others have its answer, which costs them nothing", () => {
    const equals = new EqualAsks();
    const [first, second, late] = [openOf(a), openOf(b), openOf(c)];
    expect([equals.join(a, first), equals.join(b, second)]).toEqual([true, false]);
    expect(equals.takeEchoes()).toEqual([]);
    equals.answered(a, answer);
    expect(equals.join(c, late)).toBe(false);
    const echoes = equals.takeEchoes();
    expect(echoes.map(({ open }) => open)).toEqual([second, late]);
    for (const { open, entry } of echoes)
      expect(entry).toMatchObject({ ask: open.ask.id, result: answer.result, usage: NO_TOKENS, host: "h" });
    expect(equals.takeEchoes()).toEqual([]);
  });

  test("the next is sent when the one that was is withdrawn or lost", () => {
    const equals = new EqualAsks();
    const [first, second, third] = [openOf(a), openOf(b), openOf(c)];
    equals.join(a, first);
    equals.join(b, second);
    equals.join(c, third);
    expect(equals.left(b, second)).toBeNull();
    expect(equals.left(a, first)).toBe(third);
    expect(equals.left(a, first)).toBeNull();
    expect(equals.left(c, third)).toBeNull();
    expect(equals.join(b, second)).toBe(true);
  });

  test("another role of the same path is another ask", () => {
    const equals = new EqualAsks();
    expect(equals.join(a, openOf(a))).toBe(true);
    expect(equals.join({ ...b, role: "outcome" }, openOf(b))).toBe(true);
  });
});

describe("a path that several rollouts came to", () => {
  let parts: InProcess;
  beforeEach(async () => {
    parts = await startInProcess();
  });
  afterEach(() => parts.close());

  /** Greedy, so that all rollouts of a task are equal. */
  const greedy: Strategy = {
    name: "greedy",
    version: 1,
    about: "greedy",
    paper: "none",
    parameters: {},
    extendsRollouts: false,
    isIndependentSampling: false,
    isOrderAdaptive: false,
    costFormula: "8",
    needs: () => ({ processVerifier: true }),
    cost: () => ({ rollouts: 8, verifications: 16 }),
    *search(prompt) {
      function* one(index: number): Program<Candidate> {
        const { text, ask } = yield* sample(prompt, { temperature: 0 });
        const prefix = prompt.extend(text, ask);
        yield* judge({ role: "process", prefix, of: ask });
        return yield* finish({ index, prefix, ask });
      }
      const { arrived, lost } = yield* gatherArrived(Array.from({ length: 8 }, (_, index) => one(index)));
      return selectHighest(arrived, lost);
    },
  };

  test("is judged once by the host, and every row says how", async () => {
    const judged: string[] = [];
    const driver = createSeededDriver();
    await parts.addHost("a", {
      ...driver,
      score: (request: ScoreRequest, signal: AbortSignal) => {
        judged.push(promptText(request.pieces));
        return driver.score(request, signal);
      },
    });
    const sweep = await newSweep({ arms: [arm(greedy)] });
    const started = await parts.coordinator.submit(sweep, puzzles(3), RAW);
    const summary = await started.ended;
    expect(judged).toHaveLength(3);
    expect(new Set(judged).size).toBe(3);
    // The seeded host counts 6 tokens a judgement.
    expect(summary.usage.verifier_tokens).toBe(3 * 6);
    const { rollouts } = await rowsOf(sweep.output);
    expect(rollouts).toHaveLength(24);
    for (const row of rollouts) expect(JSON.parse(row)).toMatchObject({ process_score: expect.any(Number) });
  });

  test("has a judge draw the same votes, whichever of them is sent", async () => {
    const isJudging = ({ pieces }: SampleRequest): boolean =>
      promptText(pieces).includes("Is this answer correct?");
    /** The seeds that the judge was asked with, where the first rollout comes at once, or last. */
    const seedsWhere = async (isFirstLate: boolean): Promise<readonly number[]> => {
      const seeds: number[] = [];
      let judged: () => void = () => undefined;
      const isJudged = new Promise<void>((resolve) => (judged = resolve));
      const own = await startInProcess();
      await own.addHost(
        "a",
        createSeededDriver({
          onSample: (request) => {
            if (isJudging(request)) {
              seeds.push(request.seed);
              judged();
            } else if (isFirstLate && request.sample === 0) return isJudged;
          },
        }),
      );
      const sweep = await newSweep({
        arms: [arm(greedy)],
        processVerifier: { kind: "judge", votes: 2, temperature: 1, max_tokens: 4 },
      });
      await (
        await own.coordinator.submit(sweep, puzzles(1), RAW)
      ).ended;
      await own.close();
      return seeds.toSorted((one, other) => one - other);
    };
    const seeds = await seedsWhere(false);
    expect(seeds).toHaveLength(2);
    expect(await seedsWhere(true)).toEqual(seeds);
  });
});
