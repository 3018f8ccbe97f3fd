import { describe, expect, it } from "vitest";
import type { Segment, SegmentId } from "../../services/queue/job.ts";
import { CoppiceError } from "../../services/runtime/errors.ts";
import { createSegmentCache } from "../../workers/segment-cache.ts";

const never = new AbortController().signal;

/** A link that holds one text per id, and notes what it is asked. */
function linkOf(texts: Readonly<Record<SegmentId, string>>) {
  const asked: (readonly SegmentId[])[] = [];
  const signals: (AbortSignal | undefined)[] = [];
  const gate = { open: Promise.resolve() };
  return {
    asked,
    signals,
    gate,
    async segments(ids: readonly SegmentId[], signal?: AbortSignal): Promise<readonly Segment[]> {
      asked.push(ids);
      signals.push(signal);
      await gate.open;
      return ids.map((id) => {
        const text = texts[id];
        if (text === undefined) throw new CoppiceError("not_found", `segment ${id}`);
        return { id, text };
      });
    },
  };
}

describe("segment cache", () => {
  it("fetches a segment once", async () => {
    const link = linkOf({ a: "A", b: "B" });
    const cache = createSegmentCache({ link });
    expect(await cache.textOf(["a"], never)).toBe("A");
    expect(await cache.textOf(["a", "b", "a"], never)).toBe("ABA");
    expect(await cache.piecesOf(["b", "a"], never)).toEqual([{ text: "B" }, { text: "A" }]);
    expect(link.asked).toEqual([["a"], ["b"]]);
  });

  it("fetches what several wait for once", async () => {
    const link = linkOf({ a: "A", b: "B" });
    const cache = createSegmentCache({ link });
    const texts = await Promise.all([
      cache.textOf(["a"], never),
      cache.textOf(["a", "b"], never),
      cache.textOf(["b"], never),
    ]);
    expect(texts).toEqual(["A", "AB", "B"]);
    expect(link.asked).toEqual([["a"], ["b"]]);
  });

  it("stays within its bytes, and forgets the least recently used", async () => {
    const link = linkOf({ a: "a".repeat(1000), b: "b".repeat(1000), c: "c".repeat(1000) });
    const cache = createSegmentCache({ link, bytesMax: 5_000 });
    await cache.textOf(["a", "b"], never);
    await cache.textOf(["a"], never);
    expect((await cache.textOf(["a", "b", "c"], never)).length).toBe(3000);
    expect(cache.bytes()).toBeLessThanOrEqual(5_000);
    expect(link.asked).toEqual([["a", "b"], ["c"]]);
    await cache.textOf(["a"], never);
    expect(link.asked).toHaveLength(3);
  });

  it("says which segment the coordinator does not hold, and does not let it cost another's request", async () => {
    const cache = createSegmentCache({ link: linkOf({ a: "A" }) });
    const both = cache.textOf(["a", "gone"], never);
    const one = cache.textOf(["a"], never);
    await expect(both).rejects.toMatchObject({ code: "not_found", message: "segment gone" });
    expect(await one).toBe("A");
  });

  it("leaves a request that others still wait for, and ends one that nobody waits for", async () => {
    const link = linkOf({ a: "A", b: "B" });
    const held = Promise.withResolvers<void>();
    link.gate.open = held.promise;
    const cache = createSegmentCache({ link });
    const abort = new AbortController();
    const leaving = cache.textOf(["a"], abort.signal);
    const staying = cache.textOf(["a"], never);
    const alone = cache.textOf(["b"], abort.signal);
    abort.abort(new Error("not wanted"));
    await expect(leaving).rejects.toThrow("not wanted");
    await expect(alone).rejects.toThrow("not wanted");
    expect(link.signals.map((signal) => signal?.aborted)).toEqual([false, true]);
    held.resolve();
    expect(await staying).toBe("A");
  });
});
