import { finish } from "../candidate.ts";
import { graver } from "../operations.ts";
import type { Candidate, Loss } from "../program.ts";
import { selectHighest } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { checkThoughts, thoughtCost, THOUGHTS } from "../thought-parameters.ts";
import { expandThought, firstThought, startThinking } from "../thoughts.ts";
import type { RatedThought } from "../thoughts.ts";

const PARAMETERS = {
  ...THOUGHTS,
  visits: { type: "integer", default: 100, min: 1, max: 100_000, about: "States expanded at most." },
  threshold: {
    type: "number",
    default: 0.003,
    min: -1_000_000,
    max: 1_000_000,
    about: "v_th: a state must be worth more; the default is three times impossible.",
  },
  stop_when: {
    type: "choice",
    default: "correct",
    choices: ["correct", "never"],
    about: "correct: stop at the first path that verifies; never: go on to the end.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Tree of Thoughts, depth first: of the next thoughts of a state those with V > v_th are gone into, the highest V first (ties:
 * the first proposed), each to its end before the next. A path is finished at `max_steps` or where its model ended it, and is
 * judged when it is come to. After `visits` expansions no more are made, and what is finished is still judged. Where no path was
 * finished the best state seen, by V, is the answer. A lost rollout is thoughts less, or a value without it.
 */
export const totDfs: Strategy<typeof PARAMETERS> = {
  name: "tot-dfs",
  version: 1,
  about:
    "Tree of Thoughts, depth first: follows the best next step, and turns back where states are worth little.",
  paper:
    "Yao et al. 2023, Tree of Thoughts: Deliberate Problem Solving with LLMs, arXiv 2305.10601, algorithm 2",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  revisits: true,
  needs: ({ evaluate }) => ({ processVerifier: evaluate === "process" }),
  costFormula:
    "at most visits expansions of a rollout (sample: branch) each, with evaluations rollouts per thought (process: a verification), and a verification per finished path",
  cost(parameters) {
    const { thoughts, rollouts, verifications } = thoughtCost(parameters.visits, parameters);
    return { rollouts, verifications: verifications + thoughts };
  },
  check: checkThoughts,

  *search(prompt, parameters, problem) {
    const { visits, threshold, stop_when } = parameters;
    const thinking = startThinking(prompt, { problem, parameters });
    const candidates: Candidate[] = [];
    /** To be visited, the next one last. */
    const stack: RatedThought[] = [{ ...firstThought(thinking), value: Infinity }];
    let best: RatedThought | null = null;
    let lost: Loss | null = null;
    let visited = 0;
    for (let thought = stack.pop(); thought !== undefined; thought = stack.pop()) {
      if (thought.isOver) {
        const candidate = yield* finish({ ...thought, index: candidates.length });
        candidates.push(candidate);
        if (stop_when === "correct" && candidate.verdict?.verdict === "correct") break;
      } else if (visited < visits && thinking.watch.refused === null) {
        visited++;
        const next = yield* expandThought(thought, thinking);
        if (next.lost !== null) lost = graver(lost, next.lost);
        for (const one of next.thoughts) if (best === null || one.value > best.value) best = one;
        const worthy = next.thoughts.filter(({ value }) => value > threshold);
        stack.push(...worthy.toSorted((a, b) => b.value - a.value).toReversed());
      }
    }
    if (candidates.length === 0 && best !== null) candidates.push(yield* finish({ ...best, index: 0 }));
    return selectHighest(candidates, lost);
  },
};
