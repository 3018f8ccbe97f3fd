/** Paths that grow step by step, each step scored as it arrives: what several step-level searches do alike. */
import { aggregate } from "./aggregate.ts";
import type { Aggregate } from "./aggregate.ts";
import { finish, isTerminal } from "./candidate.ts";
import { judge, sample } from "./operations.ts";
import { LostError } from "./program.ts";
import type { AskId, Loss, Outcome, Prefix, Program, Rollout, SampleOptions } from "./program.ts";
import { scoreOf, selectByVote, selectHighest } from "./selection.ts";
import type { Ballot } from "./selection.ts";
import type { Parameter } from "./strategy.ts";

/** How a strategy declares what a step is. */
export const STEPS = {
  max_steps: { type: "integer", default: 40, min: 1, max: 1000, about: "Steps of a path at most." },
  step_stop: { type: "strings", default: ["\n\n"], about: "Strings that end a step." },
} as const satisfies Readonly<Record<string, Parameter>>;

/** How a strategy declares how it chooses among finished paths. */
export const SELECT = {
  type: "choice",
  default: "highest-score",
  choices: ["highest-score", "weighted-vote"],
  about:
    "highest-score: what the outcome verifier scores best; weighted-vote: the answer with the most process score.",
} as const satisfies Parameter;

/** Whether the budget has refused a rollout; shared by strands that run at their own pace, so that none asks for more. */
export interface BudgetWatch {
  refused: Loss | null;
}

/** `sample` that asks nothing once the budget has refused something to a strand with the same watch. */
export function* sampleWithin(
  watch: BudgetWatch,
  prefix: Prefix,
  options: SampleOptions = {},
): Program<Rollout> {
  if (watch.refused !== null) throw new LostError(watch.refused);
  try {
    return yield* sample(prefix, options);
  } catch (error) {
    if (error instanceof LostError && error.loss.reason === "budget") watch.refused = error.loss;
    throw error;
  }
}

/** Steps from the prompt on, with the process verifier's score of each. */
export interface StepPath {
  readonly prefix: Prefix;
  /** The ask of its last step; null for the prompt. */
  readonly ask: AskId | null;
  /** Null where the verdict was lost or had no score. */
  readonly scores: readonly (number | null)[];
  /** Completion tokens of all its steps; null where one is unknown. */
  readonly tokens: number | null;
  readonly isEnded: boolean;
}

/** The path of no steps. */
export function startOf(prompt: Prefix): StepPath {
  return { prefix: prompt, ask: null, scores: [], tokens: 0, isEnded: false };
}

export interface ExtendOptions {
  readonly stop: readonly string[];
  readonly isLast: boolean;
  readonly watch: BudgetWatch;
}

/** One more step, scored by the process verifier whether it ends the path or not. Throws LostError when it is lost. */
export function* extendPath(path: StepPath, { stop, isLast, watch }: ExtendOptions): Program<StepPath> {
  const rollout = yield* sampleWithin(watch, path.prefix, { stop });
  const { ask, completionTokens } = rollout;
  const prefix = path.prefix.extend(rollout.text, ask);
  const score = scoreOf(yield* judge({ role: "process", prefix, of: ask }));
  return {
    prefix,
    ask,
    scores: [...path.scores, score],
    tokens: path.tokens === null || completionTokens === null ? null : path.tokens + completionTokens,
    isEnded: isTerminal(rollout, { isLast }),
  };
}

/** Of paths of equal text the first, in their order. */
export function distinctPaths<P extends { readonly prefix: Prefix }>(paths: readonly P[]): readonly P[] {
  const seen = new Set<Prefix>();
  return paths.filter(({ prefix }) => !seen.has(prefix) && seen.add(prefix));
}

/** A path of at least one step, judged; its vote weighs its aggregated process score, an absent one 0. */
export function* finishPath(
  { prefix, ask, scores }: StepPath,
  { index, how }: { readonly index: number; readonly how: Aggregate },
): Program<Ballot> {
  const candidate = yield* finish({ index, prefix, ask });
  return { candidate, weight: Math.max(0, aggregate(scores, how) ?? 0) };
}

/** The outcome among finished paths. Where none finished it throws what was lost, if anything was. */
export function selectFinished(
  ballots: readonly Ballot[],
  { select, lost }: { readonly select: (typeof SELECT.choices)[number]; readonly lost: Loss | null },
): Outcome {
  if (select === "weighted-vote" && ballots.length > 0) return selectByVote(ballots, select);
  const candidates = ballots.map(({ candidate }) => candidate);
  return selectHighest(candidates, lost);
}
