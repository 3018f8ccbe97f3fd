import { answerTo } from "../candidate.ts";
import { inStep, propose, repeat, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { all, sample } from "../operations.ts";
import type { Candidate } from "../program.ts";
import { SELECT, selectBy } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { fillTemplate, pathFrom } from "../template.ts";

const PARAMETERS = {
  plans: { type: "integer", default: 8, min: 1, max: 10_000, about: "Plans sampled." },
  solutions: { type: "integer", default: 1, min: 1, max: 10_000, about: "Solutions sampled per plan." },
  plan: {
    type: "text",
    default: "{prompt}\n\nBefore solving it, describe in words one way to go about it.\n\nPlan:\n",
    about: "Asks for a plan. {prompt}: the problem's prompt.",
  },
  solve: {
    type: "text",
    default: "\n\nNow follow the plan.\n\nSolution:\n",
    about: "Asks for the solution, behind the plan and what asked for it. {plan}: the plan.",
  },
  select: SELECT,
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Search over plans: samples plans p_1, ..., p_k of the problem, then solutions of each, s_ij ~ g(problem,
 * p_i). Solutions of one plan resemble each other, plans differ: that is where the breadth is. The solution
 * with the highest score or the majority wins, ties go to the lowest plan, then the lowest solution of it. A
 * lost plan takes its solutions with it, a lost solution is left out.
 */
export const planThenSolve: Strategy<typeof PARAMETERS> = {
  name: "plan-then-solve",
  version: 1,
  about: "Samples plans in words and then solutions of each plan, and keeps the best solution.",
  paper: "Wang et al. 2024, Planning in Natural Language Improves Search (PlanSearch), arXiv 2409.03733",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({}),
  costFormula: "plans * (1 + solutions) rollouts, plans * solutions verifications",
  cost: ({ plans, solutions }) => ({
    rollouts: plans * (1 + solutions),
    verifications: plans * solutions,
  }),

  *search(prompt, { plans, solutions, plan, solve, select }) {
    const candidates: Candidate[] = [];
    const planning = yield* pathFrom(plan, prompt);

    function* solutionsOfPlan(index: number): Chain {
      const { text, ask } = yield* turn(sample(planning));
      const solving = planning.extend(text, ask).extend(fillTemplate(solve, { plan: text.trim() }));
      const samples = Array.from({ length: solutions }, () => sample(solving));
      for (const [i, solution] of (yield* turn(all(samples, { minimum: 1 }))).entries()) {
        if (solution === undefined) continue;
        yield* propose(answerTo(prompt, { ...solution, index: index * solutions + i }), candidates);
      }
    }

    const lost = yield* inStep(repeat(plans, solutionsOfPlan));
    return selectBy(select, candidates, lost);
  },
};
