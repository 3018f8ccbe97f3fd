import { finish, isTerminal } from "../candidate.ts";
import type { FinishedPath } from "../candidate.ts";
import { gather, graver, judge, openGroup, sample } from "../operations.ts";
import type { Candidate, Loss, Prefix, Program } from "../program.ts";
import { scoreOf, selectHighest, topK } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  width: { type: "integer", default: 16, min: 1, max: 10_000, about: "N: steps sampled per round." },
  expand: {
    type: "integer",
    default: 4,
    min: 1,
    max: 10_000,
    about: "M: each round keeps the best N/M paths.",
  },
  max_steps: { type: "integer", default: 40, min: 1, max: 1000, about: "Steps of a path at most." },
  step_stop: { type: "strings", default: ["\n\n"], about: "Strings that end a step." },
} as const satisfies Readonly<Record<string, Parameter>>;

/** A path after one round: finished and judged, finished, or open with the process verifier's score of it. */
type Path =
  | { readonly kind: "judged"; readonly candidate: Candidate }
  | ({ readonly kind: "finished" } & FinishedPath)
  | { readonly kind: "open"; readonly index: number; readonly prefix: Prefix; readonly score: number | null };

/**
 * Stepwise beam search guided by a process verifier. A round samples N next steps, spread evenly over the
 * survivors (the first round: over the prompt), drops open paths of equal text, and keeps the best
 * floor(N/M), at least one, by score; ties go to the lowest index, which numbers all sampled steps in the
 * order of asking. Paths that end leave the beam but do not narrow it, and are judged by the outcome verifier
 * while the next round runs; the highest score wins.
 */
export const beamSearch: Strategy<typeof PARAMETERS> = {
  name: "beam-search",
  version: 1,
  about: "Grows N paths step by step and keeps the best N/M of them by process score.",
  paper: "Snell et al. 2024, Scaling LLM Test-Time Compute Optimally, arXiv 2408.03314, section 5.2",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({ processVerifier: true }),
  costFormula: "at most width * max_steps rollouts and as many verifications; about width answers' tokens",
  cost: ({ width, max_steps }) => ({ rollouts: width * max_steps, verifications: width * max_steps }),

  *search(prompt, { width, expand, max_steps, step_stop }) {
    const finals = openGroup<Candidate>();
    const finished = new Set<Prefix>();
    const candidates: Candidate[] = [];
    let lost: Loss | null = null;
    let beam: readonly Prefix[] = [prompt];
    for (let step = 0; step < max_steps && beam.length > 0 && lost?.reason !== "budget"; step++) {
      const isLast = step === max_steps - 1;
      const steps = spread(beam, width).map((prefix, slot) =>
        nextStep(prefix, { index: step * width + slot, stop: step_stop, isLast }),
      );
      const round = yield* gather(steps);
      if (round.lost !== null) lost = graver(lost, round.lost);

      const open = new Map<Prefix, Path & { readonly kind: "open" }>();
      for (const path of round.values) {
        if (path?.kind === "judged") candidates.push(path.candidate);
        if (path?.kind === "open" && !open.has(path.prefix)) open.set(path.prefix, path);
        if (path?.kind === "finished" && !finished.has(path.prefix)) {
          finished.add(path.prefix);
          yield* finals.add(finish(path));
        }
      }
      const survivors = topK([...open.values()], Math.max(1, Math.floor(width / expand)));
      beam = survivors.map(({ prefix }) => prefix);
    }
    for (let member = yield* finals.next(); member !== null; member = yield* finals.next()) {
      if (member.lost === null) candidates.push(member.value);
    }
    return selectHighest(candidates, lost);
  },
};

/** `width` places shared out over the beam as evenly as can be, those of one path side by side. */
function spread(beam: readonly Prefix[], width: number): readonly Prefix[] {
  const shares = beam.map((prefix, i) => {
    const from = Math.ceil((i * width) / beam.length);
    const to = Math.ceil(((i + 1) * width) / beam.length);
    return Array.from({ length: to - from }, () => prefix);
  });
  return shares.flat();
}

function* nextStep(
  from: Prefix,
  {
    index,
    stop,
    isLast,
  }: { readonly index: number; readonly stop: readonly string[]; readonly isLast: boolean },
): Program<Path> {
  const rollout = yield* sample(from, { stop });
  const prefix = from.extend(rollout.text, rollout.ask);
  const { ask } = rollout;
  // No round follows the last one, so nothing waits for the verdict but the end.
  if (isLast) return { kind: "judged", candidate: yield* finish({ index, prefix, ask }) };
  if (isTerminal(rollout, { isLast })) return { kind: "finished", index, prefix, ask };
  const verdict = yield* judge({ role: "process", prefix, of: ask });
  return { kind: "open", index, prefix, score: scoreOf(verdict) };
}
