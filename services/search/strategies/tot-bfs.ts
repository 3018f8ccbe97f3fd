import { finish } from "../candidate.ts";
import { drawIndex } from "../chance.ts";
import { draw, gather, graver } from "../operations.ts";
import type { Loss, Program } from "../program.ts";
import { selectHighest } from "../selection.ts";
import { distinctPaths, sampleWithin } from "../steps.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";
import { fillTemplate } from "../template.ts";
import { checkThoughts, thoughtCost, THOUGHTS } from "../thought-parameters.ts";
import { VOTE } from "../thought-templates.ts";
import { firstThought, nextThoughts, promptFor, rate, startThinking } from "../thoughts.ts";
import type { RatedThought, Thinking, Thought, Thoughts } from "../thoughts.ts";

const PARAMETERS = {
  ...THOUGHTS,
  keep: { type: "integer", default: 5, min: 1, max: 10_000, about: "b: states kept of each step." },
  select: {
    type: "choice",
    default: "greedy",
    choices: ["greedy", "sample"],
    about: "greedy: the b states of the highest value; sample: b draws in proportion to value.",
  },
  evaluate: {
    ...THOUGHTS.evaluate,
    choices: ["value", "vote", "process"],
    about:
      "value: the model says in a word what a state is worth; vote: it is shown all and names the best; process: the process verifier scores paths.",
  },
  vote: {
    type: "text",
    default: VOTE,
    about: "Asks for a vote. Fields: {choices}, {problem}, {prompt}.",
  },
  choice: {
    type: "text",
    default: "Choice {index}:\n{path}\n",
    about: "One of the {choices} of a vote; {index} from 1.",
  },
  vote_mark: {
    type: "text",
    default: "choice is",
    about: "The number behind it is what a rollout votes for.",
  },
  answer: {
    type: "choice",
    default: "highest-score",
    choices: ["highest-score", "highest-value"],
    about:
      "Of the states kept last. highest-score: what the outcome verifier scores best; highest-value: the first kept.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

type Values = ParameterValues<typeof PARAMETERS>;

/**
 * Tree of Thoughts, breadth first. Y_0 = {problem}; of each step, C = the next thoughts of every y in Y_{t-1}, in order;
 * V(c) for each; Y_t = the b of C with the highest V (ties: the first in C), or b draws in proportion to V, with repetition. After
 * `max_steps` the states kept are the answers, in their order. V sums what the model's words are worth over `evaluations`
 * rollouts, each equal prompt asked once; an exact duplicate within a step is worth 0. A state that its model ended keeps its value
 * and its place until better ones push it out. A lost rollout is thoughts less, or a value without it; where the budget refuses
 * more, the states kept last are the answers.
 */
export const totBfs: Strategy<typeof PARAMETERS> = {
  name: "tot-bfs",
  version: 1,
  about: "Tree of Thoughts, breadth first: proposes next steps, has the model value them, keeps the best b.",
  paper:
    "Yao et al. 2023, Tree of Thoughts: Deliberate Problem Solving with LLMs, arXiv 2305.10601, algorithm 1",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: ({ evaluate }) => ({ processVerifier: evaluate === "process" }),
  costFormula:
    "x = 1 + (max_steps - 1) * keep expansions of a rollout (sample: branch) each, with evaluations rollouts per thought (vote: per step; process: a verification); keep verifications. Equal prompts are valued once",
  cost(parameters) {
    const { max_steps, keep, evaluate, evaluations } = parameters;
    const by = evaluate === "vote" ? "process" : evaluate;
    const grown = thoughtCost(1 + (max_steps - 1) * keep, { ...parameters, evaluate: by });
    if (evaluate === "vote") {
      return { rollouts: grown.rollouts + max_steps * evaluations, verifications: keep };
    }
    return { rollouts: grown.rollouts, verifications: grown.verifications + keep };
  },
  check: checkThoughts,

  *search(prompt, parameters, problem) {
    const { max_steps, keep, answer, evaluate } = parameters;
    const by = evaluate === "vote" ? "process" : evaluate;
    const thinking = startThinking(prompt, { problem, parameters: { ...parameters, evaluate: by } });
    const { watch } = thinking;
    let lost: Loss | null = null;
    let kept: readonly RatedThought[] = [{ ...firstThought(thinking), value: 0 }];
    for (let step = 0; step < max_steps && kept.some(({ isOver }) => !isOver); step++) {
      const grown = yield* gather(kept.map((thought) => grow(thought, thinking)));
      if (grown.lost !== null) lost = graver(lost, grown.lost);
      const next = grown.values.filter((one) => one !== undefined);
      for (const one of next) if (one.lost !== null) lost = graver(lost, one.lost);
      if (watch.refused !== null) break;
      const thoughts = next.flatMap((one) => one.thoughts);
      const rated =
        evaluate === "vote"
          ? yield* voted(thoughts, { thinking, parameters })
          : yield* rate(thoughts, thinking);
      if (rated.lost !== null) lost = graver(lost, rated.lost);
      if (watch.refused !== null || thoughts.length === 0) break;
      kept = yield* selected(rated.thoughts, { keep, select: parameters.select });
    }
    const answers = distinctPaths(kept).filter(({ depth }) => depth > 0);
    const judged = yield* gather(
      answers.map(({ prefix, ask, value }, index) =>
        finish({ index, prefix, ask }, answer === "highest-value" ? () => value : undefined),
      ),
    );
    return selectHighest(
      judged.values.filter((candidate) => candidate !== undefined),
      lost,
    );
  },
};

/** The next thoughts; of one that is over, itself. */
function* grow(thought: Thought, thinking: Thinking): Program<Thoughts> {
  return thought.isOver ? { thoughts: [thought], lost: null } : yield* nextThoughts(thought, thinking);
}

/** Each thought worth the votes for it, of `evaluations` rollouts that are shown all that differ. */
function* voted(
  thoughts: readonly Thought[],
  { thinking, parameters }: { readonly thinking: Thinking; readonly parameters: Values },
): Program<Thoughts<RatedThought>> {
  const { evaluations, vote, choice, vote_mark, reply_stop: stop } = parameters;
  const shown = distinctPaths(thoughts);
  const choices = shown
    .map(({ path }, i) => fillTemplate(choice, { index: String(i + 1), path: path.trimEnd() }))
    .join("");
  const prompt = yield* promptFor(vote, { of: firstThought(thinking), thinking, more: { choices } });
  const { values, lost } = yield* gather(
    Array.from({ length: evaluations }, () => sampleWithin(thinking.watch, prompt, { stop })),
  );
  const votes = new Map<Thought, number>();
  for (const rollout of values) {
    const chosen = rollout === undefined ? undefined : shown[votedFor(rollout.text, vote_mark) - 1];
    if (chosen !== undefined) votes.set(chosen, (votes.get(chosen) ?? 0) + 1);
  }
  return { thoughts: thoughts.map((thought) => ({ ...thought, value: votes.get(thought) ?? 0 })), lost };
}

/** The first whole number behind the last mark, in any case of letters; 0 where there is none. */
function votedFor(text: string, mark: string): number {
  const at = text.toLowerCase().lastIndexOf(mark.toLowerCase());
  return at < 0 ? 0 : Number(/\d{1,9}/u.exec(text.slice(at + mark.length))?.[0] ?? 0);
}

function* selected(
  rated: readonly RatedThought[],
  { keep, select }: { readonly keep: number; readonly select: Values["select"] },
): Program<readonly RatedThought[]> {
  // A stable sort: the first of equal values stays first.
  if (select === "greedy") return rated.toSorted((a, b) => b.value - a.value).slice(0, keep);
  const weights = rated.map(({ value }) => value);
  const drawn: RatedThought[] = [];
  for (let i = 0; i < keep; i++) {
    const thought = rated[drawIndex(weights, yield* draw())];
    if (thought !== undefined) drawn.push(thought);
  }
  return drawn;
}
