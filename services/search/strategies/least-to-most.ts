import { answerTo } from "../candidate.ts";
import { inStep, propose, repeat, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { listItems } from "../list-items.ts";
import { sample } from "../operations.ts";
import type { Candidate } from "../program.ts";
import { SELECT, selectBy } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { fillTemplate, pathFrom } from "../template.ts";

const PARAMETERS = {
  max_questions: {
    type: "integer",
    default: 8,
    min: 1,
    max: 64,
    about: "Sub-questions answered at most; what the model lists beyond is left out.",
  },
  n: { type: "integer", default: 1, min: 1, max: 10_000, about: "Decompositions, each answered by itself." },
  decompose: {
    type: "text",
    default:
      "{prompt}\n\nWhich simpler questions must be answered first, in which order? List them, one a line.\n\n",
    about: "Asks for the sub-questions. {prompt}: the problem's prompt.",
  },
  question: {
    type: "text",
    default: "\n\nQ: {question}\nA:",
    about: "Asks one sub-question, behind the problem's prompt and those before. {question}: it.",
  },
  final: {
    type: "text",
    default: "\n\nNow the problem itself.\nA:",
    about: "Asks for the answer to the problem, behind all sub-questions and their answers.",
  },
  select: SELECT,
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Least-to-most prompting. Stage 1 asks for simpler sub-questions q_1, ..., q_k. Stage 2 answers them in
 * order: q_i is asked behind the problem and q_1, a_1, ..., q_(i-1), a_(i-1), and last of all the problem
 * itself, whose answer is the candidate. So each prompt has the one before and its answer as prefix. Where no
 * sub-question is found, the problem is asked alone. Of `n` decompositions the highest score or the majority
 * wins, ties go to the lowest. A lost rollout ends its decomposition.
 */
export const leastToMost: Strategy<typeof PARAMETERS> = {
  name: "least-to-most",
  version: 1,
  about: "Has the problem split into simpler questions and answers them in order, each behind those before.",
  paper: "Zhou et al. 2023, Least-to-Most Prompting, arXiv 2205.10625",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({}),
  costFormula: "at most n * (max_questions + 2) rollouts, n verifications",
  cost: ({ n, max_questions }) => ({ rollouts: n * (max_questions + 2), verifications: n }),

  *search(prompt, { max_questions, n, decompose, question, final, select }) {
    const candidates: Candidate[] = [];
    const listing = yield* pathFrom(decompose, prompt);

    function* decomposition(index: number): Chain {
      const list = yield* turn(sample(listing));
      let path = prompt;
      for (const item of listItems(list.text, max_questions)) {
        path = path.extend(fillTemplate(question, { question: item }));
        const answer = yield* turn(sample(path));
        path = path.extend(answer.text, answer.ask);
      }
      const { text, ask } = yield* turn(sample(path.extend(final)));
      yield* propose(answerTo(prompt, { index, text, ask }), candidates);
    }

    const lost = yield* inStep(repeat(n, decomposition));
    return selectBy(select, candidates, lost);
  },
};
