import { describe, expect, test } from "vitest";
import type { Random } from "../../services/runtime/random.ts";
import { createRandom } from "../../services/runtime/random.ts";
import { LeaderGate, type Passage } from "../../workers/rollout/leader-gate.ts";
import { promptPath, type PromptPath } from "../../workers/rollout/prompt-path.ts";
import { WarmSegments } from "../../workers/rollout/warm-segments.ts";

const never = new AbortController().signal;
const LONG = 100;

/** A path of segments of 100 tokens each: "a/b" is segment "a", then segment "a/b". */
function path(spelled: string, tokens = LONG): PromptPath {
  const names = spelled.split("/");
  const ids = names.map((_, index) => names.slice(0, index + 1).join("/"));
  return promptPath(
    ids,
    ids.map(() => ({ text: "x".repeat(tokens * 4) })),
  );
}

function openGate(leaderTokensMin = 64) {
  const warm = new WarmSegments({ segmentsMax: 1_000, tokensMax: Infinity });
  const gate = new LeaderGate({ warm, leaderTokensMin });
  const gone: string[] = [];
  const passages = new Map<string, Passage>();
  return {
    warm,
    gate,
    /** Names of the asks that have gone, in the order of their going. */
    gone,
    passage: (name: string): Passage => {
      const passage = passages.get(name);
      if (passage === undefined) throw new Error(`${name} has not gone`);
      return passage;
    },
    enter: async (name: string, spelled: PromptPath, signal = never): Promise<void> => {
      gate.enter(spelled, signal).then(
        (passage) => {
          passages.set(name, passage);
          gone.push(name);
        },
        () => undefined,
      );
      await settled();
    },
  };
}

/** What was granted has been told. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
}

describe("leader gate", () => {
  test("siblings wait for the first token of the one that went first, then go together", async () => {
    const { gate, gone, enter, passage } = openGate();
    await enter("leader", path("a"));
    await enter("s1", path("a"));
    await enter("s2", path("a"));
    expect(gone).toEqual(["leader"]);
    expect(gate.waiting).toBe(2);
    passage("leader").firstToken();
    await settled();
    expect(gone).toEqual(["leader", "s1", "s2"]);
    expect(gate.waiting).toBe(0);
    await enter("s3", path("a"));
    expect(gone).toContain("s3");
  });

  test("asks that have nothing in common go at once", async () => {
    const { gone, enter } = openGate();
    await enter("a", path("a"));
    await enter("b", path("b"));
    await enter("alone", []);
    expect(gone).toEqual(["a", "b", "alone"]);
  });

  test("the next one leads when the leader ends without a first token", async () => {
    const { gate, gone, enter, passage } = openGate();
    for (const name of ["leader", "s1", "s2"]) await enter(name, path("a"));
    passage("leader").ended();
    await settled();
    expect(gone).toEqual(["leader", "s1"]);
    passage("s1").firstToken();
    await settled();
    expect(gone).toEqual(["leader", "s1", "s2"]);
    expect(gate.waiting).toBe(0);
  });

  test("an answer of which no first token was told opens as a first token does", async () => {
    const { gone, enter, passage } = openGate();
    await enter("leader", path("a"));
    await enter("s1", path("a"));
    passage("leader").answered();
    await settled();
    expect(gone).toEqual(["leader", "s1"]);
  });

  test("the deepest cold segment in common decides", async () => {
    const { gone, enter, passage } = openGate();
    await enter("root", path("a"));
    await enter("left", path("a/l"));
    await enter("left leaf", path("a/l/x"));
    await enter("right", path("a/r"));
    expect(gone).toEqual(["root"]);
    passage("root").firstToken();
    await settled();
    // The branches part behind the root; the leaf has "a/l" in common with what has just gone.
    expect(gone).toEqual(["root", "left", "right"]);
    passage("right").firstToken();
    await settled();
    expect(gone).toEqual(["root", "left", "right"]);
    passage("left").firstToken();
    await settled();
    expect(gone).toEqual(["root", "left", "right", "left leaf"]);
  });

  test("what is cold and short is not waited for, what is long behind a warm beginning is", async () => {
    const { gone, enter, passage } = openGate();
    await enter("short", path("s", 63));
    await enter("short too", path("s", 63));
    expect(gone).toEqual(["short", "short too"]);
    await enter("long", path("a"));
    passage("long").firstToken();
    await enter("step", path("a/b"));
    await enter("step too", path("a/b"));
    expect(gone).not.toContain("step too");
    passage("step").firstToken();
    await settled();
    expect(gone).toContain("step too");
  });

  test("a waiting ask that is withdrawn leaves at once, and is never let in", async () => {
    const { gate, gone, enter, passage } = openGate();
    const withdrawal = new AbortController();
    await enter("leader", path("a"));
    await enter("s1", path("a"), withdrawal.signal);
    await enter("s2", path("a"));
    withdrawal.abort(new Error("withdrawn"));
    expect(gate.waiting).toBe(1);
    passage("leader").ended();
    await settled();
    expect(gone).toEqual(["leader", "s2"]);
    await expect(gate.enter(path("a"), withdrawal.signal)).rejects.toThrow("withdrawn");
  });

  test("a host that lost its cache is led anew", async () => {
    const { warm, gone, enter, passage } = openGate();
    await enter("leader", path("a"));
    passage("leader").firstToken();
    passage("leader").ended();
    warm.clear();
    await enter("s1", path("a"));
    await enter("s2", path("a"));
    expect(gone).toEqual(["leader", "s1"]);
  });

  test("a host that shares cold prefixes is waited for by nobody, and is warm all the same", async () => {
    const { gate, warm, gone, enter, passage } = openGate(Infinity);
    await enter("s1", path("a"));
    await enter("s2", path("a"));
    expect(gone).toEqual(["s1", "s2"]);
    expect(gate.waiting).toBe(0);
    passage("s2").firstToken();
    expect(warm.tokensOf(path("a/b"))).toBe(LONG);
  });
});

describe("warm segments", () => {
  test("forget the least recently used first, a path from its end", () => {
    const warm = new WarmSegments({ segmentsMax: 3, tokensMax: Infinity });
    warm.add(path("a/b/c"));
    warm.add(path("z"));
    expect(["a", "a/b", "a/b/c", "z"].map((id) => warm.has(id))).toEqual([true, true, false, true]);
    warm.touch(path("a/b"));
    warm.add(path("y"));
    expect(["a", "a/b", "z", "y"].map((id) => warm.has(id))).toEqual([true, true, false, true]);
  });

  test("hold no more tokens than the host does", () => {
    const warm = new WarmSegments({ segmentsMax: 100, tokensMax: 250 });
    for (const spelled of ["a", "b", "c"]) warm.add(path(spelled));
    expect(warm.size).toBe(2);
    warm.add(path("d", 1_000));
    expect(warm.size).toBe(0);
  });
});

interface Simulated {
  readonly path: PromptPath;
  readonly abort: AbortController;
  state: "waiting" | "going" | "warm" | "over";
  passage: Passage | null;
}

describe("leader gate, whatever comes in whatever order", () => {
  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "seed %i: nobody waits without a leader, and all get in",
    async (seed) => {
      const random = createRandom(seed);
      const { gate, warm } = openGate();
      const losesItsCache = seed % 2 === 0;
      const asks: Simulated[] = [];
      const pick = (state: Simulated["state"]): Simulated | undefined => {
        const found = asks.filter((ask) => ask.state === state);
        return found[Math.floor(random.next() * found.length)];
      };
      const steps: readonly (() => void)[] = [
        () => simulate(gate, asks, randomPath(random)),
        () => simulate(gate, asks, randomPath(random)),
        () => end(pick("going"), "firstToken"),
        () => end(pick("going"), "ended"),
        () => end(pick("warm"), "ended"),
        () => withdraw(pick("waiting")),
        () => losesItsCache && random.next() < 0.1 && warm.clear(),
      ];
      for (let step = 0; step < 600; step += 1) {
        steps[Math.floor(random.next() * steps.length)]?.();
        await settled();
        check(gate, asks, warm);
        if (!losesItsCache) expect(ledTwice(asks, warm)).toEqual([]);
      }
      for (let ask = pick("going") ?? pick("warm"); ask !== undefined; ask = pick("going") ?? pick("warm")) {
        end(ask, random.next() < 0.5 ? "firstToken" : "ended");
        if (ask.state === "warm") end(ask, "ended");
        await settled();
        check(gate, asks, warm);
      }
      expect(asks.filter(({ state }) => state === "waiting")).toEqual([]);
      expect(gate.waiting).toBe(0);
      expect(asks.length).toBeGreaterThan(100);
    },
  );
});

/** Of a tree of 3 x 3 x 3 leaves, so that paths meet often. */
function randomPath(random: Random): PromptPath {
  const depth = 1 + Math.floor(random.next() * 3);
  return path(Array.from({ length: depth }, () => Math.floor(random.next() * 3)).join("/"));
}

function simulate(gate: LeaderGate, asks: Simulated[], asked: PromptPath): void {
  const ask: Simulated = {
    path: asked,
    abort: new AbortController(),
    state: "waiting",
    passage: null,
  };
  asks.push(ask);
  gate.enter(asked, ask.abort.signal).then(
    (passage) => {
      ask.state = "going";
      ask.passage = passage;
    },
    () => {
      ask.state = "over";
    },
  );
}

function end(ask: Simulated | undefined, how: "firstToken" | "ended"): void {
  if (ask === undefined) return;
  ask.passage?.[how]();
  ask.state = how === "firstToken" ? "warm" : "over";
}

function withdraw(ask: Simulated | undefined): void {
  ask?.abort.abort(new Error("withdrawn"));
}

/** Who waits has a leader at the host, with which it shares a cold segment. */
function check(gate: LeaderGate, asks: readonly Simulated[], warm: WarmSegments): void {
  const waiting = asks.filter(({ state }) => state === "waiting");
  const going = asks.filter(({ state }) => state === "going");
  expect(gate.waiting).toBe(waiting.length);
  for (const ask of waiting) {
    const isLed = going.some((leader) => {
      return leader.path.some(({ id }) => !warm.has(id) && ask.path.some((own) => own.id === id));
    });
    expect(isLed).toBe(true);
  }
}

/** Cold segments that two asks compute at once: what the gate is there to prevent. */
function ledTwice(asks: readonly Simulated[], warm: WarmSegments): readonly string[] {
  const going = asks.filter(({ state }) => state === "going");
  const cold = going.flatMap((ask) => ask.path.filter(({ id }) => !warm.has(id)).map(({ id }) => id));
  return cold.filter((id, index) => cold.indexOf(id) !== index);
}
