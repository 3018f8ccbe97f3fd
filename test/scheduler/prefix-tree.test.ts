import { describe, expect, test } from "vitest";
import {
  PrefixTree,
  type Drift,
  type NodeRef,
  type PathPiece,
  type PrefixTreeLimits,
} from "../../services/coordinator/scheduler/prefix-tree.ts";

/** Pieces named by their path: "root/problem" is the child of "root". `~` before a count makes it an estimate. */
function path(...pieces: readonly (readonly [name: string, tokens: number | `~${number}`])[]): PathPiece[] {
  let id = "";
  return pieces.map(([name, tokens]) => {
    id += `/${name}`;
    const isKnown = typeof tokens === "number";
    return { id, tokens: isKnown ? tokens : Number(tokens.slice(1)), isKnown };
  });
}

interface Setup {
  readonly capacity?: number | null;
  readonly block?: number | null;
  readonly hosts?: readonly string[];
  readonly limits?: Partial<PrefixTreeLimits>;
}

function treeOf({ capacity = null, block = 1, hosts = ["a"], limits = {} }: Setup = {}): PrefixTree {
  const tree = new PrefixTree(limits);
  for (const host of hosts) tree.addHost(host, { kvCapacityTokens: capacity, blockTokens: block });
  return tree;
}

/** A request for this path that came and went. */
function serve(tree: PrefixTree, host: string, pieces: readonly PathPiece[]): NodeRef {
  const node = tree.retain(pieces);
  tree.sent(host, node, 0);
  tree.landed(host, node, 0);
  return node;
}

describe("the tree", () => {
  test("equal paths of different tasks are one node", () => {
    const tree = treeOf();
    const first = tree.retain(path(["root", 10], ["problem", 5]));
    const second = tree.retain(path(["root", 10], ["problem", 5]));
    expect(second).toBe(first);
    expect(tree.size).toBe(2);
    tree.release(first);
    expect(tree.size).toBe(2);
    tree.release(second);
    expect(tree.size).toBe(0);
  });

  test("the first known count replaces an estimate everywhere, and later words do not", () => {
    const tree = treeOf();
    const deep = tree.retain(path(["root", "~10"], ["x", 5]));
    expect(tree.tokens(deep)).toBe(15);
    const root = tree.retain(path(["root", 12]));
    expect(tree.tokens(deep)).toBe(17);
    tree.retain(path(["root", 99]));
    tree.retain(path(["root", "~1"]));
    expect(tree.tokens(root)).toBe(12);
  });

  test("a node that nobody retains lives as long as a host is predicted to hold it", () => {
    const tree = treeOf({ capacity: 20 });
    tree.release(serve(tree, "a", path(["old", 15])));
    expect(tree.size).toBe(1);
    tree.release(serve(tree, "a", path(["new", 20])));
    expect(tree.size).toBe(1);
    tree.removeHost("a");
    expect(tree.size).toBe(0);
  });

  test("releasing what is not retained is a programmer error", () => {
    const tree = treeOf();
    const node = serve(tree, "a", path(["x", 1]));
    tree.release(node);
    expect(() => tree.release(node)).toThrow("is not retained");
  });

  test("a path whose pieces are not chained is a programmer error", () => {
    const tree = treeOf();
    const [x] = path(["x", 1]);
    const [, below] = path(["y", 1], ["z", 1]);
    tree.retain(path(["y", 1], ["z", 1]));
    expect(() => tree.retain([x, below].filter((piece) => piece !== undefined))).toThrow("not chained");
  });

  test("a count that is no number of tokens is a programmer error", () => {
    expect(() => treeOf().retain(path(["x", -1]))).toThrow("expected a number of tokens, found -1");
    expect(() => treeOf().retain(path(["x", NaN]))).toThrow("expected a number of tokens, found NaN");
  });
});

describe("cached tokens", () => {
  test("are whole blocks, and never all of the prompt", () => {
    const tree = treeOf({ block: 16 });
    const node = serve(tree, "a", path(["root", 20], ["x", 12]));
    expect(tree.cached("a", node)).toBe(16);
    const longer = tree.retain(path(["root", 20], ["x", 12], ["y", 1]));
    expect(tree.cached("a", longer)).toBe(32);
  });

  test("are those of the shared beginning where a host has seen a sibling", () => {
    const tree = treeOf();
    serve(tree, "a", path(["root", 20], ["x", 12]));
    expect(tree.cached("a", tree.retain(path(["root", 20], ["y", 9])))).toBe(20);
  });

  test("follow a count that replaces an estimate", () => {
    const tree = treeOf();
    serve(tree, "a", path(["root", "~20"], ["x", 10]));
    const node = tree.retain(path(["root", 30], ["y", 5]));
    expect(tree.cached("a", node)).toBe(30);
    expect(tree.host("a")?.residentTokens).toBe(40);
  });

  test("include what a request generated, named or not", () => {
    const tree = treeOf({ capacity: 100 });
    const node = tree.retain(path(["root", 20]));
    tree.sent("a", node, 50);
    const [, step] = path(["root", 20], ["step", 7]);
    tree.landed("a", node, 50, step);
    expect(tree.cached("a", tree.retain(path(["root", 20], ["step", 7], ["more", 1])))).toBe(27);
    tree.sent("a", node, 50);
    tree.landed("a", node, 50, { id: null, tokens: 40 });
    expect(tree.host("a")?.residentTokens).toBe(67);
  });

  test("are none at a host that nobody has added", () => {
    const tree = treeOf();
    const node = serve(tree, "a", path(["x", 5]));
    expect(tree.cached("b", node)).toBe(0);
  });
});

describe("eviction", () => {
  test("takes the least recently used first, and a leaf before what it continues", () => {
    const tree = treeOf({ capacity: 40 });
    const old = serve(tree, "a", path(["root", 10], ["old", 15]));
    const young = serve(tree, "a", path(["root", 10], ["young", 15]));
    serve(tree, "a", path(["root", 10], ["new", 5]));
    expect(tree.cached("a", old)).toBe(20);
    expect(tree.cached("a", young)).toBe(24);
    serve(tree, "a", path(["other", 25]));
    expect(tree.cached("a", old)).toBe(10);
    expect(tree.cached("a", young)).toBe(10);
    expect(tree.host("a")?.residentTokens).toBe(40);
  });

  test("takes a node in part, by whole blocks", () => {
    const tree = treeOf({ capacity: 64, block: 16 });
    const node = serve(tree, "a", path(["x", 64]));
    serve(tree, "a", path(["y", 10]));
    expect(tree.cached("a", node)).toBe(48);
    expect(tree.host("a")?.residentTokens).toBe(58);
  });

  test("spares what a request in flight uses, and makes room for its output", () => {
    const tree = treeOf({ capacity: 30 });
    const used = tree.retain(path(["used", 20]));
    tree.sent("a", used, 10);
    const more = tree.retain(path(["more", 20]));
    tree.sent("a", more, 0);
    tree.landed("a", more, 0);
    expect(tree.cached("a", more)).toBe(0);
    expect(tree.cached("a", used)).toBe(19);
    tree.landed("a", used, 10);
    serve(tree, "a", path(["more", 20]));
    expect(tree.cached("a", used)).toBe(10);
  });

  test.each([
    ["without a known capacity begins at a limit on nodes", { limits: { unknownHostNodesMax: 3 } }],
    ["begins at the limit on nodes where they are small", { capacity: 1_000, limits: { hostNodesMax: 3 } }],
  ])("%s", (_, setup) => {
    const tree = treeOf(setup);
    for (const name of ["1", "2", "3", "4"]) tree.release(serve(tree, "a", path([name, 5])));
    expect(tree.size).toBe(3);
    expect(tree.cached("a", tree.retain(path(["1", 5], ["x", 1])))).toBe(0);
    expect(tree.cached("a", tree.retain(path(["2", 5], ["x", 1])))).toBe(5);
  });

  test("begins at once when the capacity turns out smaller", () => {
    const tree = treeOf();
    const node = serve(tree, "a", path(["x", 50], ["y", 50]));
    tree.addHost("a", { kvCapacityTokens: 60, blockTokens: 1 });
    expect(tree.cached("a", node)).toBe(60);
  });
});

describe("pinned tokens", () => {
  test("are the union of the paths in flight, and their outputs", () => {
    const tree = treeOf();
    const x = tree.retain(path(["root", 10], ["x", 5]));
    const y = tree.retain(path(["root", 10], ["y", 7]));
    expect(tree.pinnedBy("a", x)).toBe(15);
    tree.sent("a", x, 100);
    tree.sent("a", x, 100);
    expect(tree.pinnedTokens("a")).toBe(215);
    expect(tree.pinnedBy("a", y)).toBe(7);
    tree.sent("a", y, 50);
    expect(tree.pinnedTokens("a")).toBe(272);
    tree.landed("a", x, 100);
    tree.landed("a", x, 100);
    expect(tree.pinnedTokens("a")).toBe(67);
    tree.landed("a", y, 50);
    expect(tree.pinnedTokens("a")).toBe(0);
  });

  test("do not change when a request lands that is not in flight", () => {
    const tree = treeOf();
    const x = tree.retain(path(["root", 10], ["x", 5]));
    const root = tree.retain(path(["root", 10]));
    tree.sent("a", x, 100);
    tree.landed("a", root, 100);
    expect(tree.pinnedTokens("a")).toBe(115);
    tree.removeHost("a");
    tree.addHost("a", { kvCapacityTokens: null, blockTokens: null });
    tree.landed("a", x, 100);
    expect(tree.pinnedTokens("a")).toBe(0);
  });
});

describe("drift", () => {
  /** Sends a request for this path, and reports of it. */
  function report(
    tree: PrefixTree,
    pieces: readonly PathPiece[],
    cached: number | "predicted",
  ): Drift | null {
    const node = tree.retain(pieces);
    const predicted = tree.cached("a", node);
    tree.sent("a", node, 0);
    const drift = tree.reported("a", node, {
      predicted,
      cached: cached === "predicted" ? predicted : cached,
    });
    tree.landed("a", node, 0);
    return drift;
  }
  const trees = ["1", "2", "3", "4", "5", "6", "7", "8"].map((name) => path(["root", 100], [name, 900]));
  const problem = (i: number): readonly PathPiece[] => trees[i] ?? [];
  const sample = (i: number, tokens: number): PathPiece[] =>
    path(["root", 100], [String(i + 1), 900], [`sample-${tokens}`, tokens]);

  test("within a block is none", () => {
    const tree = treeOf({ block: 16 });
    serve(tree, "a", path(["x", 160]));
    const node = tree.retain(path(["x", 160], ["y", 5]));
    expect(tree.reported("a", node, { predicted: 160, cached: 144 })).toEqual({
      kind: "as-predicted",
      tokens: 16,
    });
    expect(tree.reported("a", node, { predicted: 160, cached: 128 })?.kind).toBe("less");
  });

  test("of what was evicted unseen evicts as much, of what would have gone next", () => {
    const tree = treeOf();
    for (const i of [0, 1, 2]) serve(tree, "a", problem(i));
    expect(report(tree, sample(2, 10), 600)).toEqual({ kind: "less", tokens: 400 });
    expect(tree.cached("a", tree.retain(sample(0, 10)))).toBe(600);
    expect(tree.cached("a", tree.retain(sample(1, 10)))).toBe(1000);
    expect(tree.cached("a", tree.retain(sample(2, 10)))).toBe(1009);
  });

  test("where the missing part was still in computation corrects nothing", () => {
    const tree = treeOf();
    serve(tree, "a", problem(0));
    const leader = tree.retain(problem(1));
    tree.sent("a", leader, 0);
    expect(report(tree, sample(1, 10), 100)).toEqual({ kind: "early", tokens: 900 });
    expect(tree.cached("a", tree.retain(sample(0, 10)))).toBe(1000);
  });

  test("that is large again and again means that the cache is lost: all is forgotten", () => {
    const tree = treeOf();
    for (const pieces of trees) serve(tree, "a", pieces);
    expect(report(tree, sample(7, 10), 0)?.kind).toBe("less");
    // Its siblings find what it has just computed: that says nothing of the rest.
    expect(report(tree, sample(7, 20), "predicted")?.kind).toBe("as-predicted");
    expect(report(tree, sample(6, 10), 100)?.kind).toBe("less");
    expect(report(tree, sample(5, 10), 100)?.kind).toBe("lost");
    expect(tree.cached("a", tree.retain(sample(4, 10)))).toBe(100);
    expect(tree.cached("a", tree.retain(sample(5, 10)))).toBe(1009);
    expect(tree.host("a")?.drift).toEqual({
      reports: 4,
      asPredicted: 1,
      more: 0,
      moreTokens: 0,
      early: 0,
      less: 3,
      lessTokens: 2800,
      lost: 1,
    });
  });

  test("with something old that is cached still between is not a loss", () => {
    const tree = treeOf();
    for (const pieces of trees) serve(tree, "a", pieces);
    report(tree, sample(7, 10), 0);
    report(tree, sample(6, 10), 100);
    expect(report(tree, sample(5, 10), "predicted")?.kind).toBe("as-predicted");
    expect(report(tree, sample(4, 10), 0)?.kind).not.toBe("lost");
  });

  test("of requests that were sent before the cache was forgotten is no second loss", () => {
    const tree = treeOf();
    for (const i of [0, 1, 2, 3]) serve(tree, "a", problem(i));
    const flights = [0, 1, 2, 3].map((i) => tree.retain(sample(i, 10)));
    for (const node of flights) tree.sent("a", node, 0);
    tree.forget("a");
    for (const node of flights) {
      expect(tree.reported("a", node, { predicted: 1000, cached: 0 })?.kind).toBe("early");
      tree.landed("a", node, 0);
    }
    expect(tree.host("a")?.drift.lost).toBe(0);
  });

  test("towards more is told, and the host holds the path in any case", () => {
    const tree = treeOf();
    expect(report(tree, problem(0), 500)).toEqual({ kind: "more", tokens: 500 });
    expect(tree.host("a")?.drift.moreTokens).toBe(500);
  });

  test("of a host that is gone is none", () => {
    const tree = treeOf();
    const node = serve(tree, "a", problem(0));
    tree.removeHost("a");
    expect(tree.reported("a", node, { predicted: 1000, cached: 0 })).toBeNull();
  });
});
