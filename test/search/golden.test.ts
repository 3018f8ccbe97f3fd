/** Values computed outside this program, and the rules for ties. */
import { describe, expect, it } from "vitest";
import { puct, uct, wuUct } from "../../services/search/bandit.ts";
import { passAtK, passHatK } from "../../services/search/estimators.ts";
import type { Candidate } from "../../services/search/program.ts";
import { rootPrefix, Search } from "../../services/search/search.ts";
import { byScore, scoreOf, selectByVote, topK } from "../../services/search/selection.ts";
import { beamSearch } from "../../services/search/strategies/beam-search.ts";
import { bestOfN } from "../../services/search/strategies/best-of-n.ts";
import { firstCorrect } from "../../services/search/strategies/first-correct.ts";
import { mcts } from "../../services/search/strategies/mcts.ts";
import { selfConsistency } from "../../services/search/strategies/self-consistency.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { PROBLEM } from "./drive.ts";
import { programOf, sampledFrom, scripted, solve } from "./scripted.ts";

describe("pass@k", () => {
  it.each([
    [5, 2, 2, 0.7],
    [10, 3, 5, 0.9166667],
    [100, 4, 10, 0.3483695],
    [200, 1, 100, 0.5],
    [10_000, 1, 1000, 0.1],
    [10, 0, 3, 0],
    [10, 8, 3, 1],
    [10, 10, 10, 1],
  ])("of n=%i, c=%i at k=%i is %f", (n, c, k, expected) => {
    expect(passAtK(n, c, k)).toBeCloseTo(expected, 7);
  });

  it("is the share of correct samples at k=1", () => {
    for (let c = 0; c <= 100; c++) expect(passAtK(100, c, 1)).toBeCloseTo(c / 100, 12);
  });

  it("is at k = n whether any is correct, and pass^k whether all are", () => {
    expect([passAtK(7, 1, 7), passAtK(7, 0, 7), passHatK(7, 7, 7), passHatK(7, 6, 7)]).toEqual([1, 0, 1, 0]);
  });

  it("refuses k above n, and what is not whole", () => {
    expect(() => passAtK(5, 2, 6)).toThrow("found n=5, c=2, k=6");
    expect(() => passAtK(5, 2.5, 1)).toThrow(RangeError);
  });
});

describe("UCT", () => {
  it("is 1.694500 for Q=.6, N=20, n=5, c=1.414", () => {
    // oxlint-disable-next-line oxc/approx-constant -- the vector says 1.414, not the square root of 2
    expect(uct(0.6, { parent: 20, child: 5, explore: 1.414 })).toBeCloseTo(1.6945, 6);
  });

  it("with a prior of .3 is .879747", () => {
    expect(puct(0.6, { parent: 20, child: 5, explore: 1, prior: 0.3 })).toBeCloseTo(0.879747, 6);
  });

  it("with unobserved samples is 1.552898 for O_p=4, O_c=2, beta=1", () => {
    expect(wuUct(0.6, { parent: 20 + 4, child: 5 + 2, explore: 1 })).toBeCloseTo(1.552898, 6);
  });
});

describe("ranking", () => {
  const ranked = [
    { index: 0, score: null },
    { index: 1, score: 0.5 },
    { index: 2, score: 0.9 },
    { index: 3, score: 0.5 },
    { index: 4, score: -1 },
  ];

  it("breaks ties by the lowest index and puts an absent score last", () => {
    expect(
      ranked
        .toReversed()
        .toSorted(byScore)
        .map(({ index }) => index),
    ).toEqual([2, 1, 3, 4, 0]);
    expect(topK(ranked.toReversed(), 2).map(({ index }) => index)).toEqual([2, 1]);
  });

  it("counts correct as 1 where the verifier gives no score", () => {
    const verdict = { verdict: "correct", score: null, answer: null, reason: null } as const;
    expect(scoreOf(verdict)).toBe(1);
    expect(scoreOf({ ...verdict, verdict: "incorrect" })).toBe(0);
    expect(scoreOf({ ...verdict, verdict: "undecided" })).toBeNull();
    expect(scoreOf({ ...verdict, score: 0.25 })).toBe(0.25);
    expect(scoreOf({ ...verdict, score: Number.NaN })).toBeNull();
  });
});

describe("votes", () => {
  const ballots = (answers: readonly (string | null)[], weights: readonly number[] = []) =>
    answers.map((answer, index) => ({ candidate: voter(answer, index), weight: weights[index] ?? 1 }));

  it("go to the answer that was first by index when they tie", () => {
    const outcome = selectByVote(ballots(["b", "a", "a", "b", "c"]).toReversed(), "majority");
    expect(outcome).toMatchObject({ answer: "b", score: 0.4, abstained: 0, candidate: { index: 0 } });
  });

  it("leave out who has no answer, and say how many", () => {
    const outcome = selectByVote(ballots([null, null, null, "x"]), "majority");
    expect(outcome).toMatchObject({ answer: "x", score: 1, abstained: 0.75 });
    expect(selectByVote(ballots([null, null]), "majority")).toMatchObject({
      answer: null,
      score: null,
      abstained: 1,
    });
  });

  it("count their weights", () => {
    const outcome = selectByVote(ballots(["a", "a", "b"], [0.2, 0.2, 0.6]), "weighted-vote");
    expect(outcome.answer).toBe("b");
    expect(outcome.score).toBeCloseTo(0.6, 12);
  });
});

describe("best-of-n", () => {
  it("verifies each rollout as it arrives, while others run", () => {
    const search = new Search(() => programOf(bestOfN, { n: 3 })(rootPrefix("p")));
    search.start();
    const rollout = {
      text: "x",
      finishReason: "stop",
      stopString: null,
      completionTokens: 1,
      meanLogprob: null,
    } as const;
    const { asked } = search.tell("0.1/0", { kind: "rollout", rollout });
    expect(asked).toMatchObject([{ kind: "verify", role: "outcome", id: "0.1/1", of: "0.1/0" }]);
    expect(search.openAsks).toBe(3);
  });

  it("takes the first of the highest", () => {
    const { outcome } = solve(programOf(bestOfN, { n: 5 }), scripted(["d", "b", "a", "b", "a"]));
    expect(outcome).toMatchObject({ candidate: { index: 2 }, score: 0.9, selection: "highest-score" });
  });
});

describe("self-consistency", () => {
  it("weighs votes by the process verifier", () => {
    const program = (vote: "majority" | "weighted") =>
      solve(programOf(selfConsistency, { n: 3, vote }), scripted(["d", "d", "a"]));
    expect(program("majority").outcome).toMatchObject({ answer: "d", selection: "majority" });
    expect(program("weighted").outcome).toMatchObject({ answer: "a", selection: "weighted-vote" });
  });
});

describe("first-correct", () => {
  it("keeps its window full, and stops the others once one is correct", () => {
    const { trace, outcome } = solve(
      (prompt) => firstCorrect.search(prompt, { n: 10, parallel: 3 }, PROBLEM),
      scripted(["b", "b", "!", "b", "b"]),
    );
    expect(outcome).toMatchObject({ candidate: { index: 2 }, selection: "first-correct" });
    expect(trace.asks.filter((ask) => ask.kind === "sample")).toHaveLength(5);
    expect(trace.withdrawn.length).toBeGreaterThan(0);
  });
});

describe("beam search", () => {
  const parameters = withDefaults(beamSearch.parameters, {
    width: 4,
    expand: 2,
    max_steps: 2,
    step_stop: ["\n"],
  });

  it("keeps the best N/M of its own prompt, drops equal texts, and shares the next round evenly", () => {
    const { trace } = solve(
      (prompt) => beamSearch.search(prompt, parameters, PROBLEM),
      scripted(["b\n", "b\n", "d\n", "c\n", "a", "a", "a", "a"]),
    );
    expect(sampledFrom(trace)).toEqual(["p", "p", "p", "p", "pb\n", "pb\n", "pc\n", "pc\n"]);
  });

  it("numbers steps in the order of asking, so that the first of equal survivors stays", () => {
    const { trace } = solve(
      (prompt) => beamSearch.search(prompt, parameters, PROBLEM),
      scripted(["d\n", "b1\n", "b2\n", "b3\n", "a", "a", "a", "a"]),
    );
    expect(sampledFrom(trace).slice(4)).toEqual(["pb1\n", "pb1\n", "pb2\n", "pb2\n"]);
  });

  it("does not narrow when a path ends, nor wait for its verdict", () => {
    const search = new Search(() => beamSearch.search(rootPrefix("p"), parameters, PROBLEM));
    const { asked } = search.start();
    const answer = scripted(["a", "b\n", "c\n", "d\n"]);
    const judge = asked.flatMap((ask) => [...search.tell(ask.id, answer(ask)).asked]);
    expect(judge.map((ask) => ask.kind === "verify" && ask.role)).toEqual(["process", "process", "process"]);
    const next = judge.flatMap((ask) => [...search.tell(ask.id, answer(ask)).asked]);
    expect(next.filter((ask) => ask.kind === "sample")).toHaveLength(4);
    expect(next.filter((ask) => ask.kind === "verify")).toMatchObject([{ role: "outcome", of: "0.0/0" }]);
  });
});

describe("mcts", () => {
  const parameters = withDefaults(mcts.parameters, {
    simulations: 24,
    parallel: 4,
    expand: 2,
    max_steps: 3,
    step_stop: ["\n"],
  });

  it("keeps to its window, and goes where the value is", () => {
    const texts = Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? `a${i}\n` : `d${i}\n`));
    const { trace } = solve(
      (prompt) => mcts.search(prompt, { ...parameters, explore: 0.1, stop_when: "never" }, PROBLEM),
      scripted(texts),
    );
    const from = sampledFrom(trace);
    expect(from).toHaveLength(24);
    const below = (letter: string): number => from.filter((text) => text.startsWith(`p${letter}`)).length;
    expect(below("a")).toBeGreaterThan(2 * below("d"));
  });

  it("stops at the first path that verifies, unless told to go on", () => {
    const texts = ["b\n", "c\n", "!", "b", "c", "d", "a", "a", "a", "a"];
    const stopped = solve((prompt) => mcts.search(prompt, parameters, PROBLEM), scripted(texts));
    expect(stopped.outcome.candidate?.verdict?.verdict).toBe("correct");
    expect(sampledFrom(stopped.trace).length).toBeLessThan(24);
    const whole = solve(
      (prompt) => mcts.search(prompt, { ...parameters, stop_when: "never" }, PROBLEM),
      scripted(texts),
    );
    expect(sampledFrom(whole.trace)).toHaveLength(24);
  });
});

function voter(answer: string | null, index: number): Candidate {
  return {
    index,
    prefix: rootPrefix("p"),
    ask: null,
    verdict: { verdict: "undecided", score: null, answer, reason: null },
    score: null,
  };
}
