/** What programs ask beside rollouts, all the way through coordinator, lanes and workers. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { SweepEvent } from "../../services/coordinator/status.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import type { Sweep } from "../../services/coordinator/sweep.ts";
import { finish } from "../../services/search/candidate.ts";
import { draw, judge, sample, useTool, writePrompt } from "../../services/search/operations.ts";
import { outcomeOf } from "../../services/search/selection.ts";
import type { Needs, Strategy } from "../../services/search/strategy.ts";
import type { Driver, SampleRequest } from "../../workers/rollout/driver.ts";
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

let parts: InProcess;
beforeEach(async () => {
  parts = await startInProcess();
});
afterEach(() => parts.close());

function strategyOf(name: string, search: Strategy["search"], needs: Needs = {}): Strategy {
  return {
    name,
    version: 1,
    about: name,
    paper: "none",
    parameters: {},
    extendsRollouts: true,
    isIndependentSampling: false,
    isOrderAdaptive: false,
    costFormula: "a few",
    needs: () => needs,
    cost: () => ({ rollouts: 8, verifications: 8 }),
    search,
  };
}

async function finished(sweep: Sweep, count: number): Promise<void> {
  const started = await parts.coordinator.submit(sweep, puzzles(count), RAW);
  await started.ended;
}

async function results(sweep: Sweep): Promise<readonly Record<string, unknown>[]> {
  const text = await readFile(join(sweep.output, "results.jsonl"), "utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe("a path behind a prompt that the program wrote", () => {
  const rewrite = strategyOf("rewrite", function* (_prompt, _parameters, problem) {
    const written = yield* writePrompt(`Solve again: ${problem.prompt}\n`);
    const rollout = yield* sample(written);
    const prefix = written.extend(rollout.text, rollout.ask);
    return outcomeOf(yield* finish({ index: 0, prefix, ask: rollout.ask }), "last");
  });

  test("is sampled from that prompt and judged as an answer to the problem's own", async () => {
    const asked: SampleRequest[] = [];
    await parts.addHost("a", createSeededDriver({ onSample: (request) => void asked.push(request) }));
    const sweep = await newSweep({ arms: [arm(rewrite)] });
    await finished(sweep, 3);
    const puzzle = puzzles(3);
    expect(asked.map(({ pieces, depth }) => `${depth} ${pieces[0]?.text}`).toSorted()).toEqual(
      puzzle.map(({ prompt }) => `1 Solve again: ${prompt}\n`).toSorted(),
    );
    // The verifier of Game of 24 finds the numbers in the prompt: with another prompt no answer could be right or wrong.
    const verdicts = (await results(sweep)).map(({ verdict }) => verdict);
    expect(verdicts.every((verdict) => verdict === "correct" || verdict === "incorrect")).toBe(true);
  });
});

describe("a continuation", () => {
  const twoSteps = strategyOf("two-steps", function* (prompt) {
    const first = yield* sample(prompt, { stop: ["\n"] });
    const open = prompt.extend(first.text, first.ask);
    const second = yield* sample(open);
    const prefix = open.extend(second.text, second.ask);
    return outcomeOf(yield* finish({ index: 0, prefix, ask: second.ask }), "last");
  });

  test("carries the token ids that its beginning was sampled as, also after a crash", async () => {
    const seen = (requests: SampleRequest[]) =>
      requests.flatMap(({ pieces }) => (pieces.length === 2 ? [JSON.stringify(pieces)] : [])).toSorted();
    const asked: SampleRequest[] = [];
    let steps = 0;
    let stop: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (stop = resolve));
    const driver = createSeededDriver({
      onSample: async (request) => {
        asked.push(request);
        if (request.pieces.length === 2 && ++steps === 2) {
          stop();
          await new Promise((_, reject) => setImmediate(() => reject(new Error("the host died"))));
        }
      },
    });
    await parts.addHost("a", driver);
    const sweep = await newSweep({ arms: [arm(twoSteps)] });
    const started = await parts.coordinator.submit(sweep, puzzles(4), RAW);
    await held;
    await started.interrupt();
    await parts.close();

    parts = await startInProcess();
    const again: SampleRequest[] = [];
    await parts.addHost("b", createSeededDriver({ onSample: (request) => void again.push(request) }));
    await (
      await parts.coordinator.reopen(sweep)
    ).ended;
    const all = new Set([...seen(asked), ...seen(again)]);
    expect(all.size).toBe(4);
    for (const pieces of all) {
      const [, step] = JSON.parse(pieces) as SampleRequest["pieces"];
      expect(step?.tokens).toEqual(Array.from(step?.text ?? "", (char) => char.codePointAt(0)));
    }
    const rows = await rowsOf(sweep.output);
    expect(rows.results).toHaveLength(4);
  });
});

describe("a verifier that is inference", () => {
  test("is asked of the hosts that serve its model, and of those only", async () => {
    const rollouts: SampleRequest[] = [];
    await parts.addHost("a", createSeededDriver({ onSample: (request) => void rollouts.push(request) }));
    const judgeHost = createSeededDriver({
      model: "judge-model",
      onSample: () => Promise.reject(new Error("the judge was asked for a rollout")),
    });
    let scored = 0;
    const counting = {
      ...judgeHost,
      score: (...args: Parameters<typeof judgeHost.score>) => {
        scored += 1;
        return judgeHost.score(...args);
      },
    };
    await parts.addHost("judge", counting);
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 4 })],
      verifier: {
        kind: "process-reward",
        prompt: "{prompt}{text}?",
        positive: " yes",
        negative: " no",
        model: "judge-model",
      },
    });
    await finished(sweep, 3);
    expect(scored).toBe(12);
    expect(rollouts).toHaveLength(12);
    for (const row of await results(sweep))
      expect(row).toMatchObject({ verdict: "undecided", score: expect.any(Number) });
  });

  test("may be a reward model on a host of its own, which makes no rollouts", async () => {
    await parts.addHost("a", createSeededDriver());
    const shown: string[] = [];
    const model = createSeededDriver({
      model: "reward-7b",
      onSample: () => Promise.reject(new Error("the reward model was asked for a rollout")),
    });
    const host: Driver = {
      ...model,
      reward(request, signal) {
        shown.push(request.input);
        return model.reward(request, signal);
      },
    };
    await parts.addHost("reward", host);
    const verifier = {
      kind: "reward-model",
      model: "reward-7b",
      threshold: 0.5,
      template: "{prompt}=> {text}",
    };
    const sweep = await newSweep({ arms: [arm("best-of-n", { n: 4 })], verifier });
    await finished(sweep, 3);
    expect(shown).toHaveLength(12);
    for (const { prompt } of puzzles(3))
      expect(shown.filter((input) => input.startsWith(`${prompt}\n=> `))).toHaveLength(4);
    const rows = await results(sweep);
    const best = rows.map(({ score }) => Number(score));
    expect(rows.map(({ verdict }) => verdict)).toEqual(
      best.map((score) => (score >= 0.5 ? "correct" : "incorrect")),
    );
  });

  test("may be the model that samples: its votes are the same again, and cost what verifying costs", async () => {
    const asked: SampleRequest[] = [];
    await parts.addHost("a", createSeededDriver({ onSample: (request) => void asked.push(request) }));
    const verifier = { kind: "judge", votes: 3, temperature: 1, number: "= (\\d+)", scale: 100, pass: 0.1 };
    const one = await newSweep({ arms: [arm("best-of-n", { n: 2 })], verifier });
    await finished(one, 2);
    expect(asked).toHaveLength(2 * 2 * (1 + 3));
    const rows = await results(one);
    for (const row of rows) {
      expect(row).toMatchObject({ score: expect.any(Number) });
      expect(row["usage"]).toMatchObject({ verifier_tokens: expect.any(Number) });
    }
    const again = await newSweep({ arms: [arm("best-of-n", { n: 2 })], verifier });
    await finished(again, 2);
    expect(await rowsOf(again.output)).toEqual(await rowsOf(one.output));
  });

  test("says which host is missing while there is none, and goes on when it comes", async () => {
    await parts.addHost("a", createSeededDriver());
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 2 })],
      verifier: {
        kind: "process-reward",
        prompt: "{text}?",
        positive: " y",
        negative: " n",
        model: "judge-model",
      },
    });
    const started = await parts.coordinator.submit(sweep, puzzles(1), RAW);
    const said = new Promise<SweepEvent>((resolve) =>
      started.watch((event) => {
        if (event.kind === "log") resolve(event);
      }),
    );
    expect(await said).toMatchObject({
      level: "warn",
      message: 'waiting for a host that serves "judge-model" and has score; there is none',
    });
    // Who comes later hears of it too, and of nothing that is there by now.
    const toldLate = (): readonly string[] => {
      const told: string[] = [];
      started.watch((event) => void (event.kind === "log" && told.push(event.message)))();
      return told;
    };
    expect(toldLate()).toEqual(['waiting for a host that serves "judge-model" and has score; there is none']);
    await parts.addHost("judge", createSeededDriver({ model: "judge-model" }));
    await started.ended;
    expect(toldLate()).toEqual([]);
  });
});

describe("likelihoods, tools and chance", () => {
  const all = strategyOf(
    "all",
    function* (prompt) {
      const rollout = yield* sample(prompt);
      const prefix = prompt.extend(rollout.text, rollout.ask);
      const likely = yield* judge({ role: "likelihood", prefix, of: rollout.ask });
      const sum = yield* useTool("calculator", yield* writePrompt("3 * (4 + 4)"));
      const chance = yield* draw();
      const candidate = yield* finish({ index: 0, prefix, ask: rollout.ask });
      const score = (likely?.score ?? 0) + Number(sum.answer) + chance;
      return { ...outcomeOf(candidate, "last"), score };
    },
    { likelihood: true, tools: ["calculator"] },
  );

  test("come from the model, from a verification worker and from the sweep's seed", async () => {
    await parts.addHost("a", createSeededDriver());
    const [one, other] = [
      await newSweep({ arms: [arm(all)] }),
      await newSweep({ arms: [arm(all)], seed: 8 }),
    ];
    await finished(one, 4);
    await finished(other, 4);
    const scores = (rows: readonly Record<string, unknown>[]) =>
      rows.map(({ score }) => Number(score)).toSorted((a, b) => a - b);
    for (const score of scores(await results(one))) expect(score).toBeGreaterThan(24 - Math.log(100));
    for (const score of scores(await results(one))) expect(score).toBeLessThan(25);
    expect(scores(await results(one))).not.toEqual(scores(await results(other)));
    const again = await newSweep({ arms: [arm(all)] });
    await finished(again, 4);
    expect(scores(await results(again))).toEqual(scores(await results(one)));
  });
});

describe("a verifier that fails", () => {
  test("leaves its task completed and unjudged, with the reason in its row (I5)", async () => {
    const driver = createSeededDriver();
    await parts.addHost("a", {
      ...driver,
      score: () => Promise.reject(new CoppiceError("invalid_argument", "no such word")),
    });
    const sweep = await newSweep({
      arms: [arm("best-of-n", { n: 2 })],
      verifier: { kind: "process-reward", prompt: "{text}?", positive: " y", negative: " n" },
    });
    await finished(sweep, 2);
    for (const row of await results(sweep)) {
      expect(row).toMatchObject({ state: "completed", verdict: null });
      expect(row["error"]).toContain("no such word");
    }
  });
});
