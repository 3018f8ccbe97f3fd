import { describe, expect, it } from "vitest";
import { createRandom } from "../../services/runtime/random.ts";
import {
  type EngineEvent,
  EngineModel,
  type EngineModelOptions,
  type EnginePiece,
  type EngineRequest,
} from "../../workers/rollout/drivers/simulated/engine-model.ts";
import { engineProfile, type EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { runNaively, type Order } from "./naive-engine.ts";

const VLLM: EngineModelOptions = { sharesColdPrefixes: true, schedulesByPriority: false };
const COLD: EngineModelOptions = { sharesColdPrefixes: false, schedulesByPriority: false };

function request(id: number, more: Partial<EngineRequest> = {}): EngineRequest {
  const pieces = [{ id: `prompt of ${id}`, tokens: 100 }];
  return { id, pieces, completionTokens: 10, output: `output of ${id}`, priority: 0, ...more };
}

function finish(model: EngineModel): EngineEvent[] {
  const events: EngineEvent[] = [];
  for (let atMs = model.nextMs(); atMs < Infinity; atMs = model.nextMs()) events.push(...model.advance(atMs));
  return events;
}

function finished(events: readonly EngineEvent[], id: number) {
  const found = events.find((event) => event.kind === "finished" && event.id === id);
  if (found?.kind !== "finished") throw new Error(`request ${id} has not finished`);
  return found;
}

describe("engine model", () => {
  it("takes as long for one request as the formula says", () => {
    const profile = engineProfile("8b-h100");
    const model = new EngineModel(profile, VLLM);
    model.submit(request(1, { completionTokens: 100 }), 0);
    const events = finish(model);
    const prefill = 15 + 6.8 + 0.0044 + 100 / 28;
    const decoding = 99 * (6.8 + 0.0044) + 63e-6 * (99 * 100 + (99 * 98) / 2);
    expect(events[0]).toEqual({
      kind: "first-token",
      id: 1,
      atMs: expect.closeTo(prefill, 9),
      cachedTokens: 0,
    });
    expect(events[1]).toEqual({
      kind: "finished",
      id: 1,
      atMs: expect.closeTo(prefill + decoding, 6),
      promptTokens: 100,
      cachedTokens: 0,
    });
    expect(model.signals).toMatchObject({
      running: 0,
      waiting: 0,
      kvUsage: 0,
      promptTokensComputed: 100,
      completionTokens: 100,
    });
  });

  it("computes a prompt in chunks that share their steps with decoding", () => {
    const profile = engineProfile("8b-h100", { requestOverheadMs: 0 });
    const model = new EngineModel(profile, VLLM);
    model.submit(request(1, { completionTokens: 1_000 }), 0);
    const long = { pieces: [{ id: "long", tokens: 20_000 }], completionTokens: 1 };
    model.submit(request(2, long), 500);
    const events = finish(model);
    const { atMs } = finished(events, 2);
    // Three chunks of 8,191, 8,191 and 3,618 tokens beside one decoding sequence.
    expect(atMs).toBeGreaterThan(500 + 20_000 / 28 + 3 * 6.8);
    expect(atMs).toBeLessThan(500 + 20_000 / 28 + 5 * 6.8);
    expect(finished(events, 1).atMs).toBeGreaterThan(atMs);
  });

  it("finds whole blocks of a prefix again, and computes at least one token", () => {
    const model = new EngineModel(engineProfile("8b-h100"), VLLM);
    const pieces = [{ id: "even", tokens: 96 }];
    model.submit(request(1, { pieces }), 0);
    finish(model);
    model.submit(request(2, { pieces }), 1_000);
    model.submit(request(3, { pieces: [...pieces, { id: "more", tokens: 7 }] }), 1_000);
    const events = finish(model);
    expect(finished(events, 2).cachedTokens).toBe(80);
    expect(finished(events, 3).cachedTokens).toBe(96);
  });

  it("finds what was generated again, but for the last token", () => {
    const model = new EngineModel(engineProfile("8b-h100"), VLLM);
    const [prompt, output] = [
      { id: "prompt", tokens: 96 },
      { id: "output", tokens: 64 },
    ] as const;
    model.submit(request(1, { pieces: [prompt], completionTokens: 64, output: "output" }), 0);
    finish(model);
    model.submit(request(2, { pieces: [prompt, output, { id: "next", tokens: 5 }] }), 5_000);
    expect(finished(finish(model), 2).cachedTokens).toBe(96 + 48);
  });

  it("lets a sibling in the same step share a cold prompt only where the engine does", () => {
    const pieces: EnginePiece[] = [{ id: "prompt", tokens: 1_000 }];
    const cachedOf = (options: EngineModelOptions): number => {
      const model = new EngineModel(engineProfile("8b-h100"), options);
      model.submit(request(1, { pieces }), 0);
      model.submit(request(2, { pieces }), 0);
      return finished(finish(model), 2).cachedTokens;
    };
    expect(cachedOf(VLLM)).toBe(992);
    expect(cachedOf(COLD)).toBe(0);
  });

  it("preempts the last admitted where blocks run out, and finishes it later with the same tokens", () => {
    const profile = engineProfile("8b-h100", { kvCapacityTokens: 320, requestOverheadMs: 0 });
    const model = new EngineModel(profile, VLLM);
    for (const id of [1, 2]) model.submit(request(id, { completionTokens: 100 }), 0);
    const events = finish(model);
    expect(model.signals.preemptions).toBeGreaterThan(0);
    expect(finished(events, 2).atMs).toBeGreaterThan(finished(events, 1).atMs);
    expect(model.signals.completionTokens).toBe(200);
    expect(events.filter(({ kind }) => kind === "first-token")).toHaveLength(2);
  });

  it("admits by priority where it schedules by priority", () => {
    const profile = engineProfile("8b-h100", { sequencesMax: 1 });
    const model = new EngineModel(profile, { ...VLLM, schedulesByPriority: true });
    for (const [id, priority] of [
      [1, 5],
      [2, 3],
      [3, -1],
    ] as const)
      model.submit(request(id, { priority }), 0);
    const order = finish(model).filter(({ kind }) => kind === "finished");
    expect(order.map(({ id }) => id)).toEqual([3, 2, 1]);
  });

  it("says nothing more of a request that was aborted, and keeps what it had computed", () => {
    const model = new EngineModel(engineProfile("8b-h100"), VLLM);
    const pieces = [{ id: "prompt", tokens: 800 }];
    model.submit(request(1, { pieces, completionTokens: 1_000 }), 0);
    model.advance(1_000);
    expect(model.generated(1, 1_000)).toBeGreaterThan(100);
    model.abort(1, 1_000);
    expect(model.signals).toMatchObject({ running: 0, kvUsage: 0 });
    model.submit(request(2, { pieces }), 1_000);
    const events = finish(model);
    expect(events.some(({ id }) => id === 1)).toBe(false);
    expect(finished(events, 2).cachedTokens).toBe(784);
  });

  it("forgets every prefix when its cache is lost", () => {
    const model = new EngineModel(engineProfile("8b-h100"), VLLM);
    const pieces = [{ id: "prompt", tokens: 800 }];
    model.submit(request(1, { pieces }), 0);
    finish(model);
    model.clear(1_000);
    model.submit(request(2, { pieces }), 1_000);
    expect(finished(finish(model), 2).cachedTokens).toBe(0);
  });

  it("refuses at once what could never run", () => {
    const model = new EngineModel(engineProfile("8b-h100", { kvCapacityTokens: 160 }), VLLM);
    expect(() => model.submit(request(1, { completionTokens: 100 }), 0)).toThrow(
      /request 1: expected prompt and completion to fit the KV cache of 160 tokens, found 100 and 100/,
    );
    expect(() => model.submit(request(1, { pieces: [] }), 0)).toThrow(/at least one token.*found 0 and 10/);
    expect(() => model.submit(request(1, { completionTokens: -1 }), 0)).toThrow(/found 100 and -1/);
    model.submit(request(1), 0);
    expect(() => model.submit(request(1), 0)).toThrow(/expected an id that is not in use/);
  });
});

/** Trees of prompts that share prefixes, follow-ups that continue outputs, twins, aborts, losses of the cache. */
function randomScript(seed: number, profile: EngineProfile, options: EngineModelOptions): Order[] {
  const random = createRandom(seed);
  const below = (limit: number): number => Math.floor(random.next() * limit);
  const capacity = Math.floor(profile.kvCapacityTokens / profile.blockTokens) * profile.blockTokens;
  const lengths = new Map<string, number>();
  const piece = (id: string): EnginePiece => {
    const tokens = lengths.get(id) ?? 1 + below(30);
    lengths.set(id, tokens);
    return { id, tokens };
  };
  const orders: Order[] = [];
  let atMs = 0;
  for (let id = 0; id < 40; id += 1) {
    if (below(3) > 0) atMs += random.next() * 60;
    const root = `r${below(3)}`;
    const branch = `${root}.${below(3)}`;
    const pieces = [piece(root), piece(branch), ...(below(3) === 0 ? [piece(`${branch}.o${below(3)}`)] : [])];
    const path = pieces.at(-1)?.id ?? root;
    const output = `${path}.o${below(4)}`;
    const completionTokens = below(12) === 0 ? 0 : piece(output).tokens;
    const prompt = pieces.reduce((sum, { tokens }) => sum + tokens, 0);
    if (prompt + completionTokens - 1 > capacity) continue;
    const isWhole = below(4) === 0;
    const whole = [...pieces, { id: output, tokens: completionTokens }];
    const priority = options.schedulesByPriority ? below(3) : 0;
    orders.push({
      kind: "submit",
      atMs,
      request: isWhole
        ? { id, pieces: whole, completionTokens, output: null, priority }
        : { id, pieces, completionTokens, output, priority },
    });
    if (below(6) === 0) orders.push({ kind: "abort", atMs: atMs + random.next() * 400, id });
    if (below(30) === 0) orders.push({ kind: "clear", atMs: atMs + random.next() * 200 });
  }
  return orders.toSorted((a, b) => a.atMs - b.atMs);
}

function obey(model: EngineModel, order: Order): void {
  if (order.kind === "submit") model.submit(order.request, order.atMs);
  else if (order.kind === "abort") model.abort(order.id, order.atMs);
  else model.clear(order.atMs);
}

/** @param peeks Whether it is looked at between the orders, which must change nothing. */
function runScript(model: EngineModel, orders: readonly Order[], { peeks }: { readonly peeks: boolean }) {
  const events: EngineEvent[] = [];
  let lastMs = 0;
  for (const order of orders) {
    for (let atMs = model.nextMs(); atMs < order.atMs; atMs = model.nextMs())
      events.push(...model.advance(atMs));
    if (peeks && order.atMs > lastMs) {
      events.push(...model.advance((lastMs + order.atMs) / 2));
      expect(model.signals.kvUsage).toBeLessThanOrEqual(1);
      expect(model.signals.running).toBeLessThanOrEqual(model.profile.sequencesMax);
    }
    lastMs = order.atMs;
    obey(model, order);
  }
  return [...events, ...finish(model)];
}

const WAYS: readonly (EngineModelOptions & { readonly name: string })[] = [
  { name: "as vLLM", ...VLLM },
  { name: "as SGLang", ...COLD },
  { name: "by priority", sharesColdPrefixes: true, schedulesByPriority: true },
  { name: "by priority, cold", sharesColdPrefixes: false, schedulesByPriority: true },
];

describe.each(WAYS)("engine model against one step at a time, $name", (options) => {
  const seeds = Array.from({ length: 20 }, (_, seed) => seed);
  it.each([
    { kv: 10_000, sequencesMax: 8, prefillChunkTokens: 40 },
    { kv: 160, sequencesMax: 8, prefillChunkTokens: 64 },
    { kv: 112, sequencesMax: 4, prefillChunkTokens: 12 },
    { kv: 300, sequencesMax: 32, prefillChunkTokens: 33 },
  ])("gives the same events with $kv tokens of KV and chunks of $prefillChunkTokens", (shape) => {
    let preemptions = 0;
    for (const seed of seeds) {
      const profile = engineProfile("8b-h100", {
        kvCapacityTokens: shape.kv,
        sequencesMax: shape.sequencesMax,
        prefillChunkTokens: shape.prefillChunkTokens,
        blockTokens: 8,
        requestOverheadMs: seed % 2 === 0 ? 0 : 7,
      });
      const orders = randomScript(seed, profile, options);
      const naive = runNaively(profile, options, orders);
      for (const peeks of [false, true]) {
        const model = new EngineModel(profile, options);
        const events = runScript(model, orders, { peeks });
        expect(rounded(events), `seed ${seed}`).toEqual(rounded(naive.events));
        expect(model.signals, `seed ${seed}`).toMatchObject({
          running: 0,
          waiting: 0,
          kvUsage: 0,
          preemptions: naive.preemptions,
          promptTokensComputed: naive.promptTokensComputed,
          completionTokens: naive.completionTokens,
        });
      }
      preemptions += naive.preemptions;
      expectEveryEnd(orders, naive.events);
    }
    if (shape.kv < 200) expect(preemptions).toBeGreaterThan(10);
  });
});

/** Times of the one are sums of steps, those of the other closed forms. */
function rounded(events: readonly EngineEvent[]): readonly EngineEvent[] {
  return events.map((event) => ({ ...event, atMs: Math.round(event.atMs * 1e4) / 1e4 }));
}

function expectEveryEnd(orders: readonly Order[], events: readonly EngineEvent[]): void {
  const aborted = new Set(orders.flatMap((order) => (order.kind === "abort" ? [order.id] : [])));
  const ended = new Set(events.flatMap((event) => (event.kind === "finished" ? [event.id] : [])));
  for (const order of orders)
    if (order.kind === "submit" && !aborted.has(order.request.id))
      expect(ended.has(order.request.id), `request ${order.request.id}`).toBe(true);
}
