import { finish, isTerminal } from "../candidate.ts";
import { graver, judge, openGroup, sample } from "../operations.ts";
import type { Candidate, Loss, Prefix, Program } from "../program.ts";
import { scoreOf, selectHighest } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  simulations: {
    type: "integer",
    default: 64,
    min: 1,
    max: 1_000_000,
    about: "Steps sampled and valued in all.",
  },
  parallel: { type: "integer", default: 8, min: 1, max: 10_000, about: "Simulations in flight at once." },
  explore: { type: "number", default: 1, min: 0, max: 100, about: "Weight of exploration, beta of WU-UCT." },
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
  max_steps: { type: "integer", default: 40, min: 1, max: 1000, about: "Steps of a path at most." },
  step_stop: { type: "strings", default: ["\n\n"], about: "Strings that end a step." },
  stop_when: {
    type: "choice",
    default: "correct",
    choices: ["correct", "never"],
    about: "correct: stop at the first path that verifies; never: run all simulations.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/** A path in the tree: the prompt, or open steps that have a value. */
interface TreeNode {
  readonly prefix: Prefix;
  readonly parent: TreeNode | null;
  /** Steps from the prompt. */
  readonly depth: number;
  readonly children: TreeNode[];
  /** N(s): simulations through it that came back, and the sum of their values. */
  visits: number;
  total: number;
  /** O(s): simulations through it that were launched and have not come back. */
  inFlight: number;
  /** Simulations launched at it: steps sampled from its prefix. */
  expanded: number;
}

/** A step that was sampled before; its node is null while it is being valued, or when it ended its path. */
interface Known {
  value: number | null;
  node: TreeNode | null;
}

/** What a simulation brought back; a null value leaves no trace in the tree. */
interface Simulated {
  readonly value: number | null;
  readonly candidate: Candidate | null;
}

/**
 * Monte Carlo tree search with WU-UCT. Selection descends from the prompt by `wuUct` to a node that may be
 * expanded; an expansion samples `expand` next steps there, each of which is one simulation, valued on
 * arrival: an open step by the process verifier, one that ends its path by the outcome verifier. Values, in
 * [0, 1], are backed up as means. A node may be expanded again while fewer steps were sampled at it than `widen`
 * times the square root of N(s) + O(s): progressive widening, narrow by default so that a few dozen simulations
 * still reach the last step. Finished paths are candidates and are not descended into; the highest score wins, ties go to
 * the simulation launched first. With `stop_when: correct` it stops at the first correct one, which changes
 * no choice where no score passes that of a correct path.
 */
export const mcts: Strategy<typeof PARAMETERS> = {
  name: "mcts",
  version: 1,
  about: "Monte Carlo tree search over steps, guided by a process verifier, many simulations in flight.",
  paper: "Liu et al. 2020, Watch the Unobserved (WU-UCT), arXiv 1810.11755, equation 4",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: true,
  extendsRollouts: true,
  needs: () => ({ processVerifier: true }),
  costFormula: "at most simulations rollouts of one step each, and as many verifications",
  cost: ({ simulations }) => ({ rollouts: simulations, verifications: simulations }),

  *search(prompt, { simulations, parallel, explore, expand, widen, max_steps, step_stop, stop_when }) {
    const group = openGroup<Simulated>();
    const root = plant(prompt, null);
    const known = new Map<Prefix, Known>();
    /** By simulation: the node that it is of. */
    const origins: TreeNode[] = [];
    const candidates: Candidate[] = [];
    let lost: Loss | null = null;
    const expansion = (): number => Math.min(expand, parallel, simulations - origins.length);
    for (;;) {
      // No more is asked once the budget has refused something; what is in flight still comes back.
      const window = lost?.reason === "budget" ? 0 : parallel;
      for (let size = expansion(); size > 0 && root.inFlight + size <= window; size = expansion()) {
        const node = select(root, { explore, widen });
        launch(node, size);
        for (let i = 0; i < size; i++) {
          const isLast = node.depth === max_steps - 1;
          yield* group.add(simulate(node, { index: origins.length, stop: step_stop, isLast, known }));
          origins.push(node);
        }
      }
      const member = yield* group.next();
      if (member === null) return selectHighest(candidates, lost);
      // Every member was added with its node in `origins`.
      const node = origins[member.index] as TreeNode;
      backUp(node, member.value?.value ?? null);
      if (member.lost !== null) lost = graver(lost, member.lost);
      const candidate = member.value?.candidate ?? null;
      if (candidate !== null) candidates.push(candidate);
      if (stop_when === "correct" && candidate?.verdict?.verdict === "correct") {
        yield* group.cancelAll();
        return selectHighest(candidates, lost);
      }
    }
  },
};

interface Counts {
  /** Visits of the node, and of its child. */
  readonly parent: number;
  readonly child: number;
  /** The weight of exploration. */
  readonly explore: number;
}

/** UCT: Q(s') + c sqrt(ln N(s) / N(s')). */
export function uct(value: number, counts: Counts): number {
  return value + counts.explore * Math.sqrt(Math.log(counts.parent) / counts.child);
}

/**
 * WU-UCT, equation 4: V(s') + beta sqrt(2 ln(N(s) + O(s)) / (N(s') + O(s'))). Each count is N + O of its
 * node.
 */
export function wuUct(value: number, counts: Counts): number {
  return value + counts.explore * Math.sqrt((2 * Math.log(counts.parent)) / counts.child);
}

function plant(prefix: Prefix, parent: TreeNode | null): TreeNode {
  const depth = parent === null ? 0 : parent.depth + 1;
  return { prefix, parent, depth, children: [], visits: 0, total: 0, inFlight: 0, expanded: 0 };
}

function mayExpand(node: TreeNode, widen: number): boolean {
  return node.children.length === 0 || node.expanded < widen * Math.sqrt(node.visits + node.inFlight);
}

/** The node to expand next. */
function select(
  root: TreeNode,
  { explore, widen }: { readonly explore: number; readonly widen: number },
): TreeNode {
  let node = root;
  while (!mayExpand(node, widen)) node = bestChild(node, explore);
  return node;
}

/** The child with the highest WU-UCT; ties go to the one that was valued first. */
function bestChild(node: TreeNode, explore: number): TreeNode {
  const parent = node.visits + node.inFlight;
  const urgency = (child: TreeNode): number =>
    wuUct(child.total / child.visits, { parent, child: child.visits + child.inFlight, explore });
  const [first, ...others] = node.children;
  // A node that may not be expanded has children.
  let best = first as TreeNode;
  let highest = urgency(best);
  for (const child of others) {
    const value = urgency(child);
    if (value <= highest) continue;
    best = child;
    highest = value;
  }
  return best;
}

/** Incomplete update: `size` simulations leave from this node. */
function launch(from: TreeNode, size: number): void {
  from.expanded += size;
  for (let node: TreeNode | null = from; node !== null; node = node.parent) node.inFlight += size;
}

/** Complete update: one simulation from this node is back. */
function backUp(from: TreeNode, value: number | null): void {
  for (let node: TreeNode | null = from; node !== null; node = node.parent) {
    node.inFlight--;
    if (value !== null) visit(node, value);
  }
}

function visit(node: TreeNode, value: number): void {
  node.visits++;
  node.total += value;
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
  const { ask } = rollout;
  const prefix = node.prefix.extend(rollout.text, ask);
  const before = known.get(prefix);
  if (before !== undefined) {
    if (before.node !== null && before.value !== null) visit(before.node, before.value);
    return { value: before.value, candidate: null };
  }
  const step: Known = { value: null, node: null };
  known.set(prefix, step);
  if (isTerminal(rollout, { isLast })) {
    const candidate = yield* finish({ index, prefix, ask });
    step.value = candidate.score;
    return { value: step.value, candidate };
  }
  step.value = scoreOf(yield* judge({ role: "process", prefix, of: ask }));
  if (step.value !== null) {
    step.node = plant(prefix, node);
    visit(step.node, step.value);
    node.children.push(step.node);
  }
  return { value: step.value, candidate: null };
}
