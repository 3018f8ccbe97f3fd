/** Chained strategies against the loops of their papers: what is asked, behind which prompt, and what is returned. */
import { describe, expect, it } from "vitest";
import { rootPrefix, Search } from "../../services/search/search.ts";
import { promptChain } from "../../services/search/strategies/prompt-chain.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { PROBLEM } from "./drive.ts";
import { answerOf, play } from "./play.ts";

describe("prompt-chain", () => {
  const nodes = { left: "L {prompt}", right: "{prompt} R", both: "{prompt}<{left}|{right}>" };
  const complaint = (given: Readonly<Record<string, string>>, answer = ""): string | null =>
    promptChain.check?.(withDefaults(promptChain.parameters, { nodes: given, answer })) ?? null;

  it("asks the nodes whose inputs are there together, then those that wait for them", () => {
    const played = play(
      promptChain,
      { nodes },
      { says: (prompt) => ({ "L Q": " l\n", "Q R": "r" })[prompt] ?? "end" },
    );
    expect(played.prompts).toEqual(["L Q", "Q R", "Q<l|r>"]);
    expect(played.judged).toEqual(["end"]);
    expect(answerOf(played)).toBe("end");
    const parameters = withDefaults(promptChain.parameters, { nodes });
    const search = new Search(() => promptChain.search(rootPrefix("Q"), parameters, PROBLEM));
    expect(search.start().asked).toHaveLength(2);
  });

  it("takes the node that `answer` names, wherever it stands", () => {
    const order = { end: "{first}!", first: "{prompt}?" };
    const played = play(promptChain, { nodes: order, answer: "end" }, { says: (prompt) => `[${prompt}]` });
    expect(played.prompts).toEqual(["Q?", "[Q?]!"]);
    expect(answerOf(played)).toBe("[[Q?]!]");
  });

  it("continues the problem's prompt where a template begins with it, so that hosts share it", () => {
    const { asks } = play(promptChain, { nodes }, { says: () => "x" });
    const [left, right, both] = asks.filter((ask) => ask.kind === "sample").map(({ prefix }) => prefix);
    expect(left?.parent).toBeNull();
    expect(right?.parent).not.toBeNull();
    expect(both?.parent).toBe(right?.parent);
  });

  it("keeps the best of several runs, or what most of them say", () => {
    const answers = ["a", "b", "b", "c"];
    const cast = {
      says: (_: string, { sample }: { readonly sample: number }) => answers[sample] ?? "",
      judges: (answer: string) => ({ answer, score: answer === "c" ? 1 : 0 }),
    };
    const given = { nodes: { one: "{prompt}" }, n: 4 };
    expect(answerOf(play(promptChain, given, cast))).toBe("c");
    const voted = play(promptChain, { ...given, select: "majority" }, cast);
    expect(voted.outcome).toMatchObject({ answer: "b", score: 0.5, selection: "majority" });
  });

  it("loses the run whose node is lost, and no other", () => {
    const played = play(
      promptChain,
      { nodes, n: 2 },
      {
        says: (_, { turn }) => `${turn}`,
        loses: (ask) => (ask.id.startsWith("0.0.1") ? { reason: "lost", message: "gone" } : null),
      },
    );
    expect(played.prompts).toHaveLength(5);
    expect(played.outcome?.candidate?.index).toBe(1);
  });

  it.each<[string, Readonly<Record<string, string>>, string, string]>([
    ["no node", {}, "", "nodes: expected at least one, found none"],
    ["a node called prompt", { prompt: "x" }, "", "nodes.prompt: {prompt} is the problem's prompt"],
    [
      "an unknown name",
      { plan: "x", end: "{plam}" },
      "",
      "nodes.end: refers to {plam}; expected prompt or one of plan, end",
    ],
    ["an unknown answer", { plan: "x" }, "end", 'answer: expected one of plan; found "end"'],
    [
      "a cycle",
      { a: "{b}", b: "{c}", c: "{prompt}{b}", end: "{a}" },
      "",
      "nodes.b: waits for itself: {b} needs {c} needs {b}",
    ],
    ["a node that needs itself", { a: "{a}" }, "", "nodes.a: waits for itself: {a} needs {a}"],
    [
      "a node that leads nowhere",
      { a: "x", b: "y" },
      "",
      'nodes.a: no way leads from it to the answer, the node "b"',
    ],
  ])("refuses %s, and says which", (_, given, answer, expected) => {
    expect(complaint(given, answer)).toContain(expected);
  });

  it("accepts its own defaults", () => {
    expect(promptChain.check?.(withDefaults(promptChain.parameters))).toBeNull();
  });
});
