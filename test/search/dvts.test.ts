import { describe, expect, it } from "vitest";
import type { Ask } from "../../services/search/program.ts";
import { rootPrefix, Search, textOf } from "../../services/search/search.ts";
import { dvts } from "../../services/search/strategies/dvts.ts";
import { programOf, rolloutOf, sampledFrom, scripted, solve } from "./scripted.ts";

const given = { width: 4, expand: 2, max_steps: 3, step_stop: ["\n"] };

describe("DVTS", () => {
  it("keeps the best of each subtree, however bad beside another's", () => {
    const texts = ["a\n", "b\n", "c\n", "d\n", "x", "x", "x", "x"];
    const { trace } = solve(programOf(dvts, given), scripted(texts));
    expect(sampledFrom(trace).slice(4)).toEqual(["pa\n", "pa\n", "pc\n", "pc\n"]);
  });

  it("gives the whole last expansion of each subtree, ended or not", () => {
    // Both subtrees end at their second step: the first by "b", the second by "a".
    const texts = ["a\n", "d\n", "c\n", "d\n", "b", "c\n", "d\n", "a"];
    const search = new Search(() => programOf(dvts, given)(rootPrefix("p")));
    const answer = scripted(texts);
    let open: readonly Ask[] = search.start().asked;
    while (open.length > 0) open = open.flatMap((ask) => search.tell(ask.id, answer(ask)).asked);
    const finished = search.candidates.map(({ index, prefix }) => [index, textOf(prefix)]);
    expect(finished).toEqual([
      [0, "pa\nb"],
      [1, "pa\nc\n"],
      [2, "pc\nd\n"],
      [3, "pc\na"],
    ]);
    expect(search.outcome).toMatchObject({ candidate: { index: 3 }, answer: "a", score: 0.9 });
  });

  it("chooses by votes that weigh the aggregated process score, where told to", () => {
    // Votes: b .5, c .3 and .3; with the product of the steps' scores b .45, c .27 and .03.
    const texts = ["a\n", "d\n", "d\n", "d\n", "b", "c", "c", "d\n", "d\n"];
    const run = (aggregate: "last" | "prod") =>
      solve(programOf(dvts, { ...given, select: "weighted-vote", aggregate, max_steps: 2 }), scripted(texts))
        .outcome;
    expect(run("last").answer).toBe("c");
    expect(run("prod").answer).toBe("b");
  });

  it("lets a subtree go on while another waits", () => {
    const search = new Search(() => programOf(dvts, given)(rootPrefix("p")));
    const asked = search.start().asked.slice(0, 2);
    const judged = asked.flatMap((ask) => search.tell(ask.id, rolloutOf("a\n")).asked);
    const answer = scripted([]);
    const next = judged.flatMap((ask) => search.tell(ask.id, answer(ask)).asked);
    expect(next.map((ask) => [ask.kind, textOf(ask.prefix)])).toEqual([
      ["sample", "pa\n"],
      ["sample", "pa\n"],
    ]);
  });

  it("gives the expansion before when one is lost whole", () => {
    const texts = ["a\n", "b\n", "c\n", "d\n"];
    const { outcome } = solve(programOf(dvts, given), scripted(texts), {
      lose: (ask) =>
        ask.kind === "sample" && ask.prefix.depth > 0 ? { reason: "lost", message: "x" } : null,
    });
    expect(outcome).toMatchObject({ answer: "a", candidate: { index: 0 } });
  });
});
