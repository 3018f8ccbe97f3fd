import type { Prefix } from "../program.ts";
import { distinctPaths } from "../steps.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { allocate, growBalanced, REBASE_PARAMETERS, rebaseCost } from "./rebase.ts";
import type { OpenPath } from "./rebase.ts";

const PARAMETERS = {
  ...REBASE_PARAMETERS,
  sharing: {
    type: "number",
    default: 1,
    min: 0,
    max: 1000,
    about: "lambda_c: what the whole tree costs; the higher, the fewer paths are kept.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Efficient tree search: REBASE in which, at each depth, only those open paths share the budget that maximise
 * sum_i o_i x_i - lambda_c sum_j c y_j, where o_i is path i's share of REBASE's next steps, x_i whether it is kept, y_j whether
 * node j of the tree lies on a kept path, c = 1 over the number of nodes; at least one is kept. Equal paths are one node, and
 * the first sampled of them stands for it. The paper's third term, lambda_s times the share of clusters of alike steps that
 * are covered, needs embeddings of steps and is left out (lambda_s = 0), which makes the choice exact: see `survivorsOf`.
 */
export const ets: Strategy<typeof PARAMETERS> = {
  name: "ets",
  version: 1,
  about: "REBASE that keeps only the open paths worth the part of the tree that they alone hold.",
  paper:
    "Hooper et al. 2025, ETS: Efficient Tree Search for Inference-Time Scaling, arXiv 2502.13575 (lambda_s = 0)",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({ processVerifier: true }),
  costFormula:
    "at most width * max_steps rollouts (twice that with rounding: paper) and twice as many verifications; about width answers' tokens",
  cost: rebaseCost,

  search: (prompt, parameters) =>
    growBalanced(prompt, parameters, (open, budget) => {
      const paths = distinctPaths(open);
      const steps = allocate(
        paths.map(({ score }) => score),
        { budget, ...parameters },
      );
      const total = steps.reduce((sum, share) => sum + share, 0);
      const leaves = paths.map((path, i) => ({ path, worth: (steps[i] ?? 0) / total }));
      return survivorsOf(leaves, { root: prompt, sharing: parameters.sharing });
    }),
};

/** An open path and its o_i. */
export interface Leaf<P extends Pick<OpenPath, "prefix"> = OpenPath> {
  readonly path: P;
  readonly worth: number;
}

/** A node of the tree above the open paths. */
interface Branch {
  readonly children: Branch[];
  /** Position of the open path that ends here; null where none does. */
  leaf: number | null;
  /** The best that can be had of it and what is below, should it be kept; with at least one path kept. */
  best: number;
}

/**
 * The kept ones of paths that differ, in their order: exact, bottom up, as the objective decomposes on the tree:
 * best(j) = o_j - lambda_c c + sum over children max(0, best(child)), where a node without a path of its own and without a child
 * above 0 has to keep its best child (ties: the first). Of the root's children, which cost nothing to meet in the root, likewise.
 */
export function survivorsOf<P extends Pick<OpenPath, "prefix">>(
  leaves: readonly Leaf<P>[],
  { root, sharing }: { readonly root: Prefix; readonly sharing: number },
): readonly P[] {
  const branches = new Map<Prefix, Branch>([[root, { children: [], leaf: null, best: 0 }]]);
  const plant = (prefix: Prefix): Branch => {
    const known = branches.get(prefix);
    if (known !== undefined) return known;
    const branch: Branch = { children: [], leaf: null, best: 0 };
    branches.set(prefix, branch);
    if (prefix.parent !== null) plant(prefix.parent).children.push(branch);
    return branch;
  };
  for (const [index, { path }] of leaves.entries()) plant(path.prefix).leaf = index;
  const cost = branches.size > 1 ? sharing / (branches.size - 1) : 0;

  const value = (branch: Branch): void => {
    for (const child of branch.children) value(child);
    const own = branch.leaf === null ? 0 : (leaves[branch.leaf]?.worth ?? 0);
    branch.best = keptOf(branch).reduce((sum, child) => sum + child.best, own - cost);
  };
  const kept = new Set<number>();
  const keep = (branch: Branch): void => {
    if (branch.leaf !== null) kept.add(branch.leaf);
    for (const child of keptOf(branch)) keep(child);
  };
  const top = plant(root);
  value(top);
  keep(top);
  return leaves.filter((_, index) => kept.has(index)).map(({ path }) => path);
}

/** The children that are kept if the node is. */
function keptOf({ children, leaf }: Branch): readonly Branch[] {
  const worthy = children.filter(({ best }) => best > 0);
  if (worthy.length > 0 || leaf !== null || children.length === 0) return worthy;
  return [children.reduce((best, child) => (child.best > best.best ? child : best))];
}
