/** Each router's published rule, in situations made by hand. */
import { describe, expect, test } from "vitest";
import { boundedLoadHash } from "../../bench/placement/bounded-load-hash.ts";
import { cacheAware } from "../../bench/placement/cache-aware.ts";
import { chunksOf } from "../../bench/placement/chunks.ts";
import { HostTree } from "../../bench/placement/host-tree.ts";
import { leastLoad } from "../../bench/placement/least-load.ts";
import { llmd } from "../../bench/placement/llm-d.ts";
import { prefixAware } from "../../bench/placement/prefix-aware.ts";
import { roundRobin } from "../../bench/placement/round-robin.ts";
import type { RoutedRequest, RouterFactory, RouterPlace } from "../../bench/placement/router.ts";
import { stickyLeastLoaded } from "../../bench/placement/sticky-least-loaded.ts";

const ROOT = 1_000_000;

/** Pieces as (id, tokens). */
function ask(session: number, ...pieces: readonly (readonly [id: number, tokens: number])[]): RoutedRequest {
  return {
    session,
    pieces: pieces.map(([id, tokens]) => ({ id, tokens, isGenerated: false })),
    promptTokens: pieces.reduce((sum, [, tokens]) => sum + tokens, 0),
  };
}

/** A router over hosts whose load the test sets; each request that is routed stays in flight. */
function stand(factory: RouterFactory, hosts: number, state: Partial<RouterPlace> = {}) {
  const inFlight = Array.from({ length: hosts }, () => 0);
  const routed = [...inFlight];
  const router = factory({
    hosts,
    seed: 1,
    nowMs: () => 0,
    inFlight: (host) => inFlight[host] ?? 0,
    routed: (host) => routed[host] ?? 0,
    waiting: () => 0,
    kvUsage: () => 0,
    ...state,
  });
  const route = (request: RoutedRequest): number => {
    const host = router.route(request);
    inFlight[host] = (inFlight[host] ?? 0) + 1;
    routed[host] = (routed[host] ?? 0) + 1;
    return host;
  };
  return { router, route, inFlight, routed };
}

const requestsPerHost = (hosts: number, placed: readonly number[]): readonly number[] =>
  Array.from({ length: hosts }, (_, host) => placed.filter((each) => each === host).length);

/** 8 problems x 8 samples, as an asynchronous client sends them. */
function samples(head: readonly (readonly [number, number])[]): readonly RoutedRequest[] {
  return Array.from({ length: 64 }, (_, i) => {
    const problem = Math.floor(i / 8);
    return ask(problem, ...head, [problem + 1, 400]);
  });
}

describe("round robin and least load", () => {
  test("take turns", () => {
    const { route } = stand(roundRobin, 3);
    expect([1, 2, 3, 4].map((i) => route(ask(i, [i, 10])))).toEqual([0, 1, 2, 0]);
  });

  test("choose the host with the fewest in flight, then the one that was routed the fewest", () => {
    const { route, inFlight, routed } = stand(leastLoad, 3);
    inFlight.splice(0, 3, 2, 1, 1);
    routed.splice(0, 3, 9, 8, 7);
    expect(route(ask(0, [1, 10]))).toBe(2);
    expect(route(ask(0, [1, 10]))).toBe(1);
  });
});

describe("cache-aware routing (SGLang router)", () => {
  test("follows a match above the threshold to the host that used it last", () => {
    const { route, inFlight } = stand(cacheAware(), 4);
    expect(route(ask(0, [1, 300], [10, 100]))).toBe(0);
    // 300 of 400 tokens match: above 0.3, though host 0 is the busiest.
    inFlight[0] = 20;
    expect(route(ask(0, [1, 300], [11, 100]))).toBe(0);
  });

  test("sends what matches too little to the least loaded host", () => {
    const { route } = stand(cacheAware(), 4);
    expect(route(ask(0, [ROOT, 100], [1, 300]))).toBe(0);
    // The root is a quarter of the prompt.
    expect(route(ask(1, [ROOT, 100], [2, 300]))).toBe(1);
    expect(route(ask(0, [ROOT, 100], [1, 300]))).toBe(0);
  });

  test("takes a system prompt above the threshold for a match: every new problem follows the last one", () => {
    const { route } = stand(cacheAware(), 4);
    const placed = Array.from({ length: 40 }, (_, problem) =>
      route(ask(problem, [ROOT, 400], [problem, 400])),
    );
    expect(requestsPerHost(4, placed)).toEqual([40, 0, 0, 0]);
  });

  test("falls to the least loaded when the pool is imbalanced by both thresholds, and remembers that", () => {
    const { route, inFlight } = stand(cacheAware(), 2);
    route(ask(0, [1, 400]));
    inFlight.splice(0, 2, 65, 1);
    expect(route(ask(0, [1, 400]))).toBe(0);
    inFlight.splice(0, 2, 66, 1);
    expect(route(ask(0, [1, 400]))).toBe(1);
    // It was put into the tree for host 1, which now used it last.
    inFlight.splice(0, 2, 3, 2);
    expect(route(ask(0, [1, 400]))).toBe(1);
    // 195 - 130 > 64, but not more than 1.5 times as much.
    inFlight.splice(0, 2, 130, 195);
    expect(route(ask(0, [1, 400]))).toBe(1);
  });

  test("with tight thresholds lets go of a host that is hardly busier", () => {
    const { route, inFlight } = stand(cacheAware({ absolute: 4, relative: 1.1 }), 2);
    route(ask(0, [1, 400]));
    inFlight.splice(0, 2, 7, 2);
    expect(route(ask(0, [1, 400]))).toBe(1);
  });

  test("cuts a host's part of its tree from the least recently used leaf", () => {
    const tree = new HostTree();
    tree.insert(ask(0, [1, 10], [2, 10]).pieces, 0);
    tree.insert(ask(0, [1, 10], [3, 10]).pieces, 0);
    tree.insert(ask(0, [1, 10], [3, 10]).pieces, 1);
    expect(tree.sizeOf(0)).toBe(120);
    tree.evict(80);
    expect(tree.sizeOf(0)).toBe(80);
    expect(tree.match(ask(0, [1, 10], [2, 10]).pieces)).toEqual({ share: 0.5, host: 1 });
    tree.evict(0);
    expect([tree.sizeOf(0), tree.sizeOf(1)]).toEqual([0, 0]);
    expect(tree.match(ask(0, [1, 10]).pieces)).toMatchObject({ share: 0 });
  });
});

describe("prefix-aware routing (vLLM production stack)", () => {
  test("keeps groups whole where their heads differ", () => {
    const { route } = stand(prefixAware, 4);
    const placed = samples([]).map(route);
    for (let problem = 0; problem < 8; problem++)
      expect(new Set(placed.slice(problem * 8, problem * 8 + 8)).size).toBe(1);
    expect(new Set(placed).size).toBeGreaterThan(1);
  });

  test("puts everything on one host where a system prompt of 1,240 characters is common", () => {
    const { route } = stand(prefixAware, 4);
    const counts = requestsPerHost(4, samples([[ROOT, 310]]).map(route));
    expect(counts.toSorted((a, b) => b - a)).toEqual([64, 0, 0, 0]);
  });

  test("takes prompts that differ within their first 128 characters for different", () => {
    const first = chunksOf(ask(0, [ROOT, 20], [1, 100]).pieces, { chunkTokens: 32, isLastPartial: true });
    const second = chunksOf(ask(0, [ROOT, 20], [2, 100]).pieces, { chunkTokens: 32, isLastPartial: true });
    expect(first).toHaveLength(4);
    expect(first.some((chunk) => second.includes(chunk))).toBe(false);
  });
});

describe("bounded-load consistent hashing (KubeAI PrefixHash)", () => {
  test("keeps a head on one host until that has 1.25 times its share", () => {
    const { route } = stand(boundedLoadHash(), 4);
    const placed = Array.from({ length: 16 }, () => route(ask(0, [1, 400])));
    // A host takes one more while it has at most 1.25 * (15 + 1) / 4 = 5.
    expect(Math.max(...requestsPerHost(4, placed))).toBe(6);
    expect(new Set(placed).size).toBeGreaterThan(2);
  });

  test("sees only the first 100 characters: a common head is one key", () => {
    const idle = { inFlight: () => 0 };
    const common = stand(boundedLoadHash(), 8, idle);
    expect(new Set(samples([[ROOT, 310]]).map(common.route)).size).toBe(1);
    const own = stand(boundedLoadHash(), 8, idle);
    expect(new Set(samples([]).map(own.route)).size).toBeGreaterThan(2);
  });
});

describe("sticky least-loaded routing (vllm-router)", () => {
  test("gives a new session the host with the fewest active ones, and keeps it there", () => {
    const { route, router } = stand(stickyLeastLoaded, 3);
    expect([0, 1, 2, 0, 1, 3].map((session) => route(ask(session, [session, 10])))).toEqual([
      0, 1, 2, 0, 1, 0,
    ]);
    router.sessionEnded?.(1);
    expect(route(ask(4, [4, 10]))).toBe(1);
    expect(route(ask(3, [3, 10]))).toBe(0);
  });
});

describe("llm-d's scores", () => {
  test("weigh a whole match as much as an idle cache and an empty queue together", () => {
    const usage = [1, 0];
    const waiting = [9, 0];
    const place = {
      kvUsage: (host: number) => usage[host] ?? 0,
      waiting: (host: number) => waiting[host] ?? 0,
    };
    const { route, router } = stand(llmd({ producer: "precise" }), 2, place);
    router.computed?.(ask(0, [1, 640]).pieces, 0);
    // 2 * 9/10 on host 0 against 1 + 1 on host 1.
    expect(route(ask(0, [1, 576], [2, 64]))).toBe(1);
    usage[0] = 0.5;
    // 2 + 0.5 against 2.
    expect(route(ask(0, [1, 640]))).toBe(0);
    waiting[1] = 9;
    expect(route(ask(0, [2, 640]))).toBe(1);
  });

  test("scatter a burst that begins with nothing cached, by the precise producer alone", () => {
    const burst = Array.from({ length: 64 }, () => ask(0, [1, 640]));
    expect(new Set(burst.map(stand(llmd({ producer: "precise" }), 8).route)).size).toBe(8);
    expect(new Set(burst.map(stand(llmd(), 8).route)).size).toBe(1);
  });

  test("forget of each host the blocks that were used least recently", () => {
    const { route } = stand(llmd({ blocksPerHost: 10 }), 2, { kvUsage: (host) => (host === 0 ? 0 : 0.5) });
    expect(route(ask(0, [1, 640]))).toBe(0);
    expect(route(ask(0, [2, 640]))).toBe(0);
    const busy = stand(llmd({ blocksPerHost: 10 }), 2, { waiting: (host) => (host === 0 ? 1 : 0) });
    busy.route(ask(0, [1, 640]));
    expect(busy.route(ask(0, [1, 640]))).toBe(1);
  });
});
