import { aggregate, AGGREGATE } from "../aggregate.ts";
import { gather, graver, openGroup } from "../operations.ts";
import type { Loss, Prefix, Program } from "../program.ts";
import { topK } from "../selection.ts";
import type { Ballot } from "../selection.ts";
import { extendPath, finishPath, SELECT, selectFinished, startOf, STEPS } from "../steps.ts";
import type { BudgetWatch, StepPath } from "../steps.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";

const PARAMETERS = {
  width: { type: "integer", default: 16, min: 1, max: 10_000, about: "N: finished paths." },
  expand: {
    type: "integer",
    default: 4,
    min: 1,
    max: 10_000,
    about: "M: steps sampled per expansion; there are N/M subtrees.",
  },
  ...STEPS,
  aggregate: AGGREGATE,
  select: SELECT,
} as const satisfies Readonly<Record<string, Parameter>>;

type Values = ParameterValues<typeof PARAMETERS>;

/**
 * Diverse verifier tree search: max(1, floor(N/M)) subtrees grow from the prompt and are never compared. In each, M next
 * steps are sampled and the one argmax agg(s_1..s_t) is kept (ties: the first sampled), until that one ends its path or is the
 * last allowed. A subtree then gives the M paths of its last expansion, ended or not. Subtrees run at their own pace:
 * none waits for another. A lost step narrows its expansion; an expansion that is lost whole ends its subtree with the
 * paths of the one before.
 */
export const dvts: Strategy<typeof PARAMETERS> = {
  name: "dvts",
  version: 1,
  about:
    "Grows N/M independent trees greedily by process score; each gives the M paths of its last expansion.",
  paper:
    "Beeching et al. 2024, Scaling test-time compute with open models (Hugging Face), diverse verifier tree search",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  // Subtrees that come to the same text share its samples in the order in which they ask.
  isOrderAdaptive: true,
  extendsRollouts: true,
  needs: () => ({ processVerifier: true }),
  costFormula:
    "at most width * max_steps rollouts; as many verifications and width more; about width answers' tokens",
  cost: ({ width, expand, max_steps }) => {
    const rollouts = subtreesOf(width, expand) * expand * max_steps;
    return { rollouts, verifications: rollouts + subtreesOf(width, expand) * expand };
  },

  *search(prompt, parameters) {
    const { width, expand, select } = parameters;
    const watch: BudgetWatch = { refused: null };
    const subtrees = Array.from({ length: subtreesOf(width, expand) }, (_, index) =>
      grow(prompt, { ...parameters, watch, first: index * expand }),
    );
    const { values, lost } = yield* gather(subtrees);
    const grown = values.filter((subtree) => subtree !== undefined);
    const worst = grown.reduce(
      (known, subtree) => (subtree.lost === null ? known : graver(known, subtree.lost)),
      lost,
    );
    return selectFinished(
      grown.flatMap(({ ballots }) => ballots),
      { select, lost: worst },
    );
  },
};

function subtreesOf(width: number, expand: number): number {
  return Math.max(1, Math.floor(width / expand));
}

interface Subtree {
  readonly ballots: readonly Ballot[];
  readonly lost: Loss | null;
}

/** One subtree; its candidates are numbered from `first`, in the order in which their steps were asked. */
function* grow(
  prompt: Prefix,
  options: Values & { readonly watch: BudgetWatch; readonly first: number },
): Program<Subtree> {
  const { expand, max_steps, step_stop: stop, aggregate: how, watch, first } = options;
  let expansion: readonly { readonly index: number; readonly path: StepPath }[] = [];
  let kept = startOf(prompt);
  let lost: Loss | null = null;
  for (let step = 0; step < max_steps && !kept.isEnded; step++) {
    const isLast = step === max_steps - 1;
    const from = kept;
    const steps = yield* gather(
      Array.from({ length: expand }, () => extendPath(from, { stop, isLast, watch })),
    );
    if (steps.lost !== null) lost = graver(lost, steps.lost);
    const arrived = steps.values.flatMap((path, index) =>
      path === undefined ? [] : [{ index, path, score: aggregate(path.scores, how) }],
    );
    const [best] = topK(arrived, 1);
    if (best === undefined) break;
    expansion = arrived;
    kept = best.path;
  }
  const finals = openGroup<Ballot>();
  for (const { index, path } of expansion) yield* finals.add(finishPath(path, { index: first + index, how }));
  const ballots: Ballot[] = [];
  for (let member = yield* finals.next(); member !== null; member = yield* finals.next()) {
    if (member.lost === null) ballots.push(member.value);
  }
  return { ballots, lost };
}
