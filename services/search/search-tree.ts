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
 * them; but where steps never repeat a fresh one is always little known, and the tree would be all width: it competes only while
 * it has fewer children than `widen` times (N + O)^(3/4). Ties go to the child that was valued first.
 */
export function selectNode(root: TreeNode, descent: Descent): TreeNode {
  let node = root;
  for (;;) {
    const parent = node.visits + node.inFlight;
    const [first] = node.children;
    if (first === undefined || node.expanded < descent.widen * Math.sqrt(parent)) return node;
    const massOf = descent.select === "puct" ? priorMasses(node.children) : evenMass;
    let total = 0;
    for (const child of node.children) total += massOf(child);
    let best = first;
    let highest = -Infinity;
    for (const child of node.children) {
      const urgency = urgencyOf(child, descent, parent, massOf(child) / total);
      if (urgency <= highest) continue;
      best = child;
      highest = urgency;
    }
    const mayBeFresh =
      node.fresh.visits > 0 && node.children.length < descent.widen * parent ** FRESH_EXPONENT;
    if (mayBeFresh && urgencyOf(unseen(node.fresh), descent, parent, 1 / node.children.length) > highest)
      return node;
    node = best;
  }
}

/** Fresh steps widen a node beyond progressive widening's square root up to this power of its simulations. */
const FRESH_EXPONENT = 0.75;

/** A step that is not sampled yet, as one that was visited once: it is worth what such steps were on average. */
function unseen({ visits, total, inFlight }: Arm): Arm {
  const mean = total / visits;
  return { visits: 1, total: mean, highest: mean, inFlight };
}

/**
 * What is in flight counts as visits. WU-UCT leaves the value as it is; for the others each is a virtual loss: a visit worth 0,
 * taken back when it returns. Four arguments, since it is called for every child of every descent: an object for each would
 * cost more than all the rest.
 */
function urgencyOf(arm: Arm, descent: Descent, parent: number, prior: number): number {
  const { select, backup, explore } = descent;
  const value = backup === "max" ? arm.highest : arm.total / arm.visits;
  const child = arm.visits + arm.inFlight;
  if (select === "wu-uct") return wuUct(value, { parent, child, explore });
  const withLoss = (value * arm.visits) / child;
  if (select === "uct") return uct(withLoss, { parent, child, explore });
  return puct(withLoss, { parent, child, explore, prior });
}

/** e^(mean log-probability of the step); even where that of one of them is unknown. */
function priorMasses(children: readonly TreeNode[]): (child: TreeNode) => number {
  const isKnown = children.every(({ meanLogprob }) => meanLogprob !== null);
  return isKnown ? ({ meanLogprob }) => Math.exp(meanLogprob ?? 0) : evenMass;
}

function evenMass(): number {
  return 1;
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
