import { describe, expect, test } from "vitest";
import type { EngineSignals } from "../../workers/rollout/driver.ts";
import { AdaptiveConcurrency } from "../../workers/rollout/adaptive-concurrency.ts";
import { createEngineModel, type EngineModelOptions } from "../support/engine-model.ts";

/** Steps of 7 ms; rollouts of 200 to 800 tokens behind 500; with 100,000 tokens of KV about 128 of them fit. */
const ENGINE: EngineModelOptions = {
  kvTokens: 100_000,
  sequencesMax: 1_024,
  stepSeconds: 0.007,
  sequenceSeconds: 0.000_03,
  sequencesFast: 4_096,
  promptTokens: 500,
  outputTokens: [200, 800],
  seed: 3,
};

interface Played {
  /** Tokens completed in a second, from `fromSecond` on. */
  readonly tokensPerSecond: number;
  readonly preemptions: number;
  /** The number after each second, from `fromSecond` on. */
  readonly numbers: readonly number[];
}

/** What comes of a number that adapts, after it has had time to. */
function adapt(
  engine: EngineModelOptions,
  play: {
    readonly start: number;
    readonly max: number;
    readonly seconds: number;
    readonly fromSecond: number;
    readonly isSilent?: boolean;
    /** Seconds in which the engine refuses more than `above`. */
    readonly storm?: { readonly from: number; readonly to: number; readonly above: number };
  },
): Played {
  const model = createEngineModel(engine);
  const concurrency = new AdaptiveConcurrency(play);
  const numbers: number[] = [];
  let before = { tokens: 0, preemptions: 0 };
  for (let second = 1; second <= play.seconds; second += 1) {
    const atMs = second * 1_000;
    if (second === play.fromSecond) before = { tokens: model.tokens, preemptions: model.preemptions };
    if (second === play.storm?.from) model.refuseAbove(play.storm.above);
    if (second === play.storm?.to) model.refuseAbove(Infinity);
    model.run(1, {
      concurrency: () => concurrency.number,
      onFinished: (tokens) => concurrency.finished(tokens),
      onRefused: () => concurrency.refused(atMs),
    });
    const signals = play.isSilent === true ? null : model.signals();
    concurrency.observe({ atMs, inFlight: model.inFlight, signals });
    if (second >= play.fromSecond) numbers.push(concurrency.number);
  }
  return {
    tokensPerSecond: (model.tokens - before.tokens) / (play.seconds - play.fromSecond),
    preemptions: model.preemptions - before.preemptions,
    numbers,
  };
}

/** Tokens in a second of a number that stays. */
function hold(engine: EngineModelOptions, number: number, seconds = 600): number {
  const model = createEngineModel(engine);
  model.run(seconds, { concurrency: () => number, onFinished: () => undefined, onRefused: () => undefined });
  return model.tokens / seconds;
}

function spreadOf(numbers: readonly number[]): number {
  return Math.max(...numbers) / Math.min(...numbers);
}

const CALM: EngineSignals = {
  running: 0,
  waiting: 0,
  kvUsage: 0.1,
  preemptions: 0,
  refusals: 0,
  promptTokensComputed: null,
  promptTokensCached: null,
  cacheClears: 0,
};

/** A controller that is told `signals` once a second while it is used and answers come. */
function told(start: number, max: number) {
  const concurrency = new AdaptiveConcurrency({ start, max });
  let second = 0;
  return {
    concurrency,
    get atMs() {
      return second * 1_000;
    },
    seconds: (count: number, signals: Partial<EngineSignals>, inFlight?: number): number => {
      for (let left = count; left > 0; left -= 1) {
        second += 1;
        for (let n = 0; n < concurrency.number; n += 1) concurrency.finished(10);
        concurrency.observe({
          atMs: second * 1_000,
          inFlight: inFlight ?? concurrency.number,
          signals: { ...CALM, ...signals },
        });
      }
      return concurrency.number;
    },
  };
}

describe("adaptive concurrency: an engine that says how it is doing", () => {
  test("finds the number that fills the KV cache, and preempts next to nothing", () => {
    const best = Math.max(...[96, 112, 128, 160].map((number) => hold(ENGINE, number)));
    for (const start of [4, 32, 400]) {
      const found = adapt(ENGINE, { start, max: 512, seconds: 900, fromSecond: 300 });
      expect(found.tokensPerSecond).toBeGreaterThan(0.9 * best);
      expect(found.preemptions).toBeLessThan(20);
      expect(spreadOf(found.numbers)).toBeLessThan(1.5);
    }
  });

  test("stays near the sequences that the engine decodes at once, with a short queue before them", () => {
    const engine = { ...ENGINE, kvTokens: 1_000_000, sequencesMax: 48 };
    const found = adapt(engine, { start: 8, max: 512, seconds: 900, fromSecond: 300 });
    expect(found.tokensPerSecond).toBeGreaterThan(0.9 * hold(engine, 64));
    expect(Math.min(...found.numbers)).toBeGreaterThan(32);
    expect(Math.max(...found.numbers)).toBeLessThan(72);
  });

  test("settles for long rollouts too, whose memory comes late", () => {
    const engine = { ...ENGINE, kvTokens: 400_000, outputTokens: [3_000, 8_000] as const };
    const found = adapt(engine, { start: 16, max: 512, seconds: 1_800, fromSecond: 600 });
    expect(found.tokensPerSecond).toBeGreaterThan(0.85 * hold(engine, 128, 1_800));
    expect(spreadOf(found.numbers)).toBeLessThan(2);
  });

  test("comes back after a storm of refusals", () => {
    const storm = { from: 300, to: 360, above: 20 };
    const during = adapt(ENGINE, { start: 32, max: 512, seconds: 359, fromSecond: 340, storm });
    expect(Math.max(...during.numbers)).toBeLessThan(70);
    const after = adapt(ENGINE, { start: 32, max: 512, seconds: 800, fromSecond: 500, storm });
    expect(Math.min(...after.numbers)).toBeGreaterThan(90);
  });

  test("doubles while all is calm, then goes up in small steps", () => {
    const { seconds } = told(4, 256);
    expect(seconds(3, {})).toBe(8);
    expect(seconds(4, {})).toBe(32);
    expect(seconds(1, { waiting: 30 })).toBe(32);
    expect(seconds(2, {})).toBe(36);
  });

  test("does not grow while it is not used", () => {
    const { seconds } = told(10, 256);
    expect(seconds(60, {}, 8)).toBe(10);
    expect(seconds(4, {}, 9)).toBeGreaterThan(10);
  });

  test("does not grow towards a cache that would be full by then", () => {
    const { seconds } = told(10, 256);
    expect(seconds(3, { kvUsage: 0.6 })).toBe(15);
    expect(seconds(20, { kvUsage: 0.92 })).toBe(15);
  });

  test("is cut once for preemptions that come in a burst, and keeps away from where it was cut", () => {
    const { seconds } = told(100, 256);
    seconds(1, { preemptions: 7 });
    expect(seconds(1, { preemptions: 8 })).toBe(80);
    for (let n = 9; n < 20; n += 1) expect(seconds(1, { preemptions: n })).toBe(80);
    expect(seconds(40, { preemptions: 20 })).toBe(90);
    expect(seconds(30, { preemptions: 20 })).toBeGreaterThan(90);
  });

  test("is cut once in an episode of refusals, told by the driver or by the asks, and again when they go on", () => {
    const play = told(100, 256);
    play.seconds(1, { refusals: 3 });
    play.seconds(1, { refusals: 9 });
    for (let n = 0; n < 10; n += 1) play.concurrency.refused(play.atMs + n * 1_000);
    expect(play.concurrency.number).toBe(80);
    play.concurrency.refused(play.atMs + 16_000);
    expect(play.concurrency.number).toBe(64);
  });

  test("rests while a few asks wait, and is cut when they stay", () => {
    const { seconds } = told(20, 256);
    expect(seconds(4, { waiting: 3 })).toBe(20);
    expect(seconds(2, { waiting: 3 })).toBe(16);
  });

  test("is trimmed a little at a time, and only once what is in flight has come down", () => {
    const { seconds } = told(100, 256);
    expect(seconds(3, { kvUsage: 0.97 })).toBe(97);
    expect(seconds(10, { kvUsage: 0.97 }, 100)).toBe(97);
    expect(seconds(2, { kvUsage: 0.97 }, 97)).toBe(94);
  });

  test("counts of an engine that began anew are no preemptions", () => {
    const { seconds } = told(100, 256);
    seconds(1, { preemptions: 50, refusals: 9 });
    seconds(1, { preemptions: 0, refusals: 0 });
    expect(seconds(1, { preemptions: 0, refusals: 0 })).toBeGreaterThanOrEqual(100);
  });

  test("never leaves its bounds, and a fixed one never moves", () => {
    const { seconds } = told(2, 6);
    expect(seconds(200, {})).toBe(6);
    for (let n = 0; n < 40; n += 1) seconds(20, { preemptions: n });
    expect(seconds(1, { preemptions: 99 })).toBe(1);
    const fixed = told(16, 16);
    fixed.concurrency.refused(0);
    expect(fixed.seconds(100, { preemptions: 5, waiting: 40, kvUsage: 1 })).toBe(16);
    expect(fixed.concurrency.isFixed).toBe(true);
  });
});

describe("adaptive concurrency: an engine that says nothing", () => {
  const saturating = { ...ENGINE, kvTokens: 1_000_000, sequencesMax: 32 };

  test("goes up while more asks bring more tokens, and stays when they do not", () => {
    const found = adapt(saturating, { start: 4, max: 512, seconds: 1_500, fromSecond: 500, isSilent: true });
    expect(found.tokensPerSecond).toBeGreaterThan(0.95 * hold(saturating, 64));
    expect(Math.min(...found.numbers)).toBeGreaterThanOrEqual(30);
    expect(Math.max(...found.numbers)).toBeLessThan(64);
  });

  test("goes back from where the engine thrashes", () => {
    const engine = { ...ENGINE, kvTokens: 1_000_000, sequencesFast: 64, sequenceSeconds: 0.000_2 };
    const found = adapt(engine, { start: 8, max: 512, seconds: 2_400, fromSecond: 600, isSilent: true });
    const middle = found.numbers.toSorted((a, b) => a - b)[found.numbers.length >> 1] ?? 0;
    expect(middle).toBeGreaterThanOrEqual(48);
    expect(middle).toBeLessThanOrEqual(80);
  });

  test("is cut when it refuses, and comes back", () => {
    const storm = { from: 500, to: 560, above: 8 };
    const found = adapt(saturating, {
      start: 4,
      max: 512,
      seconds: 1_500,
      fromSecond: 1_000,
      isSilent: true,
      storm,
    });
    expect(found.tokensPerSecond).toBeGreaterThan(0.9 * hold(saturating, 64));
  });

  test("counts answers where nobody knows their tokens", () => {
    const concurrency = new AdaptiveConcurrency({ start: 4, max: 64 });
    for (let second = 1; second <= 60; second += 1) {
      for (let n = 0; n < concurrency.number; n += 1) concurrency.finished(null);
      concurrency.observe({ atMs: second * 1_000, inFlight: concurrency.number, signals: null });
    }
    expect(concurrency.number).toBe(64);
  });

  test("an engine that tells of refusals alone says nothing of its load", () => {
    const { seconds } = told(4, 64);
    const silent = { running: null, waiting: null, kvUsage: null, preemptions: null };
    expect(seconds(3, silent)).toBe(4);
    expect(seconds(60, silent)).toBe(64);
  });
});
