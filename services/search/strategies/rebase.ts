import { AGGREGATE } from "../aggregate.ts";
import { gather, graver, openGroup } from "../operations.ts";
import type { Loss, Outcome, Prefix, Program } from "../program.ts";
import { byScore } from "../selection.ts";
import type { Ballot } from "../selection.ts";
import { extendPath, finishPath, SELECT, selectFinished, startOf, STEPS } from "../steps.ts";
import type { BudgetWatch, StepPath } from "../steps.ts";
import type { Cost, Parameter, ParameterValues, Strategy } from "../strategy.ts";

/** Slack of a ceil: a share of 5 + 1e-12 is 5. */
const EPSILON = 1e-9;

export const REBASE_PARAMETERS = {
  width: { type: "integer", default: 16, min: 1, max: 10_000, about: "N: paths in all, finished and open." },
  balance: {
    type: "number",
    default: 0.2,
    min: 0.001,
    max: 1000,
    about: "T_b: the lower, the more steps go to the best paths.",
  },
  rounding: {
    type: "choice",
    default: "ceil",
    choices: ["ceil", "paper"],
    about:
      "ceil: shares are whole and sum to the budget, as in the authors' code; paper: each share is rounded.",
  },
  ...STEPS,
  max_steps: { ...STEPS.max_steps, default: 25 },
  path_tokens: {
    type: "integer",
    default: 1024,
    min: 1,
    max: 10_000_000,
    about: "A path of so many tokens is finished; not applied where the host does not count tokens.",
  },
  aggregate: { ...AGGREGATE, about: "The weight of a finished path's vote from the scores of its steps." },
  select: { ...SELECT, default: "weighted-vote" },
} as const satisfies Readonly<Record<string, Parameter>>;

export type RebaseValues = ParameterValues<typeof REBASE_PARAMETERS>;

/**
 * Reward balanced search. At each depth what is left of the budget, B = N less the finished paths, is shared out among the
 * open paths j: W_j = B e^{R_j / T_b} / sum_k e^{R_k / T_b} of the next steps, R_j the process score of the last step (an absent
 * one counts 0; equal scores: the first sampled is served first), see `allocate`. A path is finished when its step ends it, at
 * `max_steps`, or with `path_tokens` along the whole path (the authors' code counts the last step only). Each finished path
 * votes for its answer with its aggregated score. A lost step is a path less; its share goes to the others at the next depth.
 */
export const rebase: Strategy<typeof REBASE_PARAMETERS> = {
  name: "rebase",
  version: 1,
  about: "Shares its paths out among open ones in proportion to e^(process score), depth by depth; votes.",
  paper: "Wu et al. 2024, Inference Scaling Laws (REBASE), arXiv 2408.00724",
  parameters: REBASE_PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({ processVerifier: true }),
  costFormula:
    "at most width * max_steps rollouts (twice that with rounding: paper) and twice as many verifications; about width answers' tokens",
  cost: rebaseCost,
  search: (prompt, parameters) => growBalanced(prompt, parameters, (open) => open),
};

/** Of REBASE and of what prunes it. */
export function rebaseCost({ width, max_steps, rounding }: RebaseValues): Cost {
  // A share from one half on is rounded to at most twice of it.
  const rollouts = width * max_steps * (rounding === "paper" ? 2 : 1);
  return { rollouts, verifications: 2 * rollouts };
}

/** An open path with what it is ranked by. */
export interface OpenPath extends StepPath {
  /** R_j. */
  readonly score: number;
}

/** The loop of REBASE; `keep` says which open paths of a depth share the budget: at least one of those it is given. */
export function* growBalanced(
  prompt: Prefix,
  parameters: RebaseValues,
  keep: (open: readonly OpenPath[], budget: number) => readonly OpenPath[],
): Program<Outcome> {
  const { width, max_steps, step_stop: stop, path_tokens, select, aggregate: how } = parameters;
  const watch: BudgetWatch = { refused: null };
  const finals = openGroup<Ballot>();
  let lost: Loss | null = null;
  let finished = 0;
  let open: readonly OpenPath[] = [{ ...startOf(prompt), score: 0 }];
  for (let depth = 0; depth < max_steps && open.length > 0 && finished < width; depth++) {
    const isLast = depth === max_steps - 1;
    const budget = width - finished;
    const kept = keep(open, budget);
    const shares = allocate(
      kept.map(({ score }) => score),
      { budget, ...parameters },
    );
    const steps = kept.flatMap((path, j) =>
      Array.from({ length: shares[j] ?? 0 }, () => extendPath(path, { stop, isLast, watch })),
    );
    const round = yield* gather(steps);
    if (round.lost !== null) lost = graver(lost, round.lost);
    const next: OpenPath[] = [];
    for (const path of round.values) {
      if (path === undefined) continue;
      if (path.isEnded || (path.tokens ?? 0) >= path_tokens) {
        yield* finals.add(finishPath(path, { index: finished++, how }));
      } else {
        next.push({ ...path, score: path.scores.at(-1) ?? 0 });
      }
    }
    open = watch.refused === null ? next : [];
  }
  const ballots: Ballot[] = [];
  for (let member = yield* finals.next(); member !== null; member = yield* finals.next()) {
    if (member.lost === null) ballots.push(member.value);
  }
  return selectFinished(ballots, { select, lost });
}

export interface AllocateOptions {
  /** B: a whole number from 1. */
  readonly budget: number;
  /** T_b, above 0. */
  readonly balance: number;
  readonly rounding: "ceil" | "paper";
}

/**
 * How many next steps each open path gets, by position. `paper`: Round(B p_j), halves up, so the sum may miss B. `ceil`: by
 * descending score, each takes the ceil of its part of what is left of B, p_j over the p of those not served yet, so the sum is
 * B. Where rounding leaves nothing to anyone, the best path gets B.
 */
export function allocate(
  scores: readonly number[],
  { budget, balance, rounding }: AllocateOptions,
): readonly number[] {
  const ranked = scores.map((score, index) => ({ score, index })).toSorted(byScore);
  const highest = ranked[0]?.score ?? 0;
  const open = ranked.map(({ score, index }) => ({ index, mass: Math.exp((score - highest) / balance) }));
  const shares: number[] = scores.map(() => 0);
  if (rounding === "paper") {
    const total = open.reduce((sum, { mass }) => sum + mass, 0);
    for (const { index, mass } of open) shares[index] = Math.round((budget * mass) / total);
  } else {
    // Summed from below, so that the last one's part is exactly 1.
    let below = 0;
    const parts = open.toReversed().map(({ index, mass }) => ({ index, part: mass / (below += mass) }));
    let rest = budget;
    for (const { index, part } of parts.toReversed()) {
      // Where masses vanish (0 / 0) nothing is left by then.
      const share = rest === 0 ? 0 : Math.min(rest, Math.max(0, Math.ceil(rest * part - EPSILON)));
      shares[index] = share;
      rest -= share;
    }
  }
  const [best] = ranked;
  if (best !== undefined && !shares.some((share) => share > 0)) shares[best.index] = budget;
  return shares;
}
