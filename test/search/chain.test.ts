import { describe, expect, it } from "vitest";
import { answerTo } from "../../services/search/candidate.ts";
import { inStep, propose, repeat, turn } from "../../services/search/chain.ts";
import type { Chain } from "../../services/search/chain.ts";
import { sample } from "../../services/search/operations.ts";
import { LostError } from "../../services/search/program.ts";
import type { Answer, Candidate, Loss, Prefix, Program } from "../../services/search/program.ts";
import { rootPrefix, Search } from "../../services/search/search.ts";

const LOST: Loss = { reason: "lost", message: "gone" };
const REFUSED: Loss = { reason: "budget", message: "no budget" };

interface Told {
  readonly said: readonly string[];
  readonly candidates: readonly Candidate[];
  readonly lost: Loss | null;
}

/** Two chains of two turns each; a chain whose turn is lost says so and goes on. */
function* twoChains(prompt: Prefix): Program<Told> {
  const said: string[] = [];
  const candidates: Candidate[] = [];
  function* chain(index: number): Chain {
    let path = prompt;
    for (let step = 0; step < 2; step++) {
      try {
        const { text, ask } = yield* turn(sample(path));
        said.push(`${index}: ${text}`);
        path = path.extend(text, ask);
        yield* propose(answerTo(prompt, { index: index * 2 + step, text, ask }), candidates);
      } catch (error) {
        if (!(error instanceof LostError)) throw error;
        said.push(`${index}: ${error.loss.reason}`);
      }
    }
  }
  const lost = yield* inStep(repeat(2, chain));
  return { said, candidates, lost };
}

function start() {
  const search = new Search<Told>(() => twoChains(rootPrefix("p")));
  const samples = (step: { readonly asked: readonly { readonly kind: string }[] }) =>
    step.asked.filter(({ kind }) => kind === "sample");
  return { search, first: search.start().asked.map(({ id }) => id), samples };
}

const says = (text: string): Answer => ({
  kind: "rollout",
  rollout: { text, finishReason: "stop", stopString: null, completionTokens: 1, meanLogprob: null },
});

describe("chains in step", () => {
  it("take the next turn when all have taken this one, and number samples of one text by chain", () => {
    const { search, first, samples } = start();
    expect(samples(search.tell(first[1] ?? "", says("a")))).toEqual([]);
    expect(samples(search.tell(first[0] ?? "", says("a")))).toMatchObject([
      { sample: 0, prefix: { text: "a" } },
      { sample: 1, prefix: { text: "a" } },
    ]);
  });

  it("do not wait for verdicts of what they propose, but for them to be there at the end", () => {
    const { search, first } = start();
    const asked = first.flatMap((id) => search.tell(id, says(id)).asked);
    const last = asked.flatMap(({ id, kind }) => (kind === "sample" ? search.tell(id, says(id)).asked : []));
    expect(search.isEnded).toBe(false);
    for (const { id, kind } of [...asked, ...last]) if (kind === "verify") search.fail(id, LOST);
    expect(search.outcome?.candidates).toHaveLength(4);
    expect(search.outcome?.lost).toBeNull();
  });

  it("lose their own turns only, and may go on after a loss", () => {
    const { search, first } = start();
    search.fail(first[0] ?? "", LOST);
    const { asked } = search.tell(first[1] ?? "", says("b"));
    for (const { id, kind } of asked)
      if (kind === "sample") search.tell(id, says("c"));
      else search.fail(id, LOST);
    for (const id of ["0.4/0", "0.5/0", "0.6/0"]) search.fail(id, LOST);
    expect(search.outcome?.said).toEqual(["0: lost", "1: b", "0: c", "1: c"]);
    expect(search.outcome?.lost).toEqual(LOST);
  });

  it("are given no further turn once the budget refused one of them something", () => {
    const { search, first, samples } = start();
    search.fail(first[0] ?? "", REFUSED);
    const step = search.tell(first[1] ?? "", says("b"));
    expect(samples(step)).toEqual([]);
    for (const { id } of step.asked) search.fail(id, LOST);
    expect(search.outcome?.said).toEqual(["0: budget", "1: b", "0: budget", "1: budget"]);
    expect(search.outcome?.candidates).toMatchObject([{ index: 2 }]);
    expect(search.outcome?.lost).toEqual(REFUSED);
  });

  it("pass a bug of theirs on", () => {
    // oxlint-disable-next-line require-yield -- a chain that fails before it wants anything
    const broken = function* (): Chain {
      throw new Error("a bug");
    };
    const search = new Search(() => inStep([broken()]));
    search.start();
    expect(search.error?.message).toBe("a bug");
  });
});
