import { describe, expect, it } from "vitest";
import { createRandom } from "../../services/runtime/random.ts";
import type { Prefix } from "../../services/search/program.ts";
import { rootPrefix } from "../../services/search/search.ts";
import { ets, survivorsOf } from "../../services/search/strategies/ets.ts";
import type { Leaf } from "../../services/search/strategies/ets.ts";
import { programOf, sampledFrom, scripted, solve } from "./scripted.ts";

interface Tree {
  readonly root: Prefix;
  readonly leaves: readonly Leaf<{ readonly prefix: Prefix }>[];
}

/** Up to ten leaves, three steps deep, whose worths sum to 1. */
function randomTree(seed: number): Tree {
  const random = createRandom(seed);
  const root = rootPrefix("p");
  const prefixes = new Set<Prefix>();
  const count = 1 + Math.floor(random.next() * 10);
  for (let i = 0; i < count; i++) {
    let prefix = root;
    for (let depth = 0; depth < 3; depth++) prefix = prefix.extend(`${Math.floor(random.next() * 3)}\n`);
    prefixes.add(prefix);
  }
  const worths = [...prefixes].map(() => (random.next() < 0.3 ? 0 : random.next()));
  const total = worths.reduce((sum, worth) => sum + worth, 0) || 1;
  return {
    root,
    leaves: [...prefixes].map((prefix, i) => ({ path: { prefix }, worth: (worths[i] ?? 0) / total })),
  };
}

/** The nodes on the way from the root to any of these, the root left out. */
function nodesOver(prefixes: readonly Prefix[], root: Prefix): number {
  const nodes = new Set<Prefix>();
  for (const prefix of prefixes) {
    for (let node: Prefix | null = prefix; node !== null && node !== root; node = node.parent)
      nodes.add(node);
  }
  return nodes.size;
}

function objective(kept: Tree["leaves"], { root, leaves }: Tree, sharing: number): number {
  const all = nodesOver(
    leaves.map(({ path }) => path.prefix),
    root,
  );
  const nodes = nodesOver(
    kept.map(({ path }) => path.prefix),
    root,
  );
  return kept.reduce((sum, { worth }) => sum + worth, 0) - (sharing * nodes) / all;
}

describe("ETS", () => {
  it("keeps a best subset of the open paths: no other subset is worth more", () => {
    for (let seed = 0; seed < 150; seed++) {
      const tree = randomTree(seed);
      for (const sharing of [0, 0.3, 1, 2.5]) {
        const survivors = new Set(survivorsOf(tree.leaves, { root: tree.root, sharing }));
        const kept = tree.leaves.filter(({ path }) => survivors.has(path));
        expect(kept.length).toBeGreaterThan(0);
        let best = -Infinity;
        for (let subset = 1; subset < 2 ** tree.leaves.length; subset++) {
          const chosen = tree.leaves.filter((_, i) => (subset & (2 ** i)) !== 0);
          best = Math.max(best, objective(chosen, tree, sharing));
        }
        expect(objective(kept, tree, sharing)).toBeCloseTo(best, 10);
      }
    }
  });

  const given = { width: 4, max_steps: 3, step_stop: ["\n"], balance: 0.5 };

  it("drops paths whose part of the tree costs more than they are worth, and gives their steps to the rest", () => {
    const texts = ["a1\n", "a2\n", "d1\n", "d2\n", "b\n"];
    const sharing = (value: number) =>
      sampledFrom(solve(programOf(ets, { ...given, sharing: value }), scripted(texts)).trace).slice(4, 8);
    // Shares by ceil: 2 of 4 for a1, 2 for a2; a node costs a quarter of `sharing`.
    expect(sharing(1)).toEqual(["pa1\n", "pa1\n", "pa2\n", "pa2\n"]);
    expect(sharing(3)).toEqual(["pa1\n", "pa1\n", "pa1\n", "pa1\n"]);
  });

  it("counts equal steps as one node", () => {
    const texts = ["a\n", "a\n", "a\n", "b\n"];
    const { trace } = solve(programOf(ets, { ...given, balance: 1000, sharing: 0.4 }), scripted(texts));
    // By ceil 3 and 1 of 4; a node costs .2. Were they four nodes, b would not be worth its own.
    expect(sampledFrom(trace).slice(4, 8)).toEqual(["pa\n", "pa\n", "pa\n", "pb\n"]);
  });
});
