import { finish } from "../candidate.ts";
import type { FinishedPath } from "../candidate.ts";
import { gather, graver, judge, openGroup, sample, settleAll } from "../operations.ts";
import type { Candidate, Loss, Prefix, Program } from "../program.ts";
import { scoreOf, selectHighest, topK } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 64, min: 1, max: 10_000, about: "Rollouts that start." },
  reject: {
    type: "number",
    default: 0.5,
    min: 0,
    max: 0.99,
    about: "alpha: share of the open answers that a rung drops.",
  },
  rung_tokens: {
    type: "integer",
    default: 128,
    min: 1,
    max: 100_000,
    about: "Tokens that an answer grows by in a rung.",
  },
  rungs: { type: "integer", default: 16, min: 1, max: 1000, about: "Rungs at most: the longest answer." },
} as const satisfies Readonly<Record<string, Parameter>>;

/** An answer after a rung: ended, or open with the process verifier's score of what there is of it. */
type Path =
  | ({ readonly kind: "finished" } & FinishedPath)
  | { readonly kind: "open"; readonly index: number; readonly prefix: Prefix; readonly score: number | null };

/**
 * Speculative rejection: best-of-n that gives up on answers half-way. All open answers grow by a rung of tokens; those that
 * were cut off by its end are scored by the process verifier as they stand, and the worst share alpha of them is dropped,
 * ties by the lowest index, never the last one; the others go on from where they stopped. The paper's rung ends when the
 * memory is full, ours after a number of tokens, so that it does not depend on the host. Answers that end, and those still
 * open after the last rung, are judged by the outcome verifier beside the next rung; the highest score wins. A lost rollout
 * drops its answer; one without a score is dropped first.
 */
export const speculativeRejection: Strategy<typeof PARAMETERS> = {
  name: "speculative-rejection",
  version: 1,
  about: "Starts n answers and drops the worst share of the unfinished ones at every rung of tokens.",
  paper: "Sun et al. 2024, Fast Best-of-N Decoding via Speculative Rejection, arXiv 2410.20290, algorithm 1",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({ processVerifier: true }),
  costFormula:
    "at most n + n(1 - reject) + n(1 - reject)^2 + ... rollouts of rung_tokens each, and as many verifications",
  cost: ({ n, reject, rungs }) => {
    let rollouts = 0;
    for (let [rung, open] = [0, n]; rung < rungs; rung++, open = survivorsOf(open, reject)) rollouts += open;
    return { rollouts, verifications: rollouts };
  },

  *search(prompt, { n, reject, rung_tokens, rungs }) {
    const finals = openGroup<Candidate>();
    let lost: Loss | null = null;
    let open: readonly Start[] = Array.from({ length: n }, (_, index) => ({ index, prefix: prompt }));
    for (let rung = 0; rung < rungs && open.length > 0 && lost?.reason !== "budget"; rung++) {
      const isLast = rung === rungs - 1;
      const grown = yield* gather(open.map((start) => grow(start, { maxTokens: rung_tokens, isLast })));
      if (grown.lost !== null) lost = graver(lost, grown.lost);
      const paths = grown.values.filter((path) => path !== undefined);
      for (const path of paths) if (path.kind === "finished") yield* finals.add(finish(path));
      const cut = paths.filter((path) => path.kind === "open");
      open = topK(cut, survivorsOf(cut.length, reject)).toSorted((a, b) => a.index - b.index);
    }
    const { values } = yield* settleAll(finals);
    return selectHighest(
      values.filter((candidate) => candidate !== undefined),
      lost,
    );
  },
};

interface Start {
  readonly index: number;
  readonly prefix: Prefix;
}

/** How many of the open answers a rung leaves. */
function survivorsOf(open: number, reject: number): number {
  return open === 0 ? 0 : Math.max(1, Math.ceil(open * (1 - reject) - ROUNDING));
}

/** Far below one answer: 5 * (1 - 0.8) is a little more than 1. */
const ROUNDING = 1e-9;

function* grow(
  { index, prefix: from }: Start,
  { maxTokens, isLast }: { readonly maxTokens: number; readonly isLast: boolean },
): Program<Path> {
  const { text, finishReason, ask } = yield* sample(from, { maxTokens });
  const prefix = from.extend(text, ask);
  if (isLast || finishReason === "stop") return { kind: "finished", index, prefix, ask };
  const verdict = yield* judge({ role: "process", prefix, of: ask });
  return { kind: "open", index, prefix, score: scoreOf(verdict) };
}
