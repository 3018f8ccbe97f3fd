/** The scheduler's rules, on hosts and trees made by hand: order, admission, placement, stealing, and what it learns. */
import { beforeEach, describe, expect, test } from "vitest";
import type { Decision } from "../../services/coordinator/scheduler/decision.ts";
import type { PathPiece } from "../../services/coordinator/scheduler/prefix-tree.ts";
import { Scheduler, type SchedulerLimits } from "../../services/coordinator/scheduler/scheduler.ts";
import type { Leaf, Tree } from "../../services/coordinator/scheduler/tree.ts";
import type { HostFacts } from "../../services/link/link.ts";
import type { Ability } from "../../services/queue/job.ts";

const MODEL = { model: "m", can: new Set<Ability>() };

function facts(id: string, given: Partial<HostFacts> = {}): HostFacts {
  return {
    id,
    engine: "simulated",
    model: "m",
    concurrency: 4,
    concurrencyMax: 4,
    kvCapacityTokens: null,
    contextTokens: null,
    reportsCachedTokens: true,
    blockTokens: 1,
    sharesColdPrefixes: true,
    can: [],
    ...given,
  };
}

interface Sent {
  readonly tree: string;
  readonly key: string;
  readonly host: string;
  readonly kind: Decision["kind"];
}

let sent: Sent[];
let decisions: Decision[];
let scheduler: Scheduler;
beforeEach(() => {
  sent = [];
  decisions = [];
});

/** A tree whose asks all continue its prompt. */
class TestTree implements Tree {
  readonly id: string;
  readonly kind = "kind";
  readonly needs;
  readonly extendsRollouts: boolean;
  readonly revisits = false;
  readonly #path: readonly PathPiece[];
  /** Whether its owner lets it send. */
  maySend = true;
  #waiting = 0;
  #asked = 0;

  constructor(
    id: string,
    {
      tokens = 10,
      can = MODEL.can,
      extendsRollouts = true,
    }: { tokens?: number; can?: Set<Ability>; extendsRollouts?: boolean } = {},
  ) {
    this.id = id;
    this.extendsRollouts = extendsRollouts;
    this.needs = { ...MODEL, can };
    this.#path = [{ id: `prompt of ${id}`, tokens, isKnown: true }];
    scheduler.plant(this);
  }

  /** So many more asks wait. */
  ask(count: number): this {
    this.#waiting += count;
    scheduler.touched(this.id);
    return this;
  }

  waiting(): number {
    return this.#waiting;
  }

  peek(): readonly PathPiece[] | null {
    return this.#waiting === 0 ? null : this.#path;
  }

  peekTokensMax(): number {
    return 10;
  }

  decided(decision: Decision): void {
    decisions.push(decision);
  }

  send(decision: Decision, max: number): readonly Leaf[] {
    if (!this.maySend) return [];
    decisions.push(decision);
    const leaves: Leaf[] = [];
    for (; this.#waiting > 0 && leaves.length < max; this.#waiting -= 1) {
      const key = `${this.id}.${this.#asked}`;
      this.#asked += 1;
      sent.push({ tree: this.id, key, host: decision.host, kind: decision.kind });
      leaves.push({ key, path: this.#path, tokensMax: 10 });
    }
    return leaves;
  }
}

function start(hosts: readonly HostFacts[], limits: Partial<SchedulerLimits> = {}): void {
  scheduler = new Scheduler({ laneDepthFactor: 1, ...limits });
  for (const host of hosts) {
    scheduler.join(host);
    scheduler.ready(host.id);
  }
  // As long as tasks are left to open, nothing is stolen.
  scheduler.hasMore("sweep", true);
}

const hostOf = (tree: string): string | undefined => sent.find((each) => each.tree === tree)?.host;
const countAt = (host: string): number => sent.filter((each) => each.host === host).length;

function answer(key: string, given: { cachedTokens?: number } = {}): void {
  const { cachedTokens = 0 } = given;
  const times = { firstTokenMs: 10, decodeMs: 1_000 };
  scheduler.settled(key, { promptTokens: 10, cachedTokens, completionTokens: 10, ...times });
}

describe("order", () => {
  test("serves the oldest tree first, and fills the host", () => {
    start([facts("a")]);
    const old = new TestTree("old");
    const young = new TestTree("young");
    young.ask(3);
    old.ask(3);
    scheduler.run();
    expect(sent.map(({ tree }) => tree)).toEqual(["old", "old", "old", "young"]);
  });

  test("sends as many as were settled, whatever is settled twice", () => {
    start([facts("a")]);
    new TestTree("t").ask(9);
    scheduler.run();
    answer("t.0");
    answer("t.0");
    scheduler.run();
    expect(sent.length).toBe(5);
  });

  test("leaves a tree alone that may not send, and serves others meanwhile, until it is touched", () => {
    start([facts("a")]);
    const held = new TestTree("held");
    held.maySend = false;
    held.ask(2);
    new TestTree("other").ask(2);
    scheduler.run();
    expect(sent.map(({ tree }) => tree)).toEqual(["other", "other"]);
    held.maySend = true;
    scheduler.touched("held");
    scheduler.run();
    expect(sent.map(({ tree }) => tree).slice(2)).toEqual(["held", "held"]);
  });

  test("follows the number of asks that the host may have now", () => {
    start([facts("a")]);
    new TestTree("t").ask(9);
    const quiet = {
      isUp: true,
      running: null,
      waiting: null,
      kvUsage: null,
      preemptions: null,
      cacheLosses: 0,
    };
    scheduler.signalled("a", { concurrency: 7, ...quiet });
    scheduler.run();
    expect(sent.length).toBe(7);
  });
});

describe("a host that does not answer", () => {
  const signals = { running: null, waiting: null, kvUsage: null, preemptions: null, cacheLosses: 0 };
  const signal = (host: string, isUp: boolean): void =>
    scheduler.signalled(host, { concurrency: 4, isUp, ...signals });

  test("is sent nothing more, and trees that only wait there get another home at once", () => {
    start([facts("a")]);
    new TestTree("runs").ask(9);
    new TestTree("waits").ask(2);
    scheduler.run();
    const before = sent.length;
    scheduler.join(facts("b"));
    scheduler.ready("b");
    signal("a", false);
    scheduler.run();
    expect(sent.slice(before).map(({ tree, host }) => [tree, host])).toEqual([
      ["waits", "b"],
      ["waits", "b"],
    ]);
    expect(hostOf("runs")).toBe("a");
    expect(scheduler.host("a")).toMatchObject({ isUp: false, inFlight: before });
  });

  test("alone, keeps what asks for it waiting until it answers again", () => {
    start([facts("a")]);
    signal("a", false);
    new TestTree("t").ask(2);
    scheduler.run();
    expect(sent).toEqual([]);
    expect(scheduler.wants(MODEL, "kind")).toBe(false);
    signal("a", true);
    scheduler.run();
    expect(sent.map(({ host }) => host)).toEqual(["a", "a"]);
  });
});

describe("a second copy", () => {
  const leaf = (key: string) => (): Leaf => ({
    key,
    path: [{ id: "p", tokens: 10, isKnown: true }],
    tokensMax: 8,
  });

  test("goes to another host with room that begins soonest, and says which were considered", () => {
    start([facts("a"), facts("b", { model: "another" }), facts("c")]);
    new TestTree("t").ask(1);
    scheduler.run();
    let why: Decision | null = null;
    const isSent = scheduler.hedge("t.0", (decision) => {
      why = decision;
      return leaf("copy")();
    });
    expect(isSent).toBe(true);
    expect(why).toMatchObject({ kind: "hedged", reason: "host-slow", host: "c", home: "a", room: 4 });
    expect(["a", "c"].map((id) => scheduler.host(id)?.inFlight)).toEqual([1, 1]);
    scheduler.settled("copy", null);
    expect(scheduler.host("c")?.inFlight).toBe(0);
  });

  test("is not sent where no other host has room, or what it is of is not on its way", () => {
    start([facts("a"), facts("b")]);
    new TestTree("t").ask(1);
    new TestTree("u").ask(4);
    scheduler.run();
    expect(hostOf("u")).toBe("b");
    expect(scheduler.hedge("t.0", leaf("copy"))).toBe(false);
    expect(scheduler.hedge("nobody's", leaf("copy"))).toBe(false);
    answer("u.0");
    expect(scheduler.hedge("t.0", () => null)).toBe(false);
    expect(scheduler.host("b")?.inFlight).toBe(3);
  });
});

describe("placement", () => {
  test("spreads trees over hosts, ties to the lower id, and keeps each on its own", () => {
    start([facts("b"), facts("a")]);
    const trees = ["1", "2"].map((id) => new TestTree(id).ask(1));
    scheduler.run();
    expect([hostOf("1"), hostOf("2")]).toEqual(["a", "b"]);
    for (const tree of trees) tree.ask(1);
    scheduler.run();
    expect(sent.map(({ tree, host }) => `${tree}${host}`).toSorted()).toEqual(["1a", "1a", "2b", "2b"]);
  });

  test("passes over hosts that are not ready, serve another model, or lack an ability", () => {
    start([facts("other", { model: "another" }), facts("plain"), facts("able", { can: ["score"] })]);
    scheduler.join(facts("coming", { can: ["score"], concurrency: 100 }));
    new TestTree("t", { can: new Set<Ability>(["score"]) }).ask(1);
    scheduler.run();
    expect(hostOf("t")).toBe("able");
  });

  test("keeps a tree that nobody can serve until a host comes that can", () => {
    start([]);
    new TestTree("t").ask(2);
    scheduler.run();
    expect(sent).toEqual([]);
    scheduler.join(facts("a"));
    scheduler.ready("a");
    scheduler.run();
    expect(countAt("a")).toBe(2);
  });

  test("gives the trees of a host that is gone other homes, and asks nothing of it any more", () => {
    start([facts("a"), facts("b")]);
    const tree = new TestTree("t").ask(1);
    scheduler.run();
    expect(hostOf("t")).toBe("a");
    scheduler.leave("a");
    tree.ask(1);
    scheduler.run();
    expect(sent.map(({ host }) => host)).toEqual(["a", "b"]);
    expect(scheduler.host("a")).toBeNull();
  });

  test("says why here: the hosts it considered, best first, and what it expects to be cached", () => {
    start([facts("a"), facts("b")]);
    new TestTree("t").ask(1);
    scheduler.run();
    expect(decisions[0]).toMatchObject({
      kind: "placed",
      reason: "least-wait",
      host: "a",
      home: null,
      considered: [{ host: "a", waitMs: 0 }, { host: "b" }],
    });
    expect(decisions[1]).toMatchObject({ kind: "sent", reason: "oldest-tree", home: "a", promptTokens: 10 });
  });
});

describe("admission", () => {
  const tight = { kvCapacityTokens: 100, concurrency: 16, concurrencyMax: 16 };

  test("works on as many trees as the KV cache has room for, and takes the next when one is over", () => {
    // Each needs 20 + 3 * 10 tokens at its widest.
    start([facts("a", tight)], { kvAdmittedMax: 1, kvInFlightMax: 1 });
    for (const id of ["1", "2", "3"]) new TestTree(id, { tokens: 20 }).ask(3);
    scheduler.run();
    expect(new Set(sent.map(({ tree }) => tree))).toEqual(new Set(["1", "2"]));
    for (const { key } of sent.filter(({ tree }) => tree === "1")) answer(key);
    scheduler.fell("1");
    scheduler.run();
    expect(sent.at(-1)?.tree).toBe("3");
  });

  test("counts a tree that asks for all at once by what of it is on its way", () => {
    start([facts("a", tight)], { kvAdmittedMax: 1, kvInFlightMax: 1, growthPrior: 1 });
    for (const id of ["1", "2", "3"]) new TestTree(id, { tokens: 25, extendsRollouts: false }).ask(4);
    scheduler.run();
    expect(new Set(sent.map(({ tree }) => tree))).toEqual(new Set(["1", "2"]));
    for (const key of ["1.0", "1.1", "1.2", "1.3"]) answer(key);
    scheduler.run();
    expect(sent.at(-1)?.tree).toBe("3");
  });

  test("counts once what prompts share, as hosts have told of it", () => {
    start([facts("a", tight)], { kvAdmittedMax: 1, kvInFlightMax: 1, growthPrior: 1 });
    new TestTree("1", { tokens: 40 }).ask(1);
    scheduler.run();
    answer("1.0", { cachedTokens: 30 });
    for (const id of ["2", "3", "4"]) new TestTree(id, { tokens: 40 }).ask(1);
    scheduler.run();
    // Without that, what is open would need 50 each.
    expect(sent.length).toBeGreaterThan(2);
  });

  test("does not count what another tree will need once those before it are over", () => {
    start([facts("a", tight)], { kvAdmittedMax: 1, kvInFlightMax: 1, growthPrior: 1 });
    // A kind of two rounds of two asks each, at 20 + 2 * 10 tokens: seen until its end.
    const first = new TestTree("first", { tokens: 20 }).ask(2);
    scheduler.run();
    for (const key of ["first.0", "first.1"]) answer(key);
    first.ask(2);
    scheduler.run();
    for (const key of ["first.2", "first.3"]) answer(key);
    scheduler.fell("first");
    for (const id of ["1", "2", "3"]) new TestTree(id, { tokens: 20 }).ask(2);
    scheduler.run();
    expect(new Set(sent.slice(4).map(({ tree }) => tree))).toEqual(new Set(["1", "2"]));
  });

  test("goes beyond the cache while much of a decoding step passes whatever runs", () => {
    for (const stepFloorMs of [60, 1]) {
      sent = [];
      start([facts("a", { ...tight, stepFloorMs })], { kvAdmittedMax: 0.5, kvInFlightMax: 2 });
      // Steps of 111 ms are seen: 1,000 ms for 10 tokens.
      new TestTree("before", { tokens: 20 }).ask(1);
      scheduler.run();
      answer("before.0");
      scheduler.fell("before");
      for (const id of ["1", "2", "3"]) new TestTree(id, { tokens: 20 }).ask(3);
      scheduler.run();
      const trees = new Set(sent.slice(1).map(({ tree }) => tree));
      expect(trees.size).toBe(stepFloorMs === 60 ? 2 : 1);
    }
  });

  test("goes on where answers take no time at all", () => {
    start([facts("a", tight)], { kvAdmittedMax: 1, kvInFlightMax: 1 });
    for (const id of ["1", "2", "3", "4"]) new TestTree(id, { tokens: 30 }).ask(1);
    scheduler.run();
    for (let at = 0; at < sent.length; at++) {
      const times = { firstTokenMs: 0, decodeMs: 0 };
      const { key, tree } = sent[at] as Sent;
      scheduler.settled(key, { promptTokens: 30, cachedTokens: 0, completionTokens: 10, ...times });
      scheduler.fell(tree);
      scheduler.run();
    }
    expect(sent.map(({ tree }) => tree)).toEqual(["1", "2", "3", "4"]);
  });

  test("never lets a host stand idle for the sake of its cache", () => {
    start([facts("a", tight)]);
    new TestTree("large", { tokens: 1_000 }).ask(2);
    scheduler.run();
    expect(sent.map(({ key }) => key)).toEqual(["large.0"]);
    expect(decisions.at(-1)).toMatchObject({ kind: "sent", reason: "host-idle" });
  });

  test("asks for a further task while a host has nothing to send, and for none once it is full", () => {
    start([facts("a")]);
    expect(scheduler.wants(MODEL, "kind")).toBe(true);
    const tree = new TestTree("t").ask(3);
    scheduler.run();
    expect(scheduler.wants(MODEL, "kind")).toBe(true);
    tree.ask(1);
    scheduler.run();
    expect(scheduler.wants(MODEL, "kind")).toBe(false);
    expect(scheduler.wants({ ...MODEL, model: "another" }, "kind")).toBe(false);
  });
});

describe("at the tail", () => {
  test("the tree that has asked least goes next, so that trees end together", () => {
    start([facts("a")]);
    const old = new TestTree("old").ask(3);
    const young = new TestTree("young").ask(1);
    scheduler.run();
    scheduler.hasMore("sweep", false);
    answer("old.0");
    for (const tree of [old, young]) tree.ask(1);
    scheduler.run();
    expect(sent.at(-1)?.tree).toBe("young");
    expect(decisions.at(-1)?.reason).toBe("least-asked");
  });
});

describe("evening out", () => {
  /** Seven trees at work at "a", the first of them between two rounds, and "b" with nothing to do. */
  function uneven(tokens: number): void {
    const wide = { concurrency: 16, concurrencyMax: 16 };
    start([facts("a", wide)]);
    const trees = ["1", "2", "3", "4", "5", "6", "7"].map((id) => new TestTree(id, { tokens }).ask(2));
    scheduler.run();
    scheduler.join(facts("b", wide));
    scheduler.ready("b");
    scheduler.hasMore("sweep", false);
    scheduler.run();
    for (const key of ["1.0", "1.1"]) answer(key);
    trees[0]?.ask(2);
    scheduler.run();
  }

  test("moves a tree between two rounds to a host that has far less to do", () => {
    uneven(10);
    expect(decisions).toContainEqual(
      expect.objectContaining({ kind: "moved", reason: "evens-out", home: "a", host: "b" }),
    );
    expect(sent.slice(-2).map(({ host }) => host)).toEqual(["b", "b"]);
  });

  test("leaves it at home when computing its path again takes longer than it has left", () => {
    uneven(100_000);
    expect(sent.slice(-2).map(({ host }) => host)).toEqual(["a", "a"]);
  });
});

describe("stealing", () => {
  /** Two hosts; all trees live on "a", since "b" came later. */
  function crowd(trees: readonly (readonly [id: string, asks: number])[], tokens = 10): void {
    start([facts("a")]);
    for (const [id, asks] of trees) new TestTree(id, { tokens }).ask(asks);
    scheduler.run();
    scheduler.join(facts("b"));
    scheduler.ready("b");
  }

  test("begins only when no task is left to open", () => {
    crowd([
      ["1", 4],
      ["2", 4],
    ]);
    scheduler.run();
    expect(countAt("b")).toBe(0);
    scheduler.hasMore("sweep", false);
    scheduler.run();
    expect(countAt("b")).toBe(4);
  });

  test("takes a whole tree that has nothing running, and its later asks too", () => {
    crowd([
      ["1", 4],
      ["2", 2],
    ]);
    scheduler.hasMore("sweep", false);
    scheduler.run();
    expect(hostOf("2")).toBe("b");
    expect(decisions.findLast(({ kind }) => kind === "moved")).toMatchObject({
      reason: "host-dry",
      host: "b",
      home: "a",
    });
  });

  test("borrows asks of a tree that runs at home, and leaves the tree there", () => {
    crowd([["1", 8]]);
    scheduler.hasMore("sweep", false);
    scheduler.run();
    expect(sent.filter(({ kind }) => kind === "lent").every(({ host }) => host === "b")).toBe(true);
    expect(countAt("b")).toBeGreaterThan(0);
    expect(scheduler.host("a")?.openTrees).toBe(1);
  });

  test("leaves an ask at home whose path would take longer to compute than it waits", () => {
    // 10^6 tokens at 5,000 a second, against a wait of a second or two.
    crowd(
      [
        ["1", 4],
        ["2", 4],
      ],
      1_000_000,
    );
    scheduler.hasMore("sweep", false);
    scheduler.run();
    expect(countAt("b")).toBe(0);
  });

  test("does not call a host dry that has most of what it may have", () => {
    crowd([["1", 4]]);
    scheduler.join(facts("a"));
    new TestTree("b's own").ask(3);
    scheduler.run();
    expect(hostOf("b's own")).toBe("b");
    new TestTree("late").ask(2);
    scheduler.hasMore("sweep", false);
    scheduler.run();
    expect(sent.filter(({ kind }) => kind === "lent")).toEqual([]);
  });
});

describe("what hosts hold", () => {
  test("is expected after a tree was there, and forgotten when the host has lost its cache", () => {
    start([facts("a")]);
    const tree = new TestTree("t").ask(1);
    scheduler.run();
    answer("t.0");
    tree.ask(1);
    scheduler.run();
    expect(decisions.at(-1)).toMatchObject({ cachedTokens: 9 });
    answer("t.1", { cachedTokens: 9 });
    const signals = { isUp: true, concurrency: 4, running: 0, waiting: 0, kvUsage: 0, preemptions: 0 };
    scheduler.signalled("a", { ...signals, cacheLosses: 1 });
    tree.ask(1);
    scheduler.run();
    expect(decisions.at(-1)).toMatchObject({ cachedTokens: 0 });
  });
});
