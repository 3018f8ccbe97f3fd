import { describe, expect, it } from "vitest";
import { rootPrefix, textOf } from "../../services/search/search.ts";
import { backUp, launch, plant, selectNode, visit } from "../../services/search/search-tree.ts";
import type { Descent, TreeNode } from "../../services/search/search-tree.ts";
import { mcts } from "../../services/search/strategies/mcts.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { programOf, rolloutOf, sampledFrom, scripted, solve } from "./scripted.ts";

const DESCENT: Descent = { select: "wu-uct", backup: "mean", explore: 1, widen: 0.1 };

/** A root whose children came back with these values, one simulation each, and may be expanded at once. */
function treeOf(children: readonly { readonly value: number; readonly meanLogprob?: number }[]): TreeNode {
  const root = plant(rootPrefix("p"), { parent: null, meanLogprob: null });
  for (const [i, { value, meanLogprob = null }] of children.entries()) {
    launch(root, 1);
    const child = plant(root.prefix.extend(`${i}\n`), { parent: root, meanLogprob });
    visit(child, value);
    root.children.push(child);
    backUp(root, value);
  }
  return root;
}

function nameOf({ prefix }: TreeNode): string {
  return textOf(prefix).slice(1).trim();
}

function childOf(root: TreeNode, index: number): TreeNode {
  const child = root.children[index];
  if (child === undefined) throw new Error(`expected child ${index}`);
  return child;
}

describe("the descent of a Monte Carlo tree search", () => {
  it("goes to the best child, the first of equals", () => {
    expect(nameOf(selectNode(treeOf([{ value: 0.2 }, { value: 0.8 }, { value: 0.8 }]), DESCENT))).toBe("1");
  });

  it("samples a fresh step rather than go on below children that are worse than such steps are", () => {
    const root = treeOf([{ value: 0.1 }, { value: 0.9 }]);
    // The good one turned out bad: its mean is .3 of four, while fresh steps were .5 of two.
    for (const value of [0.1, 0.1, 0.1]) {
      launch(childOf(root, 1), 1);
      backUp(childOf(root, 1), value);
    }
    // Two children, of 5 simulations: more than 0.7 * 5^(1/2), fewer than 0.7 * 5^(3/4).
    const descent: Descent = { ...DESCENT, widen: 0.7 };
    expect(selectNode(root, descent)).toBe(root);
    expect(selectNode(root, { ...descent, backup: "max", explore: 0.1 })).not.toBe(root);
    // Wide enough by then: where steps never repeat, a tree would otherwise be all width.
    expect(selectNode(root, { ...descent, widen: 0.5 })).not.toBe(root);
  });

  it("spreads what is in flight: WU-UCT by counts, UCT and PUCT by a virtual loss as well", () => {
    for (const select of ["wu-uct", "uct", "puct"] as const) {
      const root = treeOf([{ value: 0.75 }, { value: 0.75 }, { value: 0.75 }]);
      const descent: Descent = { ...DESCENT, select, explore: 0.5 };
      const gone: string[] = [];
      for (let i = 0; i < 3; i++) {
        const node = selectNode(root, descent);
        launch(node, 1);
        gone.push(nameOf(node));
      }
      expect(gone).toEqual(["0", "1", "2"]);
    }
  });

  it("takes a virtual loss back when the simulation returns", () => {
    const root = treeOf([{ value: 0.75 }, { value: 0.75 }]);
    const descent: Descent = { ...DESCENT, select: "uct", explore: 0 };
    launch(childOf(root, 0), 1);
    expect(nameOf(selectNode(root, descent))).toBe("1");
    backUp(childOf(root, 0), 0.75);
    expect(nameOf(selectNode(root, descent))).toBe("0");
    launch(childOf(root, 0), 1);
    backUp(childOf(root, 0), null);
    expect(childOf(root, 0)).toMatchObject({ visits: 2, inFlight: 0 });
  });

  it("follows the likelier step under PUCT, and takes unknown ones for even", () => {
    const descent: Descent = { ...DESCENT, select: "puct" };
    const likely = [
      { value: 0.5, meanLogprob: -3 },
      { value: 0.5, meanLogprob: -0.1 },
    ];
    expect(nameOf(selectNode(treeOf(likely), descent))).toBe("1");
    expect(nameOf(selectNode(treeOf([...likely, { value: 0.5 }]), descent))).toBe("0");
  });
});

describe("MCTS", () => {
  const given = { parallel: 1, expand: 1, max_steps: 1, step_stop: ["\n"], stop_when: "never" } as const;

  it("answers by score, by visits or by votes", () => {
    const texts = ["a", "c", "c", "b", "c", "b", "c"];
    const run = (answer: "highest-score" | "most-visited" | "vote") =>
      solve(programOf(mcts, { ...given, simulations: 7, answer }), scripted(texts)).outcome;
    expect(run("highest-score")).toMatchObject({ answer: "a", selection: "highest-score" });
    expect(run("most-visited")).toMatchObject({ answer: "c", selection: "most-visited" });
    // Four times .3 against twice .5 and once .9.
    expect(run("vote")).toMatchObject({ answer: "c", selection: "weighted-vote" });
    expect(run("vote").score).toBeCloseTo(1.2 / 3.1, 12);
  });

  it("needs log-probabilities for PUCT only, and uses them", () => {
    const needs = (select: "uct" | "puct") => mcts.needs(withDefaults(mcts.parameters, { select }));
    expect([needs("uct").logprobs, needs("puct").logprobs]).toEqual([false, true]);
    const options = {
      ...given,
      simulations: 4,
      max_steps: 3,
      select: "puct",
      widen: 1.2,
      explore: 1,
    } as const;
    let turn = 0;
    const steps = [
      rolloutOf("b1\n", { meanLogprob: -4 }),
      rolloutOf("b2\n", { meanLogprob: -0.1 }),
      rolloutOf("b\n"),
    ];
    const { trace } = solve(programOf(mcts, { ...options, expand: 2, parallel: 2 }), (ask) =>
      ask.kind === "sample" ? (steps[turn++] ?? rolloutOf("b")) : scripted([])(ask),
    );
    expect(sampledFrom(trace)).toEqual(["p", "p", "pb2\n", "pb2\n"]);
  });
});
