/** Strategies that refine their own answers, against the loops of their papers. */
import { describe, expect, it } from "vitest";
import { reflexion } from "../../services/search/strategies/reflexion.ts";
import { selfDebug } from "../../services/search/strategies/self-debug.ts";
import { selfRefine } from "../../services/search/strategies/self-refine.ts";
import { sequentialRevisions } from "../../services/search/strategies/sequential-revisions.ts";
import { answerOf, play, samplesOf } from "./play.ts";
import type { Cast, Played } from "./play.ts";

/** Scores by the digit that an answer ends with; 9 is correct. */
function judges(answer: string): ReturnType<NonNullable<Cast["judges"]>> {
  const digit = Number(answer.at(-1));
  return {
    verdict: digit === 9 ? "correct" : "incorrect",
    score: digit / 10,
    answer,
    reason: digit === 9 ? null : `fails ${digit}`,
  };
}

/** A model that says these, one after the other. */
function says(...texts: readonly string[]): Cast["says"] {
  return (_, { turn }) => texts[turn] ?? `more${turn}`;
}

/** Whether each prompt after the first continues the one before and what the model said there. */
function isOneConversation(played: Played): boolean {
  const prefixes = samplesOf(played).map(({ prefix }) => prefix);
  return prefixes.every((prefix, i) => i === 0 || prefix.parent?.parent === prefixes[i - 1]);
}

describe("self-refine", () => {
  const templates = { feedback: "/f ", refine: "/r " };

  it("asks for feedback and refines, the history kept, until the feedback says OK", () => {
    const played = play(selfRefine, templates, { says: says("y1", "bad", "y2", "Thanks.\n**OK.**"), judges });
    expect(played.prompts).toEqual(["Q", "Qy1/f ", "Qy1/f bad/r ", "Qy1/f bad/r y2/f "]);
    expect(isOneConversation(played)).toBe(true);
    expect(played.judged).toEqual(["y1", "y2"]);
  });

  it("is not stopped by feedback that says OK among other words", () => {
    const played = play(
      selfRefine,
      { ...templates, attempts: 2 },
      { says: says("y1", "not OK", "y2"), judges },
    );
    expect(played.prompts).toHaveLength(3);
  });

  it("asks for no feedback on its last attempt", () => {
    const played = play(selfRefine, { ...templates, attempts: 3 }, { says: says(), judges: () => ({}) });
    expect(played.prompts.map((prompt) => prompt.slice(-3))).toEqual(["Q", "/f ", "/r ", "/f ", "/r "]);
  });

  it("returns the best answer, not the last, and the earliest of the best", () => {
    const cast = { says: says("a1", "f", "a5", "f", "b5", "f", "a2"), judges };
    const played = play(selfRefine, templates, cast);
    expect(answerOf(played)).toBe("a5");
    expect(played.outcome?.selection).toBe("highest-score");
  });

  it("returns what the first chain ended with where nothing has a score", () => {
    const played = play(
      selfRefine,
      { ...templates, attempts: 2, chains: 2 },
      { says: (_, { turn }) => `t${turn}`, judges: () => ({ verdict: "undecided" }) },
    );
    expect(played.judged).toEqual(["t0", "t1", "t4", "t5"]);
    expect(answerOf(played)).toBe("t4");
    expect(played.outcome?.selection).toBe("last");
  });

  it("keeps what a chain has when its feedback is lost, and goes on with the others", () => {
    const played = play(
      selfRefine,
      { ...templates, attempts: 2, chains: 2 },
      {
        says: says("a8", "a1", "f", "a3"),
        judges,
        loses: ({ prefix }) =>
          prefix.text === "/f " && prefix.parent?.text === "a8" ? { reason: "lost", message: "gone" } : null,
      },
    );
    expect(played.judged).toEqual(["a8", "a1", "a3"]);
    expect(answerOf(played)).toBe("a8");
  });
});

describe("self-debug", () => {
  const templates = { tests: "/{reason}", explain: "/e ", fix: "/x " };

  it("tells what failed, has it explained and fixed, until the verifier passes it", () => {
    const played = play(selfDebug, templates, { says: says("y1", "why1", "y2", "why2", "y9"), judges });
    expect(played.prompts).toEqual([
      "Q",
      "Qy1/fails 1/e ",
      "Qy1/fails 1/e why1/x ",
      "Qy1/fails 1/e why1/x y2/fails 2/e ",
      "Qy1/fails 1/e why1/x y2/fails 2/e why2/x ",
    ]);
    expect(played.judged).toEqual(["y1", "y2", "y9"]);
    expect(answerOf(played)).toBe("y9");
  });

  it("fixes at once where no explanation is wanted, at most as often as it may", () => {
    const played = play(
      selfDebug,
      { ...templates, explain: "", rounds: 2 },
      { says: says("y5", "y2", "y3"), judges },
    );
    expect(played.prompts).toEqual(["Q", "Qy5/fails 5/x ", "Qy5/fails 5/x y2/fails 2/x "]);
    expect(answerOf(played)).toBe("y5");
  });

  it("tells the beginning and the end of a long reason", () => {
    const reason = `begin${"-".repeat(1000)}end`;
    const { prompts } = play(
      selfDebug,
      { ...templates, explain: "", rounds: 1, reason_chars: 25 },
      { says: says("y1", "y2"), judges: () => ({ reason }) },
    );
    expect(prompts[1]).toBe("Qy1/begin-----\n...\n-------end/x ");
  });

  it("ends a chain whose verdict is lost, and keeps its answer", () => {
    const played = play(selfDebug, templates, {
      says: says("y1"),
      loses: ({ kind }) => (kind === "verify" ? { reason: "lost", message: "gone" } : null),
    });
    expect(played.prompts).toEqual(["Q"]);
    expect(answerOf(played)).toBe("y1");
  });

  it("lets each chain stop by itself", () => {
    const played = play(
      selfDebug,
      { ...templates, explain: "", chains: 2, rounds: 1 },
      { says: says("y9", "y1", "y2"), judges },
    );
    expect(played.prompts).toEqual(["Q", "Q", "Qy1/fails 1/x "]);
    expect(played.outcome?.candidate?.index).toBe(0);
  });
});

describe("reflexion", () => {
  const templates = {
    trial: "{prompt} knowing {lessons}: ",
    reflect: "/{reason} so ",
    tests: "{prompt} tests ",
  };

  it("draws a lesson from a failed trial and tries again from scratch, with the latest lessons", () => {
    const played = play(
      reflexion,
      { ...templates, memory: 2, trials: 4 },
      { says: says("y1", " L1 ", "y2", "L2", "y3", "L3", "y4"), judges },
    );
    expect(played.prompts).toEqual([
      "Q",
      "Qy1/fails 1 so ",
      "Q knowing - L1: ",
      "Q knowing - L1: y2/fails 2 so ",
      "Q knowing - L1\n- L2: ",
      "Q knowing - L1\n- L2: y3/fails 3 so ",
      "Q knowing - L2\n- L3: ",
    ]);
    expect(played.judged).toEqual(["y1", "y2", "y3", "y4"]);
    expect(answerOf(played)).toBe("y4");
  });

  it("stops at success, and returns the best of all trials otherwise", () => {
    const stopped = play(reflexion, templates, { says: says("y1", "L", "y9"), judges });
    expect(stopped.prompts).toHaveLength(3);
    const worse = play(reflexion, { ...templates, trials: 2 }, { says: says("y7", "L", "y3"), judges });
    expect(answerOf(worse)).toBe("y7");
  });

  it("with its own tests, is told what they say and never the verdict", () => {
    const tests = "Here:\n```python\nassert f() == 2\n```\nDone.";
    const played = play(
      reflexion,
      { ...templates, signal: "own-tests", trials: 3 },
      {
        says: (prompt, { turn }) =>
          prompt === "Q tests "
            ? tests
            : prompt.endsWith("so ")
              ? "L"
              : `try ${turn}\n\`\`\`\ncode${turn}\n\`\`\``,
        judges: () => ({ verdict: "correct" }),
        tool: (_, input) =>
          input.startsWith("code1") ? { reason: "AssertionError" } : { verdict: "correct", answer: "" },
      },
    );
    expect(played.prompts).toEqual([
      "Q tests ",
      "Q",
      "Qtry 1\n```\ncode1\n```/AssertionError so ",
      "Q knowing - L: ",
    ]);
    expect(played.used).toEqual(["code1\n\nassert f() == 2\n", "code3\n\nassert f() == 2\n"]);
    expect(played.judged).toHaveLength(2);
  });

  it("makes one trial where its own tests are lost or empty", () => {
    const prompts = (cast: Partial<Cast>) =>
      play(reflexion, { ...templates, signal: "own-tests" }, { says: () => "\n", ...cast }).prompts;
    expect(prompts({})).toEqual(["Q tests ", "Q"]);
    const lost = prompts({
      says: () => "x",
      loses: ({ prefix }) => (prefix.text === " tests " ? { reason: "lost", message: "gone" } : null),
    });
    expect(lost).toEqual(["Q tests ", "Q"]);
  });
});

describe("sequential-revisions", () => {
  it("gives each revision the latest answers of its chain, and no verdict", () => {
    const played = play(
      sequentialRevisions,
      { chains: 1, revisions: 4, context: 2, revise: "/r " },
      { says: says("y1", "y2", "y3", "y4"), judges },
    );
    expect(played.prompts).toEqual(["Q", "Qy1/r ", "Qy1/r y2/r ", "Qy2/r y3/r "]);
    expect(played.judged).toEqual(["y1", "y2", "y3", "y4"]);
  });

  it("continues one conversation while its context holds the whole chain", () => {
    const played = play(sequentialRevisions, { chains: 1, revisions: 4 }, { says: says(), judges });
    expect(isOneConversation(played)).toBe(true);
  });

  it("keeps the best within a chain, then across chains, ties to the first", () => {
    const played = play(
      sequentialRevisions,
      { chains: 2, revisions: 2 },
      { says: says("a1", "b8", "a8", "b2"), judges },
    );
    expect(played.judged).toEqual(["a1", "b8", "a8", "b2"]);
    expect(answerOf(played)).toBe("a8");
    expect(played.outcome?.candidate?.index).toBe(1);
  });

  it("lets the answers of all chains vote where told so", () => {
    const played = play(
      sequentialRevisions,
      { chains: 2, revisions: 2, select: "majority" },
      { says: says("a1", "b8", "c3", "a1"), judges },
    );
    expect(played.outcome).toMatchObject({ answer: "a1", score: 0.5, selection: "majority" });
  });
});
