import { finish, isTerminal } from "../candidate.ts";
import { graver, judge, openGroup, sample } from "../operations.ts";
import type { Candidate, Loss, Outcome, Prefix, Program } from "../program.ts";
import { backUp, launch, plant, selectNode, visit } from "../search-tree.ts";
import type { TreeNode } from "../search-tree.ts";
import { outcomeOf, scoreOf, selectByVote, selectHighest, topK } from "../selection.ts";
import { STEPS } from "../steps.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";

const PARAMETERS = {
  simulations: {
    type: "integer",
    default: 64,
    min: 1,
    max: 1_000_000,
    about: "Steps sampled and valued in all.",
  },
  parallel: { type: "integer", default: 8, min: 1, max: 10_000, about: "Simulations in flight at once." },
  select: {
    type: "choice",
    default: "wu-uct",
    choices: ["wu-uct", "uct", "puct"],
    about:
      "The rule of descent; uct and puct count what is in flight as a loss, puct reads log-probabilities.",
  },
  explore: {
    type: "number",
    default: 1,
    min: 0,
    max: 100,
    about: "Weight of exploration: beta of WU-UCT, c of UCT, a factor to c(s) of PUCT.",
  },
  backup: {
    type: "choice",
    default: "mean",
    choices: ["mean", "max"],
    about: "The value of a node from the simulations through it.",
  },
  expand: {
    type: "integer",
    default: 2,
    min: 1,
    max: 1000,
    about: "Simulations per expansion: steps of one prefix.",
  },
  widen: {
    type: "number",
    default: 1,
    min: 0.1,
    max: 1000,
    about:
      "C of progressive widening: another step of a prefix while fewer than C * sqrt(its simulations) were sampled.",
  },
  ...STEPS,
  stop_when: {
    type: "choice",
    default: "correct",
    choices: ["correct", "never"],
    about: "correct: stop at the first path that verifies; never: run all simulations.",
  },
  answer: {
    type: "choice",
    default: "highest-score",
    choices: ["highest-score", "most-visited", "vote"],
    about:
      "Of finished paths. most-visited: where most simulations ended; vote: each weighs its score times these.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

type Values = ParameterValues<typeof PARAMETERS>;

/** A step that was sampled before; its node is null while it is being valued, or when it ended its path. */
interface Known {
  value: number | null;
  node: TreeNode | null;
  /** Once it is a finished path that is judged. */
  candidate: Candidate | null;
  /** Simulations that ended in it. */
  samples: number;
}

type Finished = Known & { readonly candidate: Candidate };

/** What a simulation brought back; a null value leaves no trace in the tree. */
interface Simulated {
  readonly value: number | null;
  /** The path that it was the first to finish. */
  readonly finished: Finished | null;
}

/**
 * Monte Carlo tree search, many simulations in flight. Selection descends from the prompt by WU-UCT, UCT or PUCT to a node that
 * may be expanded (`selectNode`); an expansion samples `expand` next steps there, each of which is one simulation, valued on
 * arrival: an open step by the process verifier, one that ends its path by the outcome verifier. Values, in [0, 1], are backed up
 * as means or maxima. Widening is narrow by default, so that a few dozen simulations still reach the last step; beside it a fresh
 * step competes with the old ones, so that a node whose steps are all bad gets others. Finished paths are candidates and are not
 * descended into; `answer` says which wins, ties go to the higher score and then to the simulation launched first. With
 * `stop_when: correct` it stops at the first correct one. A lost simulation leaves no trace in the tree.
 */
export const mcts: Strategy<typeof PARAMETERS> = {
  name: "mcts",
  version: 2,
  about: "Monte Carlo tree search over steps, guided by a process verifier, many simulations in flight.",
  paper:
    "Liu et al. 2020, Watch the Unobserved (WU-UCT), arXiv 1810.11755, equation 4; UCT; PUCT as in OpenR, arXiv 2410.09671",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: true,
  extendsRollouts: true,
  revisits: true,
  needs: ({ select }) => ({ processVerifier: true, logprobs: select === "puct" }),
  costFormula: "at most simulations rollouts of one step each, and as many verifications",
  cost: ({ simulations }) => ({ rollouts: simulations, verifications: simulations }),

  *search(prompt, parameters) {
    const { simulations, parallel, expand, max_steps, step_stop, stop_when, answer } = parameters;
    const group = openGroup<Simulated>();
    const root = plant(prompt, { parent: null, meanLogprob: null });
    const known = new Map<Prefix, Known>();
    /** By simulation: the node that it is of. */
    const origins: TreeNode[] = [];
    const finished: Finished[] = [];
    let lost: Loss | null = null;
    const expansion = (): number => Math.min(expand, parallel, simulations - origins.length);
    for (;;) {
      // No more is asked once the budget has refused something; what is in flight still comes back.
      const window = lost?.reason === "budget" ? 0 : parallel;
      for (let size = expansion(); size > 0 && root.inFlight + size <= window; size = expansion()) {
        const node = selectNode(root, parameters);
        launch(node, size);
        for (let i = 0; i < size; i++) {
          const isLast = node.depth === max_steps - 1;
          yield* group.add(simulate(node, { index: origins.length, stop: step_stop, isLast, known }));
          origins.push(node);
        }
      }
      const member = yield* group.next();
      if (member === null) return chosen(finished, { answer, lost });
      // Every member was added with its node in `origins`.
      const node = origins[member.index] as TreeNode;
      backUp(node, member.value?.value ?? null);
      if (member.lost !== null) lost = graver(lost, member.lost);
      const ended = member.value?.finished ?? null;
      if (ended !== null) finished.push(ended);
      if (stop_when === "correct" && ended?.candidate.verdict?.verdict === "correct") {
        yield* group.cancelAll();
        return outcomeOf(ended.candidate, "first-correct");
      }
    }
  },
};

/** The outcome among finished paths, each with how many simulations ended in it. */
function chosen(
  finished: readonly Finished[],
  { answer, lost }: { readonly answer: Values["answer"]; readonly lost: Loss | null },
): Outcome {
  const candidates = finished.map(({ candidate }) => candidate);
  if (answer === "highest-score" || finished.length === 0) return selectHighest(candidates, lost);
  if (answer === "vote") {
    const ballots = finished.map(({ candidate, samples }) => ({
      candidate,
      weight: samples * Math.max(0, candidate.score ?? 0),
    }));
    return selectByVote(ballots, "weighted-vote");
  }
  const most = finished.reduce((known, { samples }) => Math.max(known, samples), 0);
  const [best] = topK(
    finished.filter(({ samples }) => samples === most).map(({ candidate }) => candidate),
    1,
  );
  // Some path has as many as the most have.
  return outcomeOf(best as Candidate, "most-visited");
}

interface SimulationOptions {
  /** The number of the simulation, from 0, in the order of launching. */
  readonly index: number;
  readonly stop: readonly string[];
  readonly isLast: boolean;
  readonly known: Map<Prefix, Known>;
}

/**
 * Samples a step at a node and values it. A step that is known already is worth what it was, and not valued
 * again.
 */
function* simulate(node: TreeNode, { index, stop, isLast, known }: SimulationOptions): Program<Simulated> {
  const rollout = yield* sample(node.prefix, { stop });
  const { ask, meanLogprob } = rollout;
  const prefix = node.prefix.extend(rollout.text, ask);
  const before = known.get(prefix);
  if (before !== undefined) {
    before.samples++;
    if (before.node !== null && before.value !== null) visit(before.node, before.value);
    return { value: before.value, finished: null };
  }
  const step: Known = { value: null, node: null, candidate: null, samples: 1 };
  known.set(prefix, step);
  if (isTerminal(rollout, { isLast })) {
    const candidate = yield* finish({ index, prefix, ask });
    step.value = candidate.score;
    return { value: step.value, finished: Object.assign(step, { candidate }) };
  }
  step.value = scoreOf(yield* judge({ role: "process", prefix, of: ask }));
  if (step.value !== null) {
    step.node = plant(prefix, { parent: node, meanLogprob });
    visit(step.node, step.value);
    node.children.push(step.node);
  }
  return { value: step.value, finished: null };
}
