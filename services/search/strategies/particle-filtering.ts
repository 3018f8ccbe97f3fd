import { aggregate, AGGREGATE } from "../aggregate.ts";
import { drawIndex } from "../chance.ts";
import { draw, gather, graver, openGroup } from "../operations.ts";
import type { Candidate, Loss, Outcome, Program } from "../program.ts";
import { outcomeOf, selectHighest } from "../selection.ts";
import type { Ballot } from "../selection.ts";
import { extendPath, finishPath, startOf, STEPS } from "../steps.ts";
import type { BudgetWatch, StepPath } from "../steps.ts";
import type { Parameter, ParameterValues, Strategy } from "../strategy.ts";

/** How near to 0 and 1 a score may come before its logit is taken. */
const CLIP = 1e-7;

const PARAMETERS = {
  particles: { type: "integer", default: 16, min: 1, max: 10_000, about: "N: paths in flight." },
  resample: {
    type: "choice",
    default: "multinomial",
    choices: ["multinomial", "systematic"],
    about: "multinomial: N draws, as in the paper; systematic: one draw for all, which repeats chance less.",
  },
  ...STEPS,
  aggregate: AGGREGATE,
  select: {
    type: "choice",
    default: "highest-score",
    choices: ["highest-score", "highest-weight", "drawn"],
    about:
      "highest-score: what the outcome verifier scores best; highest-weight: the heaviest particle; drawn: a particle by chance.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

type Values = ParameterValues<typeof PARAMETERS>;

/** A path with its log-weight. */
interface Particle {
  readonly path: StepPath;
  readonly logWeight: number;
}

/**
 * Particle filtering: N particles start at the prompt. In each round every particle that has not stopped is extended by one
 * step and weighs log w = logit(r), r = agg(s_1..s_t) clipped to [1e-7, 1 - 1e-7] (an absent score counts 0); stopped ones keep
 * their last weight. Then N particles are drawn from all, in proportion to w. It ends when all have stopped. A stopped path is
 * judged once, while others go on, however many particles stand on it. A particle whose step is lost dies; resampling makes up
 * for it. Ties go to the particle first in its round.
 */
export const particleFiltering: Strategy<typeof PARAMETERS> = {
  name: "particle-filtering",
  version: 1,
  about:
    "Keeps N paths alive and draws them anew after each step, in proportion to the odds of their process score.",
  paper:
    "Puri et al. 2025, A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based Monte Carlo Methods, arXiv 2502.01618",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({ processVerifier: true }),
  costFormula:
    "at most particles * max_steps rollouts and twice as many verifications; about particles answers' tokens",
  cost: ({ particles, max_steps }) => ({
    rollouts: particles * max_steps,
    verifications: 2 * particles * max_steps,
  }),

  *search(prompt, parameters) {
    const { particles: n, max_steps, step_stop: stop, aggregate: how, select } = parameters;
    const watch: BudgetWatch = { refused: null };
    const finals = openGroup<Ballot>();
    /** Paths that stopped, in the order of their candidates. */
    const judged = new Set<StepPath>();
    let lost: Loss | null = null;
    let particles: readonly Particle[] = Array.from({ length: n }, () => ({
      path: startOf(prompt),
      logWeight: 0,
    }));
    for (let step = 0; step < max_steps && particles.some(({ path }) => !path.isEnded); step++) {
      if (step > 0) particles = yield* resampled(particles, { n, how: parameters.resample });
      const isLast = step === max_steps - 1;
      const round = yield* gather(particles.map((one) => moved(one, { stop, isLast, watch, how })));
      if (round.lost !== null) lost = graver(lost, round.lost);
      particles = round.values.filter((one) => one !== undefined);
      for (const { path } of particles) {
        if (!path.isEnded || judged.has(path)) continue;
        yield* finals.add(finishPath(path, { index: judged.size, how }));
        judged.add(path);
      }
      if (watch.refused !== null) break;
    }
    const candidates = new Map<StepPath, Candidate>();
    const paths = [...judged];
    for (let member = yield* finals.next(); member !== null; member = yield* finals.next()) {
      const path = paths[member.index];
      if (member.lost === null && path !== undefined) candidates.set(path, member.value.candidate);
    }
    const stopped = particles.flatMap(({ path, logWeight }) => {
      const candidate = candidates.get(path);
      return candidate === undefined ? [] : [{ candidate, logWeight }];
    });
    return yield* chosen(stopped, { select, all: [...candidates.values()], lost });
  },
};

/** A particle after one more step; a stopped one as it is. */
function* moved(
  particle: Particle,
  { how, ...options }: Parameters<typeof extendPath>[1] & { readonly how: Values["aggregate"] },
): Program<Particle> {
  if (particle.path.isEnded) return particle;
  const path = yield* extendPath(particle.path, options);
  return { path, logWeight: logit(aggregate(path.scores, how) ?? 0) };
}

/** ln(r / (1 - r)), r clipped. */
export function logit(score: number): number {
  const clipped = Math.min(1 - CLIP, Math.max(CLIP, score));
  return Math.log(clipped / (1 - clipped));
}

/** Weights in proportion to e^(log-weight), the largest being 1. */
function weightsOf(particles: readonly { readonly logWeight: number }[]): readonly number[] {
  const heaviest = particles.reduce((most, { logWeight }) => Math.max(most, logWeight), -Infinity);
  return particles.map(({ logWeight }) => Math.exp(logWeight - heaviest));
}

function* resampled(
  particles: readonly Particle[],
  { n, how }: { readonly n: number; readonly how: Values["resample"] },
): Program<readonly Particle[]> {
  const weights = weightsOf(particles);
  const offset = how === "systematic" ? yield* draw() : 0;
  const drawn: Particle[] = [];
  for (let i = 0; i < n; i++) {
    const at = how === "systematic" ? (i + offset) / n : yield* draw();
    const particle = particles[drawIndex(weights, at)];
    if (particle !== undefined) drawn.push(particle);
  }
  return drawn;
}

/** The outcome among the particles that stopped; where the final round has none, among all paths that ever did. */
function* chosen(
  stopped: readonly { readonly candidate: Candidate; readonly logWeight: number }[],
  {
    select,
    all,
    lost,
  }: { readonly select: Values["select"]; readonly all: readonly Candidate[]; readonly lost: Loss | null },
): Program<Outcome> {
  if (select === "highest-score" || stopped.length === 0) return selectHighest(all, lost);
  const weights = weightsOf(stopped);
  const at = select === "drawn" ? drawIndex(weights, yield* draw()) : weights.indexOf(1);
  // Some particle stopped, so there is one at every index that is drawn.
  const { candidate } = stopped[at] as (typeof stopped)[number];
  return outcomeOf(candidate, select === "drawn" ? "drawn" : "highest-score");
}
