import { describe, expect, it } from "vitest";
import { parseMove } from "../../services/search/action.ts";
import { react } from "../../services/search/strategies/react.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { answerOf, play } from "./play.ts";
import type { Cast } from "./play.ts";

const MARKERS = { action: "Action:", final: "Final Answer:" };

describe("a move", () => {
  it.each([
    ["Thought: add\nAction: calculator[2+2]", "calculator", "2+2"],
    ["**Action:** Calculator[2+2]", "calculator", "2+2"],
    ["- action : `calculator`[ 2+2 ] then I wait", "calculator", "2+2"],
    ["Action: calculator: 2+2", "calculator", "2+2"],
    ["Action: calculator (1+2)*3", "calculator", "(1+2)*3"],
    ["Action: calculator\nAction Input: 2+2\n", "calculator", "2+2"],
    ["Action: python(print(max([1], [2])))", "python", "print(max([1], [2]))"],
    ["Action: python[print([1, [2]])]\nThe list is [3]", "python", "print([1, [2]])"],
    ["Action: python\n```python\nx = 1\nprint(x)\n```\n", "python", "x = 1\nprint(x)"],
    ["Action: python[\n```\nprint(1)\n```\n]", "python", "print(1)"],
    ["Action: python[print(1)", "python", "print(1)"],
    ["Action: search[x]", "search", "x"],
    ["Action: constructor", "constructor", ""],
  ])("%j is an action", (text, tool, input) => {
    expect(parseMove(text, MARKERS)).toEqual({ kind: "action", tool, input });
  });

  it.each([
    ["Thought: done\nFinal Answer: 42\n", "42"],
    ["**Final Answer**: 42", "42"],
    ["**Final answer:** 42\nand so on", "42\nand so on"],
    ["Final Answer: 1\nAction: calculator[2]", "1\nAction: calculator[2]"],
  ])("%j is the answer", (text, answer) => {
    expect(parseMove(text, MARKERS)).toEqual({ kind: "final", text: answer });
  });

  it("is the first one of a text", () => {
    const text = "Action: calculator[2]\nFinal Answer: 1";
    expect(parseMove(text, MARKERS)).toMatchObject({ kind: "action", input: "2" });
  });

  it.each(["", "I think the final answer: 3", "Action", "Action: [2+2]", "Actions: calculator[1]"])(
    "is not in %j",
    (text) => {
      expect(parseMove(text, MARKERS)).toEqual({ kind: "none" });
    },
  );

  it("is found in long texts that hold none, or no end, without delay", () => {
    for (const text of ["*".repeat(1e6), `Action: python${"[".repeat(1e6)}`, " \n".repeat(5e5)])
      expect(["none", "action"]).toContain(parseMove(text, MARKERS).kind);
  });
});

describe("react", () => {
  const given = { instructions: "{prompt}\n{tools}\n" };
  const begun = "Q\ncalculator[an expression]: its value\n";
  const calculator: Cast["tool"] = (_, input) =>
    input === "2+2" ? { verdict: "correct", answer: "4" } : { reason: `expected an expression` };

  it("thinks, acts and observes until it answers, each turn behind all before it", () => {
    const turns = ["I add.\nAction: calculator[2+2]\nObservation: 5", "So.\nFinal Answer: 4\n"];
    const played = play(react, given, { says: (_, { turn }) => turns[turn] ?? "", tool: calculator });
    expect(played.prompts).toEqual([begun, `${begun}I add.\nAction: calculator[2+2]\nObservation: 4\n`]);
    expect(played.used).toEqual(["2+2"]);
    expect(played.judged).toEqual(["4"]);
    expect(answerOf(played)).toBe("4");
  });

  it("observes what it did wrong, and goes on", () => {
    const turns = ["Hm.", "Action: google[x]", "Action: calculator[two]", "Final Answer: 1"];
    const { prompts } = play(react, given, { says: (_, { turn }) => turns[turn] ?? "", tool: calculator });
    const expected =
      'error: expected "Action: tool[input]" with one of calculator, or "Final Answer: ...", found';
    expect(prompts.at(-1)).toBe(
      `${begun}Hm.\nObservation: ${expected} neither\n` +
        `Action: google[x]\nObservation: ${expected} the tool "google"\n` +
        "Action: calculator[two]\nObservation: error: expected an expression\n",
    );
  });

  it("observes that a tool's answer is lost", () => {
    const played = play(react, given, {
      says: (_, { turn }) => (turn === 0 ? "Action: calculator[2+2]" : "Final Answer: 4"),
      loses: (ask) =>
        ask.kind === "verify" && ask.role === "tool" ? { reason: "lost", message: "gone" } : null,
    });
    expect(played.prompts[1]).toContain("Observation: error: the tool gave no answer\n");
    expect(answerOf(played)).toBe("4");
  });

  it("bounds what it observes", () => {
    const { prompts } = play(
      react,
      { ...given, tools: ["python"], observation_chars: 16 },
      {
        says: (_, { turn }) => (turn === 0 ? "Action: python[run()]" : "Final Answer: 4"),
        tool: () => ({ verdict: "correct", answer: "x".repeat(1e6) }),
      },
    );
    expect(prompts[1]).toMatch(/Observation: x{5}\n\.\.\.\nx{5}\n$/u);
  });

  it("must answer in its last turn", () => {
    const played = play(
      react,
      { ...given, max_turns: 2 },
      {
        says: (prompt) => (prompt.endsWith("Final Answer:") ? " 7" : "Action: calculator[2+2]"),
        tool: calculator,
      },
    );
    expect(played.prompts.at(-1)).toBe(`${begun}Action: calculator[2+2]\nObservation: 4\nFinal Answer:`);
    expect(answerOf(played)).toBe("7");
  });

  it("runs trajectories beside each other, and keeps the best or what most say", () => {
    const cast: Cast = {
      says: (_, { sample }) => `Final Answer: ${["a", "b", "b"][sample]}`,
      judges: (answer) => ({ answer, score: answer === "a" ? 1 : 0 }),
    };
    expect(answerOf(play(react, { n: 3 }, cast))).toBe("a");
    expect(play(react, { n: 3, select: "majority" }, cast).outcome).toMatchObject({ answer: "b" });
  });

  it("needs the tools that it names, and refuses others", () => {
    const parameters = (tools: readonly string[]) => withDefaults(react.parameters, { tools });
    expect(react.needs(parameters(["python", "calculator"]))).toEqual({ tools: ["python", "calculator"] });
    expect(react.check?.(parameters(["python"]))).toBeNull();
    expect(react.check?.(parameters(["bash"]))).toContain('found "bash"');
    expect(react.check?.(parameters([]))).toContain("found none");
  });
});
