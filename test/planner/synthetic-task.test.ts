import { describe, expect, test } from "vitest";
import type { VirtualRequest } from "../../services/planner/synthetic-task.ts";
import { around, chanceOf, drawLength } from "../../services/planner/lengths.ts";
import { beamSearch } from "../../services/search/strategies/beam-search.ts";
import { mcts } from "../../services/search/strategies/mcts.ts";
import { selfRefine } from "../../services/search/strategies/self-refine.ts";
import { bestOf, shapeOf, tasksOf } from "./tasks.ts";

/**
 * Answers everything a task asks, in the order that `pick` takes from what is open. @returns All that was
 * asked.
 */
function answerAll(
  task: ReturnType<typeof tasksOf> extends Iterable<infer T> ? T : never,
  pick: (open: readonly VirtualRequest[]) => number = () => 0,
): readonly VirtualRequest[] {
  const all: VirtualRequest[] = [];
  const open: VirtualRequest[] = [];
  const take = ({ asked, withdrawn }: ReturnType<typeof task.start>): void => {
    all.push(...asked);
    open.push(...asked);
    for (const request of withdrawn) open.splice(open.indexOf(request), 1);
  };
  take(task.start());
  while (open.length > 0) {
    const [request] = open.splice(pick(open), 1);
    if (request !== undefined) take(task.answered(request));
  }
  return all;
}

describe("a synthetic task", () => {
  test("asks what its strategy asks: a beam of width 4 over 4 steps samples 16 steps and scores those that are open", () => {
    const shape = shapeOf(beamSearch, { width: 4, expand: 2, max_steps: 10 });
    const [task] = tasksOf(shape, 1);
    const asked = answerAll(task as never);
    const samples = asked.filter(({ ask }) => ask.kind === "sample");
    expect(samples).toHaveLength(16);
    expect(Math.max(...samples.map(({ ask }) => ask.prefix.depth))).toBe(3);
    expect(asked.filter(({ ask }) => ask.kind === "verify" && ask.role === "process")).toHaveLength(12);
    expect(asked.filter(({ ask }) => ask.kind === "verify" && ask.role === "outcome")).toHaveLength(4);
  });

  test("continues a rollout by the piece that its host has generated", () => {
    const shape = shapeOf(beamSearch, { width: 4, expand: 2, max_steps: 10 }, { rootTokens: 64 });
    const [task] = tasksOf(shape, 1);
    const samples = answerAll(task as never).filter(({ ask }) => ask.kind === "sample");
    const outputs = new Set(samples.map(({ output }) => output));
    const continued = samples.filter(({ ask }) => ask.prefix.depth > 0);
    expect(continued).toHaveLength(12);
    for (const { pieces, promptTokens } of continued) {
      expect(pieces.slice(0, 2).map(({ tokens, isGenerated }) => [tokens, isGenerated])).toEqual([
        [64, false],
        [100, false],
      ]);
      expect(pieces.slice(2).every(({ id, isGenerated }) => isGenerated && outputs.has(id))).toBe(true);
      expect(promptTokens).toBe(164 + 30 * (pieces.length - 2));
    }
  });

  test("answers alike whatever the order in which answers arrive", () => {
    const shape = shapeOf(mcts, { simulations: 1, parallel: 1 }, { answer: around(50), step: around(30) });
    const wide = bestOf(8, { answer: around(50) });
    const lengths = (pick: (open: readonly VirtualRequest[]) => number): unknown => {
      const [task] = tasksOf(wide, 1);
      const all = answerAll(task as never, pick).filter(({ ask }) => ask.kind === "sample");
      return all.map(({ ask, completionTokens }) => [ask.id, completionTokens]);
    };
    expect(lengths(() => 0)).toEqual(lengths((open) => open.length - 1));
    const [tree] = tasksOf(shape, 1);
    expect(answerAll(tree as never).length).toBeGreaterThan(0);
  });

  test("shares the root among tasks and nothing else", () => {
    const [one, two] = [...tasksOf(bestOf(1, { rootTokens: 32 }), 2)].map((task) => answerAll(task)[0]);
    expect(one?.pieces[0]).toEqual(two?.pieces[0]);
    expect(one?.pieces[1]?.id).not.toBe(two?.pieces[1]?.id);
  });

  test("counts what a program writes behind or instead of the prompt as tokens that hosts read", () => {
    const [task] = tasksOf(shapeOf(selfRefine, {}, { hasFullTexts: true }), 1);
    const samples = answerAll(task as never).filter(({ ask }) => ask.kind === "sample");
    const later = samples.filter(({ pieces }) => pieces.length > 1);
    expect(later.length).toBeGreaterThan(0);
    expect(later.every(({ pieces }) => pieces.every(({ tokens }) => tokens > 0))).toBe(true);
  });

  test("draws lengths around their mean, by the seed alone", () => {
    const lengths = Array.from({ length: 4_000 }, (_, i) =>
      drawLength(around(200), chanceOf(5, `text ${i}`)),
    );
    const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
    expect(mean).toBeGreaterThan(190);
    expect(mean).toBeLessThan(210);
    expect(drawLength(around(200), chanceOf(5, "text 0"))).toBe(lengths[0]);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(800);
    expect(drawLength(around(200, { max: 10 }), chanceOf(5, "text 0"))).toBe(10);
  });
});
