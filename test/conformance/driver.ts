/** What every driver promises (workers/rollout/driver.ts). A new driver calls this once from its own test. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { AttemptUsage, Sampling, Structure } from "../../services/queue/job.ts";
import type { Driver, EngineSignals, SampleRequest, ScoreRequest } from "../../workers/rollout/driver.ts";

export interface DriverHarness {
  /** A driver on a host that is up; called for each test. */
  open(): Promise<{ readonly driver: Driver; close(): Promise<void> }>;
  /** An ordinary request. */
  readonly request: SampleRequest;
  /** Requests for which the host has to answer alike: other samples of the same prompt, one per number from 0. */
  sibling(sample: number): SampleRequest;
  /** Ends by a stop string of its sampling. */
  readonly stopping: SampleRequest;
  /** Ends by the limit of its sampling. */
  readonly lengthy: SampleRequest;
  /** Long enough to be aborted in the middle; null where the host answers at once, with the reason. */
  readonly slow: SampleRequest | { readonly skip: string };
  readonly score: ScoreRequest;
  /** Why it does not say when the host has the first token; absent: it does. */
  readonly firstToken?: { readonly skip: string };
}

const never = new AbortController().signal;
/** Asks at once, where the host takes more than a test should. */
const CONCURRENT_MAX = 64;
const ABORT_AFTER_MS = 200;

/** Structures that leave two texts, and which. */
const STRUCTURES: readonly { readonly structure: Structure; readonly texts: readonly string[] }[] = [
  { structure: { kind: "json-schema", schema: { enum: ["yes", "no"] } }, texts: ['"yes"', '"no"'] },
  { structure: { kind: "regex", pattern: "(yes|no)" }, texts: ["yes", "no"] },
  { structure: { kind: "grammar", grammar: 'root ::= "yes" | "no"' }, texts: ["yes", "no"] },
];

export function driverConformance(name: string, harness: DriverHarness): void {
  describe(`driver conformance: ${name}`, () => {
    let driver: Driver;
    let opened: Awaited<ReturnType<DriverHarness["open"]>>;

    beforeEach(async () => {
      opened = await harness.open();
      driver = opened.driver;
    });
    afterEach(async () => {
      await driver.close();
      await opened.close();
    });

    it("says what its host is", async () => {
      const facts = await driver.probe(never);
      expect(facts.model).not.toBe("");
      expect(facts.concurrency).toBeGreaterThan(0);
      expect(facts.concurrencyMax).toBeGreaterThanOrEqual(facts.concurrency);
      for (const tokens of [facts.kvCapacityTokens, facts.contextTokens, facts.blockTokens])
        if (tokens !== null) expect(tokens).toBeGreaterThan(0);
    });

    it("gives the same text for the same request", async () => {
      await driver.probe(never);
      const first = await driver.sample(harness.request, never);
      const second = await driver.sample(harness.request, never);
      expect(second.result.text).toBe(first.result.text);
      expect(second.result.finishReason).toBe(first.result.finishReason);
    });

    it("gives siblings texts of their own", async () => {
      const texts = await Promise.all(
        [0, 1, 2, 3].map(async (n) => (await driver.sample(harness.sibling(n), never)).result.text),
      );
      expect(new Set(texts).size).toBeGreaterThan(1);
    });

    it("keeps the stop string that ended the text", async () => {
      const { result } = await driver.sample(harness.stopping, never);
      expect(result.finishReason).toBe("stop");
      expect(harness.stopping.sampling.stop).toContain(result.stopString);
      expect(result.text.endsWith(result.stopString ?? "none")).toBe(true);
      expect(result.text.indexOf(result.stopString ?? "none")).toBe(
        result.text.length - (result.stopString?.length ?? 0),
      );
    });

    it("says when the length ended the text", async () => {
      const { result, usage } = await driver.sample(harness.lengthy, never);
      expect(result).toMatchObject({ finishReason: "length", stopString: null });
      if (usage.completionTokens !== null)
        expect(usage.completionTokens).toBeLessThanOrEqual(harness.lengthy.sampling.maxTokens);
    });

    it("reports usage as counts or as unknown", async () => {
      const facts = await driver.probe(never);
      await driver.sample(harness.request, never);
      const { usage } = await driver.sample(harness.request, never);
      expectUsage(usage);
      expect(usage.cachedTokens !== null).toBe(facts.reportsCachedTokens);
    });

    it("says once that the host has the first token, before it answers", async (context) => {
      if (harness.firstToken !== undefined) return context.skip(harness.firstToken.skip);
      const order: string[] = [];
      const onFirstToken = () => order.push("first token");
      await driver.sample({ ...harness.lengthy, onFirstToken }, never).then(() => order.push("answer"));
      expect(order).toEqual(["first token", "answer"]);
    });

    it("takes a priority, and gives the same text", async () => {
      const { result } = await driver.sample(harness.request, never);
      for (const priority of [0, 7, 1_000_000])
        expect((await driver.sample({ ...harness.request, priority }, never)).result.text).toBe(result.text);
    });

    it("says how its engine is doing in numbers that agree, or not at all", async () => {
      await driver.probe(never);
      const before = await driver.signals(never);
      await driver.sample(harness.request, never);
      const after = await driver.signals(never);
      expect(after === null).toBe(before === null);
      for (const signals of [before, after]) if (signals !== null) expectSignals(signals);
      for (const counter of ["promptTokensComputed", "promptTokensCached", "preemptions"] as const)
        expect(after?.[counter] ?? 0).toBeGreaterThanOrEqual(before?.[counter] ?? 0);
      expect(after?.cacheClears).toBe(before?.cacheClears);
    });

    it("answers every one of a full load", async () => {
      const { concurrency } = await driver.probe(never);
      const asked = Array.from({ length: Math.min(concurrency, CONCURRENT_MAX) }, () => harness.request);
      const answers = await Promise.all(asked.map((request) => driver.sample(request, never)));
      expect(answers).toHaveLength(asked.length);
      for (const { usage } of answers) expectUsage(usage);
    });

    it("rejects a request whose signal has aborted, with its reason", async () => {
      const reason = new Error("not wanted");
      await expect(driver.sample(harness.request, AbortSignal.abort(reason))).rejects.toBe(reason);
    });

    it("stops in the middle when the signal aborts, and answers the next request", async (context) => {
      if ("skip" in harness.slow) return context.skip(harness.slow.skip);
      await driver.probe(never);
      const abort = new AbortController();
      const reason = new Error("not wanted any more");
      const slow = driver.sample({ ...harness.slow, onUsage: () => abort.abort(reason) }, abort.signal);
      // A host that says nothing of its usage while it works is aborted by this instead.
      const fallback = setTimeout(() => abort.abort(reason), ABORT_AFTER_MS);
      await expect(slow).rejects.toBe(reason);
      clearTimeout(fallback);
      expect((await driver.sample(harness.request, never)).result.kind).toBe("rollout");
    });

    it("scores between 0 and 1, or says that it cannot", async () => {
      const { can } = await driver.probe(never);
      const scored = driver.score(harness.score, never);
      if (!can.includes("score")) return expect(scored).rejects.toMatchObject({ code: "unimplemented" });
      const { score, usage } = await scored;
      expect(score).toBeGreaterThanOrEqual(0);
      expect(score).toBeLessThanOrEqual(1);
      expectUsage(usage);
    });

    const sampled = async (sampling: Partial<Sampling>, request: SampleRequest = harness.request) =>
      (await driver.sample({ ...request, sampling: { ...request.sampling, ...sampling } }, never)).result;

    it("says the mean log-probability of what it sampled, or that it cannot", async () => {
      const { can } = await driver.probe(never);
      if (!can.includes("logprobs"))
        return expect(sampled({ logprobs: true })).rejects.toMatchObject(refusalOf("logprobs"));
      const told = await sampled({ logprobs: true });
      expect(told.meanLogprob).toBeLessThanOrEqual(0);
      expect(told.meanLogprob).toBeGreaterThan(-100);
      const silent = await sampled({});
      expect(silent.text).toBe(told.text);
    });

    it("goes on from the tokens that it sampled as from their text, and says them only where it can", async () => {
      const { can } = await driver.probe(never);
      const request = { ...harness.lengthy, seed: harness.lengthy.seed + 1 };
      const { text, tokens } = await sampled({ tokens: true }, request);
      expect(tokens !== undefined).toBe(can.includes("tokens"));
      expect((await sampled({}, request)).tokens).toBeUndefined();
      if (tokens === undefined) return;
      expect(tokens.length).toBeLessThanOrEqual(request.sampling.maxTokens);
      const goOn = (piece: { readonly text: string; readonly tokens?: readonly number[] }) =>
        sampled({ maxTokens: 8 }, { ...harness.request, pieces: [...harness.request.pieces, piece] });
      expect((await goOn({ text, tokens })).text).toBe((await goOn({ text })).text);
    });

    it("says how likely a text is behind another, or that it cannot", async () => {
      const { can } = await driver.probe(never);
      const { text } = await sampled({ temperature: 0 }, harness.lengthy);
      const asked = driver.likelihood({ pieces: harness.lengthy.pieces, continuation: { text } }, never);
      if (!can.includes("likelihood")) return expect(asked).rejects.toMatchObject({ code: "unimplemented" });
      const { meanLogprob, usage } = await asked;
      expect(meanLogprob).toBeLessThanOrEqual(0);
      expect(meanLogprob).toBeGreaterThan(-100);
      expectUsage(usage);
    });

    it("judges as a reward model, or says that it is none", async () => {
      const { can } = await driver.probe(never);
      for (const over of ["text", "steps"] as const) {
        const asked = driver.reward({ input: "1 + 1 = 2", over }, never);
        if (can.includes("reward")) expect((await asked).rows.length).toBeGreaterThan(0);
        else await expect(asked).rejects.toMatchObject({ code: "unimplemented" });
      }
    });

    for (const { structure, texts } of STRUCTURES) {
      it(`holds a text to a ${structure.kind}, or says that it cannot`, async () => {
        const { can } = await driver.probe(never);
        const asked = sampled({ structure, maxTokens: 32 });
        if (!can.includes(structure.kind))
          return expect(asked).rejects.toMatchObject(refusalOf(structure.kind));
        expect(texts).toContain((await asked).text);
      });
    }

    it("searches by beams, or says that it cannot", async () => {
      const { can } = await driver.probe(never);
      const asked = sampled({ beamWidth: 3, topP: 1 });
      if (!can.includes("beam-search")) return expect(asked).rejects.toMatchObject(refusalOf("beam-search"));
      expect((await asked).text).not.toBe("");
    });

    it("closes twice, and answers nothing after", async () => {
      await driver.probe(never);
      await driver.close();
      await driver.close();
      await expect(driver.sample(harness.request, never)).rejects.toThrow();
    });
  });
}

function refusalOf(ability: string) {
  return { code: "invalid_argument", message: expect.stringContaining(`asks for ${ability}`) };
}

function expectUsage(usage: AttemptUsage): void {
  for (const tokens of [usage.promptTokens, usage.cachedTokens, usage.completionTokens]) {
    if (tokens === null) continue;
    expect(Number.isSafeInteger(tokens)).toBe(true);
    expect(tokens).toBeGreaterThanOrEqual(0);
  }
  if (usage.cachedTokens !== null && usage.promptTokens !== null)
    expect(usage.cachedTokens).toBeLessThanOrEqual(usage.promptTokens);
}

function expectSignals({ kvUsage, running, waiting, refusals, cacheClears, ...tokens }: EngineSignals): void {
  if (kvUsage !== null) {
    expect(kvUsage).toBeGreaterThanOrEqual(0);
    expect(kvUsage).toBeLessThanOrEqual(1);
  }
  for (const count of [running, waiting, refusals, cacheClears, ...Object.values(tokens)]) {
    if (count === null) continue;
    expect(Number.isSafeInteger(count)).toBe(true);
    expect(count).toBeGreaterThanOrEqual(0);
  }
}
