import { sampleAnswer } from "../candidate.ts";
import { inStep, repeat, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { REASON_CHARS, reasonOf } from "../failure.ts";
import { sample } from "../operations.ts";
import type { Candidate } from "../program.ts";
import { selectRevision } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { fillTemplate } from "../template.ts";

const PARAMETERS = {
  rounds: { type: "integer", default: 3, min: 0, max: 1000, about: "Fixes of a chain at most." },
  chains: { type: "integer", default: 1, min: 1, max: 10_000, about: "K: chains beside each other." },
  tests: {
    type: "text",
    default: "\n\nThis fails its tests:\n{reason}\n",
    about: "Tells the model of the failure, behind its answer. {reason}: what the verifier says.",
  },
  explain: {
    type: "text",
    default: "\nFirst explain in words what is wrong.\n\nExplanation:\n",
    about: "Asks for an explanation before the fix; empty: none is asked for.",
  },
  fix: {
    type: "text",
    default: "\n\nThe whole answer again, with the fix:\n",
    about: "Asks for the next answer, behind the failure and the explanation.",
  },
  reason_chars: REASON_CHARS,
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Self-debugging: y_0 ~ g(x); loop: run the tests on y_t; stop if they pass or t is the last; z_t ~ g(x, ...,
 * y_t, failure), an explanation of the failure (optional); y_(t+1) ~ g(x, ..., y_t, failure, z_t). The tests
 * are the sweep's outcome verifier, whose reason says what failed; one that knows hidden tests tells of them.
 * Each prompt has the one before and what the model said there as prefix. Every y_t is a candidate, the
 * highest score wins, ties go to the lowest chain and there to the earliest. A lost rollout ends its chain,
 * and so does a lost verdict: there is nothing to debug by; the chain keeps what it has.
 */
export const selfDebug: Strategy<typeof PARAMETERS> = {
  name: "self-debug",
  version: 1,
  about: "Tells the model what its answer fails at, has it explain and fix that, until it passes.",
  paper:
    "Chen et al. 2023, Teaching Large Language Models to Self-Debug, arXiv 2304.05128; Olausson et al. 2023, arXiv 2306.09896",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({}),
  costFormula:
    "at most chains * (1 + rounds) answers and as many verifications, and chains * rounds explanations",
  cost: ({ chains, rounds, explain }) => ({
    rollouts: chains * (1 + rounds * (explain === "" ? 1 : 2)),
    verifications: chains * (1 + rounds),
  }),

  *search(prompt, { rounds, chains, tests, explain, fix, reason_chars }) {
    const candidates: Candidate[] = [];
    const length = 1 + rounds;

    function* chain(number: number): Chain {
      let path = prompt;
      for (let t = 0; ; t++) {
        const answer = yield* turn(sampleAnswer(path, { prompt, index: number * length + t }));
        const { verdict } = answer.candidate;
        candidates.push(answer.candidate);
        if (verdict === null || verdict.verdict === "correct" || t === rounds) return;
        const reason = reasonOf(verdict, reason_chars);
        path = answer.path.extend(fillTemplate(tests, { reason }));
        if (explain !== "") {
          path = path.extend(explain);
          const explanation = yield* turn(sample(path));
          path = path.extend(explanation.text, explanation.ask);
        }
        path = path.extend(fix);
      }
    }

    const lost = yield* inStep(repeat(chains, chain));
    return selectRevision(candidates, { length, lost });
  },
};
