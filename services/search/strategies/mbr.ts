import { answerText, sampleCandidate } from "../candidate.ts";
import { editSimilarities } from "../edit-similarity.ts";
import { PROGRAM, programIn, run, withExpression, withStdin } from "../execution.ts";
import { all, gatherArrived } from "../operations.ts";
import type { Candidate, Prefix, Program } from "../program.ts";
import { byScore, outcomeOf } from "../selection.ts";
import type { Parameter, ParameterValues, ProblemFacts, Strategy } from "../strategy.ts";

const PARAMETERS = {
  n: { type: "integer", default: 16, min: 1, max: 256, about: "Rollouts per problem." },
  utility: {
    type: "choice",
    default: "answer",
    choices: ["answer", "edit", "execution"],
    about:
      "answer: 1 for equal answers; edit: similarity of words; execution: share of inputs on which two programs agree.",
  },
  inputs_as: {
    type: "choice",
    default: "stdin",
    choices: ["stdin", "expressions"],
    about: "What the problem's metadata.inputs are: texts to read, or Python expressions to evaluate.",
  },
  inputs_max: { type: "integer", default: 8, min: 1, max: 100, about: "Inputs that a program is run on." },
  program: PROGRAM,
} as const satisfies Readonly<Record<string, Parameter>>;

type Values = ParameterValues<typeof PARAMETERS>;

/** A candidate and what its program printed for each input; null for a crash. */
interface Hypothesis {
  readonly candidate: Candidate;
  readonly outputs: readonly (string | null)[];
}

/**
 * Minimum Bayes risk: y = argmax_y 1/n sum_y' u(y, y') over n samples that are hypotheses and evidence both, y' = y included;
 * ties to the lowest index. u is 1[a(y) = a(y')] with the answer keys of the outcome verifier (then this is the majority),
 * the word-level edit similarity, or the share of the problem's inputs on which both programs print the same. What is unknown
 * matches nothing, not even itself: an absent key, a program that crashes or whose run is lost. A lost rollout leaves n - 1.
 */
export const mbr: Strategy<typeof PARAMETERS> = {
  name: "mbr",
  version: 1,
  about: "Samples n answers and keeps the one that is most like all of them: minimum Bayes risk.",
  paper: "Shi et al. 2022, Natural Language to Code Translation with Execution, arXiv 2204.11454, equation 2",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  isOrderAdaptive: false,
  extendsRollouts: false,
  grows: ["n"],
  needs: ({ utility }) => (utility === "execution" ? { tools: ["python"] } : {}),
  costFormula: "n rollouts, n verifications; by execution at most n * inputs_max runs more",
  cost: ({ n, utility, inputs_max }) => ({
    rollouts: n,
    verifications: utility === "execution" ? n + n * inputs_max : n,
  }),

  *search(prompt, { n, ...values }, problem) {
    const harness = values.utility === "execution" ? harnessOf(problem, values) : () => [];
    const samples = Array.from({ length: n }, (_, index) => hypothesis(prompt, { index, harness }));
    const { arrived } = yield* gatherArrived(samples);
    const utilities = utilitiesOf(arrived, { prompt, utility: values.utility });
    const ranked = arrived.map(({ candidate }, i) => {
      const sum = (utilities[i] ?? []).reduce((total, utility) => total + utility, 0);
      return { candidate, index: candidate.index, score: sum / arrived.length };
    });
    // At least one arrived.
    const best = ranked.toSorted(byScore)[0] as (typeof ranked)[number];
    return { ...outcomeOf(best.candidate, "mbr"), score: best.score };
  },
};

/** The texts to run for an answer, one per input. */
type Harness = (answer: string) => readonly string[];

function* hypothesis(
  prompt: Prefix,
  { index, harness }: { readonly index: number; readonly harness: Harness },
): Program<Hypothesis> {
  const candidate = yield* sampleCandidate(prompt, index);
  const outputs = yield* all(harness(answerText(candidate, prompt)).map(run));
  return { candidate, outputs: outputs.map((output) => output ?? null) };
}

/** Throws where the problem has no inputs: nothing would be compared. */
function harnessOf(problem: ProblemFacts, { inputs_as, inputs_max, program }: Omit<Values, "n">): Harness {
  const { inputs } = problem.metadata;
  if (!Array.isArray(inputs) || inputs.length === 0 || !inputs.every((input) => typeof input === "string")) {
    const found = Array.isArray(inputs) ? "another list" : typeof inputs;
    throw new Error(`problem ${problem.id}: expected metadata.inputs to be a list of texts, found ${found}`);
  }
  const render = inputs_as === "stdin" ? withStdin : withExpression;
  const used: readonly string[] = inputs.slice(0, inputs_max);
  return (answer) => used.map((input) => render(programIn(answer, problem, program), input));
}

/** u(y, y') for all pairs. */
function utilitiesOf(
  hypotheses: readonly Hypothesis[],
  { prompt, utility }: { readonly prompt: Prefix; readonly utility: Values["utility"] },
): readonly (readonly number[])[] {
  if (utility === "edit")
    return editSimilarities(hypotheses.map(({ candidate }) => answerText(candidate, prompt)));
  const keys =
    utility === "execution"
      ? hypotheses.map(({ outputs }) => outputs)
      : hypotheses.map(({ candidate }) => [candidate.verdict?.answer ?? null]);
  return keys.map((a) => keys.map((b) => shareEqual(a, b)));
}

function shareEqual(a: readonly (string | null)[], b: readonly (string | null)[]): number {
  const equal = a.filter((one, i) => one !== null && one === b[i]).length;
  return equal / a.length;
}
