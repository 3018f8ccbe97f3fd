/** The tree of a Monte Carlo tree search: what is known of each open path, and which one to expand next. */
import { puct, uct, wuUct } from "./bandit.ts";
import type { Prefix } from "./program.ts";

/** What simulations say of a choice. */
interface Arm {
  /** N: simulations through it that came back; the sum and the highest of their values. */
  visits: number;
  total: number;
  highest: number;
  /** O: simulations through it that were launched and have not come back. */
  inFlight: number;
}

/** A path in the tree: the prompt, or open steps that have a value. */
export interface TreeNode extends Arm {
  readonly prefix: Prefix;
  readonly parent: TreeNode | null;
  /** Steps from the prompt. */
  readonly depth: number;
  /** Of its last step; null where the host does not tell, and for the prompt. */
  readonly meanLogprob: number | null;
  readonly children: TreeNode[];
  /** Steps sampled here, by what they were worth when they came. */
  readonly fresh: Arm;
  /** Simulations launched at it: steps sampled from its prefix. */
  expanded: number;
}

/** How to descend. */
export interface Descent {
  readonly select: "wu-uct" | "uct" | "puct";
  readonly backup: "mean" | "max";
  readonly explore: number;
  /** C of progressive widening. */
  readonly widen: number;
}

/** A node for the prompt, or for a step behind `parent`. */
export function plant(
  prefix: Prefix,
  { parent, meanLogprob }: Pick<TreeNode, "parent" | "meanLogprob">,
): TreeNode {
  const depth = parent === null ? 0 : parent.depth + 1;
  return {
    prefix,
    parent,
    depth,
    meanLogprob,
    children: [],
    fresh: newArm(),
    expanded: 0,
    ...newArm(),
  };
}

function newArm(): Arm {
  return { visits: 0, total: 0, highest: 0, inFlight: 0 };
}

/**
 * The node to expand next. From the root down, the most urgent child is gone into, until a node may be expanded: one without
 * open children, one at which fewer steps were sampled than `widen` times the square root of N + O (progressive widening), or
 * one at which a fresh step is more urgent than any child: as a child with one visit, worth the mean of what the steps sampled
 * there were worth when they came. So children that are worse than that are not gone into just because little is known of
 * them. Ties go to the child that was valued first.
 */
export function selectNode(root: TreeNode, descent: Descent): TreeNode {
  let node = root;
  for (;;) {
    const parent = node.visits + node.inFlight;
    const [first] = node.children;
    if (first === undefined || node.expanded < descent.widen * Math.sqrt(parent)) return node;
    const priors = priorsOf(node.children);
    let best = first;
    let highest = -Infinity;
    for (const [i, child] of node.children.entries()) {
      const urgency = urgencyOf(child, { ...descent, parent, prior: priors[i] ?? 0 });
      if (urgency <= highest) continue;
      best = child;
      highest = urgency;
    }
    const prior = 1 / node.children.length;
    const isFreshBest =
      node.fresh.visits > 0 && urgencyOf(unseen(node.fresh), { ...descent, parent, prior }) > highest;
    if (isFreshBest) return node;
    node = best;
  }
}

/** A step that is not sampled yet, as one that was visited once: it is worth what such steps were on average. */
function unseen({ visits, total, inFlight }: Arm): Arm {
  const mean = total / visits;
  return { visits: 1, total: mean, highest: mean, inFlight };
}

/**
 * What is in flight counts as visits. WU-UCT leaves the value as it is; for the others each is a virtual loss: a visit worth 0,
 * taken back when it returns.
 */
function urgencyOf(
  arm: Arm,
  { select, backup, ...rest }: Descent & { readonly parent: number; readonly prior: number },
): number {
  const value = backup === "max" ? arm.highest : arm.total / arm.visits;
  const counts = { ...rest, child: arm.visits + arm.inFlight };
  if (select === "wu-uct") return wuUct(value, counts);
  const withLoss = (value * arm.visits) / counts.child;
  return select === "uct" ? uct(withLoss, counts) : puct(withLoss, counts);
}

/** P(s'): e^(mean log-probability of the step), in proportion; even where one of them is unknown. */
function priorsOf(children: readonly TreeNode[]): readonly number[] {
  const masses = children.map(({ meanLogprob }) =>
    meanLogprob === null ? Number.NaN : Math.exp(meanLogprob),
  );
  const total = masses.reduce((sum, mass) => sum + mass, 0);
  return total > 0 ? masses.map((mass) => mass / total) : masses.map(() => 1 / children.length);
}

/** Incomplete update: `size` simulations leave from this node. */
export function launch(from: TreeNode, size: number): void {
  from.expanded += size;
  from.fresh.inFlight += size;
  for (let node: TreeNode | null = from; node !== null; node = node.parent) node.inFlight += size;
}

/** Complete update: one simulation from this node is back; a null value leaves no trace. */
export function backUp(from: TreeNode, value: number | null): void {
  from.fresh.inFlight--;
  if (value !== null) visit(from.fresh, value);
  for (let node: TreeNode | null = from; node !== null; node = node.parent) {
    node.inFlight--;
    if (value !== null) visit(node, value);
  }
}

/** One more simulation that ended in this choice. */
export function visit(arm: Arm, value: number): void {
  arm.highest = arm.visits === 0 ? value : Math.max(arm.highest, value);
  arm.visits++;
  arm.total += value;
}
