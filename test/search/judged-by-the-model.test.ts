/** Strategies that ask the model itself which of its answers is best. */
import { describe, expect, it } from "vitest";
import { chosenIn } from "../../services/search/choice.ts";
import type { Answer, Ask } from "../../services/search/program.ts";
import { textOf } from "../../services/search/search.ts";
import { knockout } from "../../services/search/strategies/knockout.ts";
import { noisyChannel } from "../../services/search/strategies/noisy-channel.ts";
import { universalSelfConsistency } from "../../services/search/strategies/universal-self-consistency.ts";
import { withDefaults } from "../../services/search/strategy.ts";
import { programOf, rolloutOf, sampledFrom, scripted, solve } from "./scripted.ts";

describe("a choice", () => {
  it.each([
    ["Response 2", 3, 1],
    [" 3\n", 3, 2],
    ["Responses 1 and 2 are wrong, so Response 3.", 3, 2],
    ["Response 7 of 3", 3, 2],
    ["They differ by 2.5, v2 and 2x.", 3, null],
    ["none", 3, null],
    ["0", 3, null],
    ["", 1, null],
  ])("in %j of %i is %j", (reply, count, expected) => {
    expect(chosenIn(reply, count)).toBe(expected);
  });
});

/** Answers of the model to its own answers: what its prompt ends with decides. */
function judging(says: (prompt: string, sample: number) => string | null): (ask: Ask) => Answer | null {
  return (ask) => {
    if (ask.kind !== "sample") return null;
    const said = says(textOf(ask.prefix), ask.sample);
    return said === null ? null : rolloutOf(said);
  };
}

describe("a template", () => {
  it("that does not show what is to be judged is refused before a sweep starts", () => {
    const check = (template: string) =>
      knockout.check?.(withDefaults(knockout.parameters, { template })) ?? null;
    expect(check("{second} or {first}?")).toBeNull();
    expect(check("{prompt} {first} or this?")).toBe(
      "template: expected a template with {second}, found only {prompt}, {first}",
    );
    expect(check("Choose.")).toBe("template: expected a template with {first}, found no field");
  });
});

describe("universal-self-consistency", () => {
  const listed = (prompt: string): boolean => prompt.includes("Response 1:");

  it("takes the response that the model names, whatever its answer key", () => {
    const { outcome, trace } = solve(
      programOf(universalSelfConsistency, { n: 3 }),
      scripted(
        ["d", "c", "a"],
        judging((prompt) => (listed(prompt) ? " 2\n" : null)),
      ),
    );
    expect(outcome).toMatchObject({ candidate: { index: 1 }, answer: "c", selection: "model-choice" });
    const [judge] = trace.asks.filter((ask) => ask.kind === "sample" && listed(textOf(ask.prefix)));
    expect(judge).toMatchObject({ options: { temperature: 0, maxTokens: 16, stop: ["\n"] } });
    expect(judge && textOf(judge.prefix)).toContain(
      "p\n\nI have generated the following responses to this:\n\nResponse 1:\nd\n\nResponse 2:\nc\n\nResponse 3:\na\n\n",
    );
  });

  it("falls back to the highest mean log-probability, and to the majority where none is known", () => {
    const logprobs = [-2, -0.5, -1];
    const known = (ask: Ask): Answer | null => {
      if (ask.kind !== "sample") return null;
      const text = ["d", "c", "d"][ask.sample] ?? "";
      return listed(textOf(ask.prefix))
        ? rolloutOf("I cannot say.")
        : rolloutOf(text, { meanLogprob: logprobs[ask.sample] ?? null });
    };
    const program = programOf(universalSelfConsistency, { n: 3 });
    expect(solve(program, scripted([], known)).outcome).toMatchObject({
      answer: "c",
      score: -0.5,
      selection: "highest-score",
    });
    const unknown = judging((prompt) => (listed(prompt) ? "I cannot say." : null));
    expect(solve(program, scripted(["c", "d", "d"], unknown)).outcome).toMatchObject({
      answer: "d",
      selection: "majority",
    });
  });

  it("does not ask about a single answer", () => {
    const { trace } = solve(programOf(universalSelfConsistency, { n: 1 }), scripted(["a"]));
    expect(sampledFrom(trace)).toEqual(["p"]);
  });
});

describe("knockout", () => {
  /** Prefers the answer that is first in the alphabet, whatever its position. */
  const fair = judging((prompt) => {
    const [, first, second] = /Answer 1:\n(\w)\n\nAnswer 2:\n(\w)/u.exec(prompt) ?? [];
    if (first === undefined || second === undefined) return null;
    return first < second ? " 1\n" : " 2\n";
  });
  const matches = (prompts: readonly string[]): readonly string[] =>
    prompts.flatMap((prompt) => {
      const [, first = "", second = ""] = /Answer 1:\n(\w)\n\nAnswer 2:\n(\w)/u.exec(prompt) ?? [];
      return first === "" ? [] : [first + second];
    });

  it("plays every match in both orders, by index, with a bye for who is over", () => {
    const { outcome, trace } = solve(
      programOf(knockout, { n: 5 }),
      scripted(["f", "e", "h", "g", "c"], fair),
    );
    expect(outcome).toMatchObject({ candidate: { index: 4 }, answer: "c", selection: "model-choice" });
    expect(matches(sampledFrom(trace))).toEqual(["fe", "ef", "hg", "gh", "eg", "ge", "ec", "ce"]);
  });

  it("plays the next match of two winners before a match of the round before has its answers", () => {
    const texts = ["a", "b", "c", "d", "e", "f", "g", "h"];
    const reply = (ask: Ask): Answer | null =>
      fair(ask) ?? (ask.kind === "sample" ? rolloutOf(texts[ask.sample] ?? "") : null);
    const newestFirst = { next: () => 0.999 };
    const { outcome, trace } = solve(programOf(knockout, { n: 8 }), scripted([], reply), {
      random: newestFirst,
    });
    expect(outcome.answer).toBe("a");
    const played = matches(sampledFrom(trace));
    expect(played).toHaveLength(2 * 7);
    expect(played.indexOf("eg")).toBeLessThan(played.indexOf("ab"));
  });

  it("decides a judge that always prefers a position by the verifier's score, then the index", () => {
    const biased = judging((prompt) => (prompt.includes("Answer 1:") ? " 1" : null));
    const winner = (texts: readonly string[]) =>
      solve(programOf(knockout, { n: 2 }), scripted(texts, biased)).outcome.candidate?.index;
    expect(winner(["d", "a"])).toBe(1);
    expect(winner(["x", "y"])).toBe(0);
  });

  it("counts votes, and compares no equal answers", () => {
    // Of three votes per order, the first of each is for the second answer that was sampled.
    const split = judging((prompt, sample) => {
      const [, first] = /Answer 1:\n(\w)/u.exec(prompt) ?? [];
      if (first === undefined) return null;
      return (sample === 0) === (first === "y") ? " 1" : " 2";
    });
    const { outcome, trace } = solve(
      programOf(knockout, { n: 2, votes: 3, temperature: 0.7 }),
      scripted(["x", "y"], split),
    );
    expect(outcome.answer).toBe("x");
    expect(matches(sampledFrom(trace))).toHaveLength(6);
    const same = solve(programOf(knockout, { n: 4 }), scripted(["x"], fair));
    expect(matches(sampledFrom(same.trace))).toEqual([]);
  });
});

describe("noisy-channel", () => {
  /** By the text that is expected and what it is expected behind. */
  const likelihoods: Readonly<Record<string, number | null>> = {
    "problem|a": -3,
    "problem|b": -1,
    "problem|c": -2,
    "a|p": -0.1,
    "b|p": -2.5,
    "c|p": -1,
    "a|": -4,
    "b|": -9,
    "c|": null,
  };
  const reply = (ask: Ask): Answer | null => {
    if (ask.kind !== "verify" || ask.role !== "likelihood") return null;
    const behind = textOf(ask.prefix).slice(0, -ask.prefix.text.length);
    const given = behind === "p" ? "p" : behind === "An answer:\n" ? "" : behind.charAt(0);
    const score = likelihoods[`${ask.prefix.text}|${given}`] ?? null;
    return { kind: "verdict", verdict: { verdict: "undecided", score, answer: null, reason: null } };
  };
  const best = (given: { readonly lambda_1?: number; readonly lambda_2?: number }) =>
    solve(programOf(noisyChannel, { n: 3, ...given }), scripted(["a", "b", "c"], reply));

  it("adds log p(x|y), lambda_1 log p(y) and lambda_2 log p(y|x)", () => {
    expect(best({ lambda_2: 0 }).outcome).toMatchObject({ answer: "b", score: -1 });
    expect(best({ lambda_2: 1 }).outcome).toMatchObject({ answer: "c", score: -3 });
    expect(best({ lambda_2: 2 }).outcome).toMatchObject({ answer: "a", score: -3.2 });
  });

  it("ranks last what has an unknown term, and asks for no term without a weight", () => {
    expect(best({ lambda_1: 1, lambda_2: 1 }).outcome).toMatchObject({ answer: "a", score: -7.1 });
    const asks = best({ lambda_2: 0 }).trace.asks.filter((ask) => ask.kind === "verify");
    expect(asks.filter(({ role }) => role === "likelihood")).toHaveLength(3);
    expect(asks.filter(({ role }) => role === "outcome")).toHaveLength(3);
  });
});
