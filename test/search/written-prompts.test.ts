/** Prompts that a program writes itself, tools, and chance. */
import { describe, expect, it } from "vitest";
import { draw, judge, sample, useTool, writePrompt } from "../../services/search/operations.ts";
import type { Prefix, Program } from "../../services/search/program.ts";
import { rootPrefix, Search, textOf } from "../../services/search/search.ts";
import { fillTemplate, pathFrom } from "../../services/search/template.ts";

/** The first value of a program that asks nothing. */
function valueOf<T>(program: () => Program<T>, options = {}): T {
  const search = new Search(program, options);
  search.start();
  const { outcome, error } = search;
  if (error !== null) throw error;
  return outcome as T; // It asked nothing, so it has ended.
}

describe("a prompt that the program writes", () => {
  it("is one prompt for one text, behind nothing, and counts as a piece", () => {
    const [first, again, other] = valueOf(function* (): Program<readonly Prefix[]> {
      return [yield* writePrompt("plan"), yield* writePrompt("plan"), yield* writePrompt("solve")];
    });
    expect(again).toBe(first);
    expect(other).not.toBe(first);
    expect(first).toMatchObject({ parent: null, depth: 1, ask: null });
  });

  it("numbers its samples by itself", () => {
    const search = new Search(function* () {
      for (let i = 0; i < 2; i++) yield* sample(yield* writePrompt("plan"));
    });
    const [first] = search.start().asked;
    const rollout = {
      text: "x",
      finishReason: "stop",
      stopString: null,
      completionTokens: 1,
      meanLogprob: null,
    } as const;
    const [second] = search.tell(first?.id ?? "", { kind: "rollout", rollout }).asked;
    expect([first, second]).toMatchObject([{ sample: 0 }, { sample: 1 }]);
  });

  it("continues the rendered prompt where its template begins with it", () => {
    const root = rootPrefix("What is 2+2?");
    const [behind, own] = valueOf(function* (): Program<readonly Prefix[]> {
      return [
        yield* pathFrom("{prompt}\nPlan: {plan}", root, { plan: "{prompt}" }),
        yield* pathFrom("Q: {prompt} {unknown}", root, {}),
      ];
    });
    expect(behind?.parent).toBe(root);
    expect(textOf(behind as Prefix)).toBe("What is 2+2?\nPlan: {prompt}");
    expect(own).toMatchObject({ parent: null, text: "Q: What is 2+2? {unknown}" });
  });

  it("fills a field once, and no name that every object has", () => {
    expect(fillTemplate("{a}{b}{constructor}", { a: "{b}", b: "x" })).toBe("{b}x{constructor}");
  });
});

describe("a tool", () => {
  it("is asked with the text, and its verdict comes back", () => {
    const search = new Search(function* () {
      return (yield* useTool("calculator", yield* writePrompt("1+1"))).answer;
    });
    const [ask] = search.start().asked;
    expect(ask).toMatchObject({ kind: "verify", role: "tool", tool: "calculator", of: null });
    search.tell(ask?.id ?? "", {
      kind: "verdict",
      verdict: { verdict: "correct", score: 1, answer: "2", reason: null },
    });
    expect(search.outcome).toBe("2");
  });
});

describe("chance", () => {
  it("is named by where it is drawn, so that a replay draws the same", () => {
    const names: string[] = [];
    const source = (name: string): number => {
      names.push(name);
      return names.length / 10;
    };
    const drawn = valueOf(
      function* (): Program<readonly number[]> {
        return [yield* draw(), yield* draw()];
      },
      { draw: source },
    );
    expect(names).toEqual(["0/0", "0/1"]);
    expect(drawn).toEqual([0.1, 0.2]);
  });

  it("is an error of the strategy where there is no source of it", () => {
    const search = new Search(draw);
    search.start();
    expect(search.error?.message).toContain("draw 0/0");
  });

  it("does not change what else is asked", () => {
    const root = rootPrefix("p");
    const search = new Search(
      function* () {
        yield* draw();
        yield* judge({ role: "process", prefix: root, of: null });
      },
      { draw: () => 0 },
    );
    expect(search.start().asked).toMatchObject([{ id: "0/1", role: "process", tool: null }]);
  });
});
