import { aggregate, AGGREGATE } from "../aggregate.ts";
import type { Aggregate } from "../aggregate.ts";
import { finish, isTerminal } from "../candidate.ts";
import type { FinishedPath } from "../candidate.ts";
import { gather, graver, judge, openGroup, sample } from "../operations.ts";
import { LostError } from "../program.ts";
import type { AskId, Candidate, Loss, Prefix, Program } from "../program.ts";
import { scoreOf, selectHighest, topK } from "../selection.ts";
import { distinctPaths, sampleWithin, STEPS } from "../steps.ts";
import type { BudgetWatch } from "../steps.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";

const PARAMETERS = {
  width: { type: "integer", default: 16, min: 1, max: 10_000, about: "N: steps sampled per round." },
  expand: {
    type: "integer",
    default: 4,
    min: 1,
    max: 10_000,
    about: "M: each round keeps the best N/M paths.",
  },
  ...STEPS,
  lookahead: {
    type: "integer",
    default: 0,
    min: 0,
    max: 1000,
    about: "k: further steps, sampled at temperature 0, with which a step is scored.",
  },
  filter_duplicates: {
    type: "choice",
    default: "on",
    choices: ["on", "off"],
    about: "on: of open paths of equal text one stays.",
  },
  aggregate: AGGREGATE,
} as const satisfies Readonly<Record<string, Parameter>>;

/** An open path with the process verifier's scores of its steps. */
interface OpenPath {
  readonly kind: "open";
  readonly index: number;
  readonly prefix: Prefix;
  /** The ask of its last step; null for the prompt. */
  readonly ask: AskId | null;
  readonly scores: readonly (number | null)[];
  /** agg(s_1..s_t). */
  readonly score: number | null;
}

/** A path after one round: finished and judged, finished, or open. */
type Path =
  | { readonly kind: "judged"; readonly candidate: Candidate }
  | ({ readonly kind: "finished" } & FinishedPath)
  | OpenPath;

/**
 * Stepwise beam search guided by a process verifier. A round samples N next steps, spread evenly over the
 * survivors (the first round: over the prompt), drops open paths of equal text, and keeps the best
 * floor(N/M), at least one, by agg(s_1..s_t); ties go to the lowest index, which numbers all sampled steps in the
 * order of asking. Paths that end leave the beam but do not narrow it, and are judged by the outcome verifier
 * while the next round runs; the highest score wins. With a lookahead of k, s_t is the score of the path with k more
 * steps, sampled at temperature 0 once a round's equal texts are known, and then forgotten. A lost step narrows its
 * round; a lost lookahead ends there, and what was reached is scored.
 */
export const beamSearch: Strategy<typeof PARAMETERS> = {
  name: "beam-search",
  version: 2,
  about: "Grows N paths step by step and keeps the best N/M of them by process score.",
  paper: "Snell et al. 2024, Scaling LLM Test-Time Compute Optimally, arXiv 2408.03314, section 5.2",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({ processVerifier: true }),
  costFormula:
    "at most width * max_steps * (lookahead + 1) rollouts and width * max_steps verifications; about width answers' tokens without lookahead",
  cost: ({ width, max_steps, lookahead }) => ({
    rollouts: width * max_steps * (lookahead + 1),
    verifications: width * max_steps,
  }),

  *search(prompt, parameters) {
    const { width, expand, max_steps, lookahead, filter_duplicates } = parameters;
    const watch: BudgetWatch = { refused: null };
    const finals = openGroup<Candidate>();
    const finished = new Set<Prefix>();
    const candidates: Candidate[] = [];
    let lost: Loss | null = null;
    let beam: readonly OpenPath[] = [
      { kind: "open", index: 0, prefix: prompt, ask: null, scores: [], score: null },
    ];
    for (let step = 0; step < max_steps && beam.length > 0 && lost?.reason !== "budget"; step++) {
      const isLast = step === max_steps - 1;
      const steps = spread(beam, width).map((path, slot) =>
        nextStep(path, { ...parameters, index: step * width + slot, isLast }),
      );
      const round = yield* gather(steps);
      if (round.lost !== null) lost = graver(lost, round.lost);

      const open: OpenPath[] = [];
      for (const path of round.values) {
        if (path?.kind === "judged") candidates.push(path.candidate);
        if (path?.kind === "open") open.push(path);
        if (path?.kind === "finished" && !finished.has(path.prefix)) {
          finished.add(path.prefix);
          yield* finals.add(finish(path));
        }
      }
      const distinct = distinctPaths(open);
      const rest = filter_duplicates === "on" ? distinct : open;
      let scored: readonly OpenPath[] = rest;
      if (lookahead > 0 && lost?.reason !== "budget") {
        const ahead = yield* gather(distinct.map((path) => scoreAhead(path, { ...parameters, watch })));
        if (ahead.lost !== null) lost = graver(lost, ahead.lost);
        const scores = new Map(distinct.map(({ prefix }, i) => [prefix, ahead.values[i] ?? null]));
        scored = rest.map((path) =>
          scoredBy(path, { score: scores.get(path.prefix) ?? null, how: parameters.aggregate }),
        );
      }
      beam = topK(scored, Math.max(1, Math.floor(width / expand)));
    }
    for (let member = yield* finals.next(); member !== null; member = yield* finals.next()) {
      if (member.lost === null) candidates.push(member.value);
    }
    return selectHighest(candidates, lost);
  },
};

/** `width` places shared out over the beam as evenly as can be, those of one path side by side. */
function spread(beam: readonly OpenPath[], width: number): readonly OpenPath[] {
  const shares = beam.map((path, i) => {
    const from = Math.ceil((i * width) / beam.length);
    const to = Math.ceil(((i + 1) * width) / beam.length);
    return Array.from({ length: to - from }, () => path);
  });
  return shares.flat();
}

interface StepOptions extends ParameterValues<typeof PARAMETERS> {
  readonly index: number;
  readonly isLast: boolean;
}

/** One more step. With a lookahead an open one is not scored yet: that waits until the round's equal texts are known. */
function* nextStep(from: OpenPath, options: StepOptions): Program<Path> {
  const { index, step_stop: stop, isLast, lookahead } = options;
  const rollout = yield* sample(from.prefix, { stop });
  const prefix = from.prefix.extend(rollout.text, rollout.ask);
  const { ask } = rollout;
  // No round follows the last one, so nothing waits for the verdict but the end.
  if (isLast) return { kind: "judged", candidate: yield* finish({ index, prefix, ask }) };
  if (isTerminal(rollout, { isLast })) return { kind: "finished", index, prefix, ask };
  const open: OpenPath = { kind: "open", index, prefix, ask, scores: from.scores, score: null };
  if (lookahead > 0) return open;
  const verdict = yield* judge({ role: "process", prefix, of: ask });
  return scoredBy(open, { score: scoreOf(verdict), how: options.aggregate });
}

function scoredBy(
  path: OpenPath,
  { score, how }: { readonly score: number | null; readonly how: Aggregate },
): OpenPath {
  const scores = [...path.scores, score];
  return { ...path, scores, score: aggregate(scores, how) };
}

/** The score of a path with up to k further steps; with those it has when one is lost. A refused one loses the score. */
function* scoreAhead(
  { prefix, ask }: OpenPath,
  { lookahead, step_stop: stop, watch }: ParameterValues<typeof PARAMETERS> & { readonly watch: BudgetWatch },
): Program<number | null> {
  let path = prefix;
  for (let k = 0; k < lookahead; k++) {
    try {
      const rollout = yield* sampleWithin(watch, path, { stop, temperature: 0 });
      path = path.extend(rollout.text, rollout.ask);
      if (isTerminal(rollout, { isLast: false })) break;
    } catch (error) {
      if (!(error instanceof LostError) || error.loss.reason === "budget") throw error;
      break;
    }
  }
  return scoreOf(yield* judge({ role: "process", prefix: path, of: ask }));
}
