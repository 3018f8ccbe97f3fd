/** Trees of thoughts: breadth first, depth first, best first. */
import { describe, expect, it } from "vitest";
import type { Answer, Ask } from "../../services/search/program.ts";
import { rootPrefix, Search, textOf } from "../../services/search/search.ts";
import { bestFirst } from "../../services/search/strategies/best-first.ts";
import { totBfs } from "../../services/search/strategies/tot-bfs.ts";
import { totDfs } from "../../services/search/strategies/tot-dfs.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { drive } from "./drive.ts";
import { programOf, rolloutOf, sampledFrom, scripted, solve } from "./scripted.ts";

/** Steps are sampled and scored as `scripted` says. */
const sampled = { generate: "sample", evaluate: "process", branch: 2, max_steps: 2 } as const;
/** Steps are proposed and valued by the model, in prompts that are easy to tell. */
const proposed = {
  max_steps: 2,
  propose: "propose {problem}|{path}",
  propose_last: "answer {path}",
  value: "value {state}",
  value_last: "judge {step}",
  value_words: ["good=2", "fair=1"],
  state_marks: ["left ", ")"],
  evaluations: 2,
  answer_mark: "",
} as const;

/** Replies by the prompt; a list gives them in turn. */
function says(replies: Readonly<Record<string, string | readonly string[]>>): (ask: Ask) => Answer {
  return scripted([], (ask) => {
    if (ask.kind !== "sample") return null;
    const reply = replies[textOf(ask.prefix)] ?? "";
    return rolloutOf(typeof reply === "string" ? reply : (reply[ask.sample] ?? ""));
  });
}

function candidatesOf(search: Search): readonly string[] {
  return search.candidates.toSorted((a, b) => a.index - b.index).map(({ prefix }) => textOf(prefix));
}

describe("tree of thoughts, breadth first", () => {
  it("keeps the best b of all next states, the first of equals", () => {
    const texts = ["c\n", "b\n", "d\n", "b1\n", "b2\n", "a\n"];
    const { trace } = solve(programOf(totBfs, { ...sampled, keep: 2, branch: 3 }), scripted(texts));
    expect(sampledFrom(trace).slice(3)).toEqual(["pb\n", "pb\n", "pb\n", "pc\n", "pc\n", "pc\n"]);
  });

  it("reads a step a line of one reply, and asks for a value once where prompts are equal", () => {
    const replies = {
      "propose problem|": "x left 1)\ny left 1)\nx left 1)\nz left 2)",
      "value 1": ["so it is good", "Fair."],
      "value 2": ["good", "good!"],
      "propose problem|z left 2)\n": "END",
      "judge END": ["good", "good"],
    };
    const search = new Search(() => programOf(totBfs, { ...proposed, keep: 1 })(rootPrefix("p")));
    const trace = drive(search, { answer: says(replies) });
    const asked = trace.asks.filter((ask) => ask.kind === "sample").map((ask) => textOf(ask.prefix));
    expect(asked).toEqual([
      "propose problem|",
      "value 1",
      "value 1",
      "value 2",
      "value 2",
      "propose problem|z left 2)\n",
      "judge END",
      "judge END",
    ]);
    expect(candidatesOf(search)).toEqual(["pz left 2)\nEND\n"]);
  });

  it("gives an exact duplicate the value 0", () => {
    const replies = {
      "propose problem|": "x left 1)\nx left 1)\ny left 2)",
      "value 1": ["good", "good"],
      "value 2": ["fair", "fair"],
    };
    const { trace } = solve(programOf(totBfs, { ...proposed, keep: 2 }), says(replies));
    expect(sampledFrom(trace).slice(5)).toEqual([
      "propose problem|x left 1)\n",
      "propose problem|y left 2)\n",
    ]);
  });

  it("asks for the answer where the state is the goal, and finds a last step without it worth nothing", () => {
    const replies = {
      "propose problem|": "x left 24)\ny left 3)",
      "value 24": ["good", "good"],
      "value 3": ["good", "fair"],
      "answer x left 24)\n": "Answer: x",
      "propose problem|y left 3)\n": "z left 24)",
      "judge Answer: x": ["fair", ""],
    };
    const given = { ...proposed, keep: 2, answer_mark: "ANSWER", answer: "highest-value" } as const;
    const search = new Search(() => programOf(totBfs, given)(rootPrefix("p")));
    drive(search, { answer: says(replies) });
    // The last state of y is valued already as one of x, and so is worth that: as in the authors' code.
    expect(candidatesOf(search)).toEqual(["py left 3)\nz left 24)\n", "px left 24)\nAnswer: x\n"]);
    const other = { ...replies, "propose problem|y left 3)\n": "z left 5)" };
    const again = new Search(() => programOf(totBfs, given)(rootPrefix("p")));
    drive(again, { answer: says(other) });
    expect(again.outcome).toMatchObject({ score: 1, candidate: { index: 0 } });
    expect(candidatesOf(again)).toEqual(["px left 24)\nAnswer: x\n", "py left 3)\nz left 5)\n"]);
  });

  it("lets the model vote, by the number behind the mark", () => {
    const replies = {
      "propose problem|": Array.from({ length: 12 }, (_, i) => `s${i + 1}`).join("\n"),
      [`vote ${Array.from({ length: 12 }, (_, i) => `(${i + 1}) s${i + 1};`).join("")}`]: [
        "Choice 3 is fine, but the best Choice is 12.",
        "the best choice is 12, not 1",
        "the best choice is 3",
      ],
    };
    const given = {
      ...proposed,
      evaluate: "vote",
      evaluations: 3,
      keep: 2,
      vote: "vote {choices}",
      choice: "({index}) {path};",
    } as const;
    const { trace } = solve(programOf(totBfs, given), says(replies));
    expect(sampledFrom(trace).slice(4, 6)).toEqual(["propose problem|s12\n", "propose problem|s3\n"]);
  });

  it("draws states in proportion to their value, where told to", () => {
    const draws = [0.1, 0.7, 0.99];
    const given = { ...sampled, keep: 3, branch: 3, select: "sample" } as const;
    const search = new Search(() => programOf(totBfs, given)(rootPrefix("p")), {
      draw: () => draws.shift() ?? 0,
    });
    // Values .9, .5 and .1: .1 falls on a, .7 and .99 on b and d.
    const trace = drive(search, { answer: scripted(["a\n", "b\n", "d\n", "x"]) });
    expect(sampledFrom(trace).slice(3)).toEqual(
      ["a", "b", "d"].flatMap((s) => [`p${s}\n`, `p${s}\n`, `p${s}\n`]),
    );
  });

  it("keeps what its model ended in its place, until better states push it out", () => {
    const given = { ...sampled, max_steps: 3, keep: 2, branch: 2 };
    const ends = (...second: readonly string[]) => {
      const search = new Search(() => programOf(totBfs, given)(rootPrefix("p")));
      drive(search, { answer: scripted(["b", "c\n", ...second, "d\n"]) });
      return candidatesOf(search);
    };
    expect(ends("d\n", "d\n")[0]).toBe("pb");
    expect(ends("a1\n", "a2\n")).not.toContain("pb");
  });

  it("answers with the states kept last when the budget refuses more", () => {
    const search = new Search(() => programOf(totBfs, { ...sampled, keep: 1 })(rootPrefix("p")));
    drive(search, {
      answer: scripted(["b\n", "a\n"]),
      lose: (ask) =>
        ask.kind === "sample" && ask.prefix.depth > 0 ? { reason: "budget", message: "no budget" } : null,
    });
    expect(candidatesOf(search)).toEqual(["pa\n"]);
    expect(search.outcome?.answer).toBe("a");
  });

  it("says what is wrong with its words and marks", () => {
    const check = (given: Parameters<typeof withDefaults<typeof totBfs.parameters>>[1]) =>
      totBfs.check?.(withDefaults(totBfs.parameters, given));
    expect(check({})).toBeNull();
    expect(check({ value_words: ["sure:20"] })).toContain('expected "word=number"');
    expect(check({ value_words: ["sure=-1"] })).toContain('found "sure=-1"');
    expect(check({ state_marks: [] })).toContain("state_marks");
  });
});

describe("tree of thoughts, depth first", () => {
  it("follows the best state to its end, then turns to the next, and leaves out what is worth too little", () => {
    const given = { ...sampled, branch: 3, threshold: 0.1, visits: 10, stop_when: "never" } as const;
    const search = new Search(() => programOf(totDfs, given)(rootPrefix("p")));
    const trace = drive(search, { answer: scripted(["c\n", "d\n", "a\n", "b\n", "d\n", "a\n", "c\n"]) });
    expect(sampledFrom(trace)).toEqual(["p", "p", "p", "pa\n", "pa\n", "pa\n", "pc\n", "pc\n", "pc\n"]);
    expect(candidatesOf(search)).toEqual(["pa\na\n", "pa\nb\n", "pc\nc\n"]);
  });

  it("stops at the first path that verifies, and at its cap of visits", () => {
    const texts = ["a\n", "b\n", "!", "c\n"];
    const stopped = solve(programOf(totDfs, sampled), scripted(texts));
    expect(sampledFrom(stopped.trace)).toHaveLength(4);
    expect(stopped.outcome.candidate?.verdict?.verdict).toBe("correct");
    const capped = solve(
      programOf(totDfs, { ...sampled, max_steps: 9, visits: 3 }),
      scripted(["a\n", "b\n"]),
    );
    expect(sampledFrom(capped.trace)).toEqual(["p", "p", "pa\n", "pa\n", "pa\nb\n", "pa\nb\n"]);
  });

  it("answers with the best state seen where it finished none", () => {
    const { outcome } = solve(
      programOf(totDfs, { ...sampled, max_steps: 9, visits: 2 }),
      scripted(["c\n", "b\n", "d\n", "a\n"]),
    );
    expect(outcome.candidate && textOf(outcome.candidate.prefix)).toBe("pb\na\n");
  });
});

describe("best-first search", () => {
  it("expands the best state wherever it is", () => {
    const given = { ...sampled, max_steps: 9, expansions: 4, parallel: 1 };
    const { trace } = solve(
      programOf(bestFirst, given),
      scripted(["b\n", "a\n", "c\n", "d\n", "a\n", "c\n"]),
    );
    expect(sampledFrom(trace)).toEqual(["p", "p", "pa\n", "pa\n", "pb\n", "pb\n", "pb\na\n", "pb\na\n"]);
  });

  it("weighs depth where told to", () => {
    const given = { ...sampled, max_steps: 9, expansions: 3, parallel: 1, depth_weight: 1 };
    const { trace } = solve(programOf(bestFirst, given), scripted(["b\n", "a\n", "c\n", "d\n"]));
    expect(sampledFrom(trace).slice(4)).toEqual(["pa\nc\n", "pa\nc\n"]);
  });

  it("expands another state as soon as one is back, without waiting for the rest", () => {
    const given = { ...sampled, max_steps: 9, expansions: 9, parallel: 2 };
    const search = new Search(() => programOf(bestFirst, given)(rootPrefix("p")));
    const answer = scripted(["a\n", "b\n", "c\n", "d\n"]);
    const tell = (ask: Ask) => search.tell(ask.id, answer(ask)).asked;
    const second = search.start().asked.flatMap(tell).flatMap(tell);
    expect(second.map((ask) => textOf(ask.prefix))).toEqual(["pa\n", "pa\n", "pb\n", "pb\n"]);
    // Only the expansion of a comes back; c and d, below it, are in the queue.
    const third = second.slice(0, 2).flatMap(tell).flatMap(tell);
    expect(third.map((ask) => textOf(ask.prefix))).toEqual(["pa\nc\n", "pa\nc\n"]);
  });

  it("stops at the first path that verifies, and answers with the best state seen where it finished none", () => {
    const stopped = solve(programOf(bestFirst, { ...sampled, parallel: 1 }), scripted(["a\n", "!", "b\n"]));
    expect(sampledFrom(stopped.trace)).toHaveLength(4);
    expect(stopped.trace.withdrawn).toHaveLength(2);
    expect(stopped.outcome.score).toBe(1);
    const open = solve(
      programOf(bestFirst, { ...sampled, max_steps: 9, expansions: 2, parallel: 1 }),
      scripted(["c\n", "b\n", "d\n", "a\n"]),
    );
    expect(open.outcome.answer).toBe("a");
  });
});
