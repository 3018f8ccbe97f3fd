import { finish } from "../candidate.ts";
import { graver, openGroup } from "../operations.ts";
import type { Candidate, Loss, Program } from "../program.ts";
import { byScore, selectHighest } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { checkThoughts, thoughtCost, THOUGHTS } from "../thought-parameters.ts";
import { expandThought, firstThought, startThinking } from "../thoughts.ts";
import type { RatedThought, Thinking, Thoughts } from "../thoughts.ts";

const PARAMETERS = {
  ...THOUGHTS,
  expansions: { type: "integer", default: 20, min: 1, max: 10_000, about: "c: states expanded in all." },
  parallel: { type: "integer", default: 4, min: 1, max: 10_000, about: "Expansions in flight at once." },
  depth_weight: {
    type: "number",
    default: 0,
    min: -1_000_000,
    max: 1_000_000,
    about: "g: what each step of a path adds to the value it is ranked by; above 0 deep paths go first.",
  },
  stop_when: {
    type: "choice",
    default: "correct",
    choices: ["correct", "never"],
    about: "correct: stop at the first path that verifies; never: make all expansions.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/** A state in the queue; `score` is its f. */
interface Queued {
  readonly thought: RatedThought;
  readonly score: number;
  /** The how-manieth state it is, from 0. */
  readonly index: number;
}

type Settled =
  | { readonly kind: "expanded"; readonly next: Thoughts<RatedThought> }
  | { readonly kind: "judged"; readonly candidate: Candidate };

/**
 * Best-first search over thoughts: the state with the highest f = g + V is taken from a queue and expanded, and its next thoughts
 * are put in; V is a state's value, g `depth_weight` times its depth. Ties go to the state that came first. Up to `parallel`
 * states are in expansion, and each one that comes back makes room for another at once. A path is finished at `max_steps` or
 * where its model ended it, and is judged beside the rest. It ends with `expansions`, or with the queue. Where no path was
 * finished the best state seen, by f, is the answer. A lost rollout is thoughts less, or a value without it.
 */
export const bestFirst: Strategy<typeof PARAMETERS> = {
  name: "best-first",
  version: 1,
  about: "Expands the most promising state of a tree of thoughts, wherever it is, several at once.",
  paper: "Koh et al. 2024, Tree Search for Language Model Agents, arXiv 2407.01476; Hart et al. 1968 (A*)",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: true,
  extendsRollouts: true,
  revisits: true,
  needs: ({ evaluate }) => ({ processVerifier: evaluate === "process" }),
  costFormula:
    "at most expansions times a rollout (sample: branch), with evaluations rollouts per thought (process: a verification), and a verification per finished path",
  cost(parameters) {
    const { thoughts, rollouts, verifications } = thoughtCost(parameters.expansions, parameters);
    return { rollouts, verifications: verifications + thoughts };
  },
  check: checkThoughts,

  *search(prompt, parameters, problem) {
    const { expansions, parallel, depth_weight, stop_when } = parameters;
    const thinking = startThinking(prompt, { problem, parameters });
    const group = openGroup<Settled>();
    const queue: Queued[] = [{ thought: { ...firstThought(thinking), value: 0 }, score: 0, index: 0 }];
    const candidates: Candidate[] = [];
    let best: Queued | null = null;
    let lost: Loss | null = null;
    let [states, started, inFlight, finished] = [1, 0, 0, 0];
    for (;;) {
      while (inFlight < parallel && started < expansions && thinking.watch.refused === null) {
        const next = takeBest(queue);
        if (next === null) break;
        yield* group.add(expanded(next.thought, thinking));
        started++;
        inFlight++;
      }
      const member = yield* group.next();
      if (member === null) break;
      if (member.value?.kind === "judged") {
        candidates.push(member.value.candidate);
        if (stop_when === "correct" && member.value.candidate.verdict?.verdict === "correct") {
          yield* group.cancelAll();
          return selectHighest(candidates, lost);
        }
        continue;
      }
      inFlight--;
      const { thoughts = [], lost: worst = member.lost } = member.value?.next ?? {};
      if (worst !== null) lost = graver(lost, worst);
      for (const thought of thoughts) {
        const score = thought.value + depth_weight * thought.depth;
        const queued: Queued = { thought, score, index: states++ };
        if (best === null || byScore(queued, best) < 0) best = queued;
        if (thought.isOver) yield* group.add(judged(thought, finished++));
        else queue.push(queued);
      }
    }
    if (candidates.length === 0 && best !== null)
      candidates.push(yield* finish({ ...best.thought, index: 0 }));
    return selectHighest(candidates, lost);
  },
};

function* expanded(thought: RatedThought, thinking: Thinking): Program<Settled> {
  return { kind: "expanded", next: yield* expandThought(thought, thinking) };
}

function* judged(thought: RatedThought, index: number): Program<Settled> {
  return { kind: "judged", candidate: yield* finish({ ...thought, index }) };
}

/** Takes the best one out; null when there is none. */
function takeBest(queue: Queued[]): Queued | null {
  const best = queue.reduce<Queued | null>((known, one) => {
    return known === null || byScore(one, known) < 0 ? one : known;
  }, null);
  if (best !== null) queue.splice(queue.indexOf(best), 1);
  return best;
}
