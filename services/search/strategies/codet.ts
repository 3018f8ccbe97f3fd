import { answerText, sampleCandidate } from "../candidate.ts";
import { lastCodeBlock } from "../code-block.ts";
import { PROGRAM, programIn, run } from "../execution.ts";
import { all, gatherArrived, openGroup, sample, settleAll } from "../operations.ts";
import { textOf } from "../prefix.ts";
import type { Candidate, Outcome, Prefix, Program } from "../program.ts";
import { outcomeOf } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { pathFrom } from "../template.ts";

const PARAMETERS = {
  n: { type: "integer", default: 16, min: 1, max: 1000, about: "Programs per problem." },
  test_samples: { type: "integer", default: 4, min: 1, max: 1000, about: "Rollouts that write tests." },
  tests_per_sample: {
    type: "integer",
    default: 5,
    min: 1,
    max: 100,
    about: "Tests that are read from each of them.",
  },
  test_tokens: {
    type: "integer",
    default: 512,
    min: 1,
    max: 100_000,
    about: "Tokens of such a rollout at most.",
  },
  template: {
    type: "text",
    default: "{prompt}\n\n# Tests of it, one assert a line:\nassert",
    about: "Asks for tests, a line that begins with assert each; its last line may be the beginning of one.",
  },
  program: PROGRAM,
} as const satisfies Readonly<Record<string, Parameter>>;

/** Longer lines are no tests: they would be run once per program. */
const TEST_CHARS_MAX = 1000;
/** Printed behind a test. A program that ends the process before it has passed nothing. */
const PASSED = "every test before this line has passed";

interface Trial {
  readonly candidate: Candidate;
  /** Which tests its program passes, a digit each; and how many. */
  readonly passed: string;
  readonly tests: number;
}

/**
 * CodeT, dual execution agreement: the model writes programs and, without seeing them, tests. Programs that pass exactly the
 * same tests are one group, of score sqrt(|programs|) * |tests|; the member of the lowest index of the best group is chosen,
 * ties to the group with the lowest index. Equal tests are one. Every program is run on every test once all of both are
 * there, so that what is asked does not depend on arrival. A lost program or test sample leaves fewer, a lost run fails its
 * test; without a test all programs are one group.
 */
export const codet: Strategy<typeof PARAMETERS> = {
  name: "codet",
  version: 1,
  about: "Samples programs and tests, and keeps a program of those that agree on the most tests.",
  paper: "Chen et al. 2022, CodeT: Code Generation with Generated Tests, arXiv 2207.10397, equation 2",
  parameters: PARAMETERS,
  isIndependentSampling: true,
  isOrderAdaptive: false,
  extendsRollouts: false,
  needs: () => ({ tools: ["python"] }),
  costFormula:
    "n + test_samples rollouts; n verifications and at most n * test_samples * tests_per_sample runs",
  cost: ({ n, test_samples, tests_per_sample }) => ({
    rollouts: n + test_samples,
    verifications: n + n * test_samples * tests_per_sample,
  }),

  *search(prompt, { n, test_samples, program, template, ...limits }, problem) {
    const writers = openGroup<readonly string[]>();
    const suite = yield* pathFrom(template, prompt);
    for (let i = 0; i < test_samples; i++) yield* writers.add(writeTests(suite, limits));
    const samples = Array.from({ length: n }, (_, index) => sampleCandidate(prompt, index));
    const { arrived } = yield* gatherArrived(samples);
    const written = (yield* settleAll(writers)).values;
    const tests = [...new Set(written.flatMap((some) => some ?? []))];
    const trials = arrived.map((candidate) =>
      tryOut(candidate, { code: programIn(answerText(candidate, prompt), problem, program), tests }),
    );
    return selectByAgreement((yield* gatherArrived(trials)).arrived);
  },
};

interface TestLimits {
  readonly test_tokens: number;
  readonly tests_per_sample: number;
}

function* writeTests(
  suite: Prefix,
  { test_tokens, tests_per_sample }: TestLimits,
): Program<readonly string[]> {
  const { text } = yield* sample(suite, { maxTokens: test_tokens });
  const opening = textOf(suite).split("\n").at(-1) ?? "";
  return testsIn(opening + text).slice(0, tests_per_sample);
}

/** The lines that are an `assert`. */
function testsIn(text: string): readonly string[] {
  const lines = (lastCodeBlock(text) ?? text).split("\n").map((line) => line.trim());
  return lines.filter((line) => /^assert\b/u.test(line) && line.length <= TEST_CHARS_MAX);
}

function* tryOut(
  candidate: Candidate,
  { code, tests }: { readonly code: string; readonly tests: readonly string[] },
): Program<Trial> {
  const passed = yield* all(tests.map((test) => passes(code, test)));
  return {
    candidate,
    passed: passed.map(Number).join(""),
    tests: passed.filter((isPassed) => isPassed === true).length,
  };
}

function* passes(code: string, test: string): Program<boolean> {
  const printed = yield* run(`${code}\n\n${test}\nprint(${JSON.stringify(PASSED)})\n`);
  return printed?.endsWith(PASSED) ?? false;
}

/** A member of the group with the highest sqrt(|programs|) * |tests|. `trials` are in the order of their candidates. */
function selectByAgreement(trials: readonly Trial[]): Outcome {
  const groups = new Map<string, readonly Trial[]>();
  for (const trial of trials) groups.set(trial.passed, [...(groups.get(trial.passed) ?? []), trial]);
  let best: Outcome = { candidate: null, answer: null, score: null, selection: "dual-execution" };
  for (const [first, ...others] of groups.values()) {
    if (first === undefined) continue;
    const score = Math.sqrt(1 + others.length) * first.tests;
    if (best.score === null || score > best.score)
      best = { ...outcomeOf(first.candidate, "dual-execution"), score };
  }
  return best;
}
