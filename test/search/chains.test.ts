/** Chained strategies against the loops of their papers: what is asked, behind which prompt, and what is returned. */
import { describe, expect, it } from "vitest";
import { rootPrefix, Search } from "../../services/search/search.ts";
import { leastToMost } from "../../services/search/strategies/least-to-most.ts";
import { mixtureOfAgents } from "../../services/search/strategies/mixture-of-agents.ts";
import { planThenSolve } from "../../services/search/strategies/plan-then-solve.ts";
import { promptChain } from "../../services/search/strategies/prompt-chain.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { PROBLEM } from "./drive.ts";
import { answerOf, play, samplesOf } from "./play.ts";

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
    const played = play(promptChain, { nodes }, { says: () => "x" });
    const [left, right, both] = samplesOf(played).map(({ prefix }) => prefix);
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

describe("least-to-most", () => {
  const templates = { decompose: "{prompt}/list", question: "/q {question}/a ", final: "/end " };

  it("lists sub-questions, then answers each behind the problem and all before it, the problem last", () => {
    const says = (prompt: string): string => {
      if (prompt === "Q/list") return "Sure:\n1. one?\n2) two?\nDone.";
      return prompt.endsWith("/end ") ? "42" : `<${prompt.length}>`;
    };
    const played = play(leastToMost, templates, { says });
    expect(played.prompts).toEqual([
      "Q/list",
      "Q/q one?/a ",
      "Q/q one?/a <11>/q two?/a ",
      "Q/q one?/a <11>/q two?/a <25>/end ",
    ]);
    expect(played.judged).toEqual(["42"]);
    expect(answerOf(played)).toBe("42");
    const [, first, second, third] = samplesOf(played).map(({ prefix }) => prefix);
    expect(second?.parent?.parent).toBe(first);
    expect(third?.parent?.parent).toBe(second);
  });

  it("answers no more sub-questions than it may, and none where none is listed", () => {
    const many = Array.from({ length: 9 }, (_, i) => `${i + 1}. q${i}`).join("\n");
    const prompts = (list: string) =>
      play(leastToMost, { ...templates, max_questions: 2 }, { says: (p) => (p === "Q/list" ? list : "a") })
        .prompts;
    expect(prompts(many)).toHaveLength(4);
    expect(prompts("\n \n")).toEqual(["Q/list", "Q/end "]);
  });
});

describe("plan-then-solve", () => {
  it("samples plans, then solutions of each, and keeps the best by plan and solution", () => {
    const played = play(
      planThenSolve,
      { plans: 2, solutions: 2, plan: "{prompt}/plan ", solve: "/solve {plan}: " },
      {
        says: (prompt, { sample }) =>
          prompt === "Q/plan " ? `p${sample} ` : `${prompt.slice(-4, -2)}s${sample}`,
        judges: (answer) => ({ score: answer.startsWith("p1") ? 1 : 0 }),
      },
    );
    expect(played.prompts).toEqual([
      "Q/plan ",
      "Q/plan ",
      "Q/plan p0 /solve p0: ",
      "Q/plan p0 /solve p0: ",
      "Q/plan p1 /solve p1: ",
      "Q/plan p1 /solve p1: ",
    ]);
    expect(played.judged).toEqual(["p0s0", "p0s1", "p1s0", "p1s1"]);
    expect(played.outcome?.candidate?.index).toBe(2);
    expect(answerOf(played)).toBe("p1s0");
  });

  it("loses with a plan its solutions, and with a solution that one", () => {
    const lost = new Set(["0.0/0", "0.3.0/0"]);
    const played = play(
      planThenSolve,
      { plans: 3, solutions: 2 },
      {
        says: (_, { turn }) => `${turn}`,
        loses: ({ id }) => (lost.has(id) ? { reason: "lost", message: "gone" } : null),
      },
    );
    expect(played.prompts).toHaveLength(3 + 4);
    expect(played.judged).toHaveLength(3);
    expect(played.outcome?.candidate?.index).toBe(3);
  });
});

describe("mixture-of-agents", () => {
  const given = { layers: 2, width: 2, fuse: "{prompt} given {answers} fuse" };
  const cast = {
    says: (prompt: string, { sample }: { readonly sample: number }) =>
      `${prompt === "Q" ? "x" : prompt.includes("x") ? "y" : "z"}${sample}`,
    judges: (answer: string) => ({ score: answer === "y1" ? 1 : 0 }),
  };

  it("gives each layer the answers of the one before, and has the last one fused", () => {
    const played = play(mixtureOfAgents, given, cast);
    const [second, last] = ["Q given 1. x0\n\n2. x1 fuse", "Q given 1. y0\n\n2. y1 fuse"];
    expect(played.prompts).toEqual(["Q", "Q", second, second, last]);
    expect(played.judged).toEqual(["x0", "x1", "y0", "y1", "z0"]);
  });

  it("keeps the best by score, or the fused answer where told so", () => {
    expect(answerOf(play(mixtureOfAgents, given, cast))).toBe("y1");
    const fused = play(mixtureOfAgents, { ...given, select: "fused" }, cast);
    expect(fused.outcome).toMatchObject({ selection: "last", candidate: { index: 4 } });
    expect(answerOf(fused)).toBe("z0");
  });

  it("leaves a lost proposal out of the next layer", () => {
    const { prompts } = play(mixtureOfAgents, given, {
      ...cast,
      loses: (ask) =>
        ask.kind === "sample" && ask.prefix.text === "Q" && ask.sample === 0
          ? { reason: "lost", message: "gone" }
          : null,
    });
    expect(prompts.slice(2, 4)).toEqual(["Q given 1. x1 fuse", "Q given 1. x1 fuse"]);
  });

  it("keeps the best so far when a layer is lost whole, even where the fused answer was wanted", () => {
    const played = play(
      mixtureOfAgents,
      { ...given, select: "fused" },
      {
        ...cast,
        judges: (answer) => ({ score: answer === "x1" ? 1 : 0 }),
        loses: ({ kind, prefix }) =>
          kind === "sample" && prefix.text.includes("given") ? { reason: "lost", message: "gone" } : null,
      },
    );
    expect(played.prompts).toHaveLength(4);
    expect(answerOf(played)).toBe("x1");
    expect(played.outcome?.selection).toBe("highest-score");
  });
});
