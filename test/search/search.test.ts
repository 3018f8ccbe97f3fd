import { describe, expect, it } from "vitest";
import {
  all,
  consider,
  gather,
  judge,
  openGroup,
  sample,
  sampleMany,
  verify,
} from "../../services/search/operations.ts";
import { LostError } from "../../services/search/program.ts";
import type { Answer, Candidate, Loss, Prefix, Program } from "../../services/search/program.ts";
import { rootPrefix, Search, textOf } from "../../services/search/search.ts";
import type { SearchOptions, Step } from "../../services/search/search.ts";

const NOTHING: Step = { asked: [], withdrawn: [], told: [], ended: false };
const LOST: Loss = { reason: "lost", message: "host gone" };

function text(value: string): Answer {
  const rollout = {
    text: value,
    finishReason: "stop",
    stopString: null,
    completionTokens: 1,
    meanLogprob: null,
  } as const;
  return { kind: "rollout", rollout };
}

const CORRECT: Answer = {
  kind: "verdict",
  verdict: { verdict: "correct", score: 1, answer: "24", reason: null },
};

function run<T>(
  program: (prompt: Prefix) => Program<T>,
  options: SearchOptions = {},
): { search: Search<T>; first: Step } {
  const prompt = rootPrefix("p");
  const search = new Search(() => program(prompt), options);
  return { search, first: search.start() };
}

const idsOf = (step: Step): readonly string[] => step.asked.map((ask) => ask.id);

describe("ids and samples", () => {
  it("names asks by strand, step and member", () => {
    const { search, first } = run(function* (prompt) {
      yield* sample(prompt);
      yield* all<unknown>([
        sampleMany(prompt, { n: 2 }),
        verify({ role: "outcome", prefix: prompt, of: null }),
      ]);
      yield* all([sample(prompt)]);
    });
    expect(idsOf(first)).toEqual(["0/0"]);
    expect(idsOf(search.tell("0/0", text("a")))).toEqual(["0.0/0.0", "0.0/0.1", "0.1/0"]);
    search.tell("0.1/0", CORRECT);
    search.tell("0.0/0.1", text("b"));
    expect(idsOf(search.tell("0.0/0.0", text("a")))).toEqual(["0.2/0"]);
  });

  it("counts the samples of each prefix, a bulk taking consecutive numbers", () => {
    const { first } = run((prompt) =>
      all<unknown>([
        sample(prompt),
        sampleMany(prompt, { n: 3 }),
        sample(prompt.extend("x")),
        sample(prompt),
      ]),
    );
    const samples = first.asked.map((ask) =>
      ask.kind === "sample" ? `${textOf(ask.prefix)}${ask.sample}` : "",
    );
    expect(samples).toEqual(["p0", "p1", "p2", "p3", "px0", "p4"]);
  });

  it("keeps what the strategy leaves out of its options out of the ask", () => {
    const { first } = run((prompt) => sampleMany(prompt, { n: 1, stop: ["\n"] }));
    expect(first.asked[0]).toMatchObject({ options: { stop: ["\n"] } });
    expect(Object.keys((first.asked[0] as { options: object }).options)).toEqual(["stop"]);
  });
});

describe("prefix tree", () => {
  it("gives the same node for the same text, and the node itself for none", () => {
    const root = rootPrefix("p");
    expect(root.extend("a").extend("b")).toBe(root.extend("a").extend("b"));
    expect(root.extend("")).toBe(root);
    expect(root.extend("ab")).not.toBe(root.extend("a").extend("b"));
    expect(root.extend("a").extend("b")).toMatchObject({ depth: 2, text: "b", ask: null });
  });

  it("belongs to the first ask by path that produced it, whichever arrived first", () => {
    const root = rootPrefix("p");
    root.extend("a", "0.12/0");
    root.extend("a", "0.3/0");
    expect(root.extend("a", "0.20/0").ask).toBe("0.3/0");
  });
});

describe("joins", () => {
  it("gives a bulk in index order without what was lost", () => {
    const { search } = run((prompt) => sampleMany(prompt, { n: 3 }));
    search.tell("0/0.2", text("c"));
    search.fail("0/0.1", LOST);
    expect(search.tell("0/0.0", text("a"))).toMatchObject({ ended: true });
    expect(search.outcome?.map(({ text: found, index, ask }) => [found, index, ask])).toEqual([
      ["a", 0, "0/0.0"],
      ["c", 2, "0/0.2"],
    ]);
  });

  it("throws what was lost when fewer than the minimum arrive, a refused budget first", () => {
    const { search } = run((prompt) => sampleMany(prompt, { n: 3, minimum: 2 }));
    search.tell("0/0.0", text("a"));
    search.fail("0/0.1", LOST);
    expect(search.fail("0/0.2", { reason: "budget", message: "no rollouts left" }).ended).toBe(true);
    expect(search.loss).toEqual({
      reason: "budget",
      message: "expected at least 2 of 3 to arrive, found 1: no rollouts left",
    });
    expect(search.outcome).toBeNull();
  });

  it("gives values by position, undefined where one was lost", () => {
    const { search } = run((prompt) => gather([sample(prompt), sample(prompt)]));
    search.tell("0.1/0", text("b"));
    search.fail("0.0/0", LOST);
    expect(search.outcome?.values.map((rollout) => rollout?.text)).toEqual([undefined, "b"]);
    expect(search.outcome?.lost).toEqual(LOST);
  });

  it("all throws below its minimum", () => {
    const { search } = run((prompt) => all([sample(prompt), sample(prompt)], { minimum: 2 }));
    search.fail("0.0/0", LOST);
    search.tell("0.1/0", text("b"));
    expect(search.loss?.message).toBe("expected at least 2 of 2 to arrive, found 1: host gone");
  });

  it("a program may catch a loss; judge turns it into null", () => {
    const { search } = run(function* (prompt) {
      try {
        return (yield* sample(prompt)).text;
      } catch (error) {
        if (!(error instanceof LostError)) throw error;
        const verdict = yield* judge({ role: "outcome", prefix: prompt, of: null });
        return `${error.loss.message}, ${verdict === null ? "unjudged" : "judged"}`;
      }
    });
    search.fail("0/0", LOST);
    search.fail("0/1", LOST);
    expect(search.outcome).toBe("host gone, unjudged");
  });
});

describe("groups", () => {
  it("give members as they settle, then null", () => {
    const { search } = run(function* (prompt) {
      const group = openGroup<string>();
      for (const name of ["a", "b", "c"]) yield* group.add(named(name, prompt));
      const seen: string[] = [];
      for (let m = yield* group.next(); m !== null; m = yield* group.next())
        seen.push(m.value ?? `lost ${m.index}`);
      return seen;
    });
    search.tell("0.2/0", text("3"));
    search.fail("0.0/0", LOST);
    search.tell("0.1/0", text("2"));
    expect(search.outcome).toEqual(["c3", "lost 0", "b2"]);
  });

  it("cancel a member with all the strands below it", () => {
    const { search, first } = run(function* (prompt) {
      const group = openGroup<unknown>();
      yield* group.add(sample(prompt));
      const doomed = yield* group.add(
        all<unknown>([all<unknown>([sample(prompt), sampleMany(prompt, { n: 2 })]), sample(prompt)]),
      );
      yield* group.next();
      yield* group.cancel(doomed);
      return yield* group.next();
    });
    expect(first.asked).toHaveLength(5);
    expect(search.tell("0.1.0.1/0.1", text("x"))).toEqual({ ...NOTHING, told: ["0.1.0.1/0.1"] });
    const step = search.tell("0.0/0", text("x"));
    expect([...step.withdrawn].toSorted()).toEqual(["0.1.0.0/0", "0.1.0.1/0.0", "0.1.1/0"]);
    expect(search.end).toEqual({ kind: "outcome", outcome: null });
    expect(search.openAsks).toBe(0);
  });

  it("a strand that ends takes its members with it", () => {
    const { search } = run(function* (prompt) {
      yield* openGroup().add(sample(prompt));
      yield* sample(prompt);
      return "done";
    });
    expect(search.tell("0/0", text("x"))).toEqual({
      asked: [],
      withdrawn: ["0.0/0"],
      told: ["0/0"],
      ended: true,
    });
  });

  it("what is asked and withdrawn in one step is never seen", () => {
    const { first, search } = run(function* (prompt) {
      const group = openGroup<unknown>();
      yield* group.add(sample(prompt));
      yield* group.add(returns("at once"));
      yield* group.next();
      yield* group.cancelAll();
      yield* sample(prompt);
    });
    expect(idsOf(first)).toEqual(["0/0"]);
    expect(first.withdrawn).toEqual([]);
    expect(search.openAsks).toBe(1);
  });
});

describe("in order", () => {
  it("tells answers in the order of their asks, and skips withdrawn ones", () => {
    const seen: string[] = [];
    const { search } = run(
      function* (prompt) {
        const group = openGroup<string>();
        for (const name of ["a", "b", "c", "d"]) yield* group.add(named(name, prompt));
        for (let m = yield* group.next(); m !== null; m = yield* group.next()) {
          seen.push(m.value ?? "lost");
          if (m.index === 0) yield* group.cancel(2);
        }
      },
      { inOrder: true },
    );
    expect(search.tell("0.1/0", text("")).told).toEqual([]);
    expect(search.tell("0.1/0", text("again"))).toEqual(NOTHING);
    expect(search.tell("0.3/0", text("")).told).toEqual([]);
    expect(search.openAsks).toBe(2);
    const step = search.tell("0.0/0", text(""));
    expect(step).toEqual({ asked: [], withdrawn: ["0.2/0"], told: ["0.0/0", "0.1/0", "0.3/0"], ended: true });
    expect(seen).toEqual(["a", "b", "d"]);
  });

  it("an answer that waited for its turn and was withdrawn is not told", () => {
    const { search } = run(
      function* (prompt) {
        const group = openGroup<string>();
        for (const name of ["a", "b"]) yield* group.add(named(name, prompt));
        return yield* group.next();
      },
      { inOrder: true },
    );
    search.tell("0.1/0", text(""));
    expect(search.tell("0.0/0", text(""))).toEqual({
      asked: [],
      withdrawn: [],
      told: ["0.0/0"],
      ended: true,
    });
    expect(search.openAsks).toBe(0);
  });
});

describe("ends", () => {
  it("keeps the best candidate when the program is lost", () => {
    const { search } = run(function* (prompt) {
      for (const index of [2, 1, 0])
        yield* consider(candidate(prompt, { index, score: index === 0 ? 0 : 1 }));
      yield* sample(prompt);
    });
    search.fail("0/0", LOST);
    expect(search.loss).toEqual(LOST);
    expect(search.best?.index).toBe(1);
    expect(search.candidates).toHaveLength(3);
  });

  it("ranks a correct candidate above any score, and an absent score last", () => {
    const { search } = run(function* (prompt) {
      yield* consider(candidate(prompt, { index: 0, score: null }));
      yield* consider(candidate(prompt, { index: 1, score: -5 }));
      yield* consider({
        ...candidate(prompt, { index: 2, score: -9 }),
        verdict: { verdict: "correct", score: -9, answer: null, reason: null },
      });
      yield* consider(candidate(prompt, { index: 3, score: 7 }));
    });
    expect(search.best?.index).toBe(2);
  });

  it("a bug of the program, in any strand, ends the search with the error", () => {
    const { search, first } = run((prompt) => all([sample(prompt), broken()]));
    expect(first).toEqual({ asked: [], withdrawn: [], told: [], ended: true });
    expect(search.error?.message).toBe("a bug");
    expect(search.openAsks).toBe(0);
  });

  it("refuses an answer of the wrong kind, and a second start", () => {
    const { search } = run((prompt) => sample(prompt));
    expect(() => search.tell("0/0", CORRECT)).toThrow(
      "expected a rollout for sample ask 0/0, found a verdict",
    );
    expect(() => search.start()).toThrow("expected to be called once");
    expect(search.tell("0/0", text("a")).ended).toBe(true);
    expect(search.tell("0/0", text("a"))).toEqual(NOTHING);
  });

  it("unwinds a thousand strands, each below the last", () => {
    const { search } = run((prompt) => nested(prompt, 1000));
    expect(search.openAsks).toBe(1);
    expect(search.cancel().withdrawn).toHaveLength(1);
    const again = run((prompt) => nested(prompt, 1000));
    expect(again.search.tell(idsOf(again.first)[0] ?? "", text("x")).ended).toBe(true);
  });

  it("runs a hundred thousand asks of one strand, answered one by one", () => {
    const { search, first } = run(function* (prompt) {
      for (let i = 0; i < 100_000; i++) yield* sample(prompt);
    });
    let id: string | undefined = idsOf(first)[0];
    while (id !== undefined) id = idsOf(search.tell(id, text("x")))[0];
    expect(search.isEnded).toBe(true);
  });
});

function* named(name: string, prompt: Prefix): Program<string> {
  return name + (yield* sample(prompt)).text;
}

// oxlint-disable-next-line require-yield -- a program that wants nothing
function* returns<T>(value: T): Program<T> {
  return value;
}

// oxlint-disable-next-line require-yield -- a program that fails before it wants anything
function* broken(): Program<never> {
  throw new Error("a bug");
}

function* nested(prompt: Prefix, depth: number): Program<unknown> {
  return depth === 0 ? yield* sample(prompt) : yield* all([nested(prompt, depth - 1)], { minimum: 1 });
}

function candidate(prefix: Prefix, { index, score }: { index: number; score: number | null }): Candidate {
  return { index, prefix, ask: null, verdict: null, score };
}
