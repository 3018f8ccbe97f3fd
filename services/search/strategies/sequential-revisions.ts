import { answerTo } from "../candidate.ts";
import { inStep, propose, repeat, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { sample } from "../operations.ts";
import type { Candidate, Rollout } from "../program.ts";
import { SELECT, selectBy, selectRevision } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";

const PARAMETERS = {
  chains: { type: "integer", default: 4, min: 1, max: 10_000, about: "n/m: chains beside each other." },
  revisions: {
    type: "integer",
    default: 4,
    min: 1,
    max: 1000,
    about: "m: answers of a chain, the first one included.",
  },
  context: {
    type: "integer",
    default: 4,
    min: 1,
    max: 1000,
    about: "Answers of its chain that a revision is given: the latest ones.",
  },
  revise: {
    type: "text",
    default: "\n\nThis answer may be wrong. A revised answer:\n",
    about: "Stands behind each answer that a revision is given.",
  },
  select: SELECT,
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Sequential revisions with a verifier: n/m chains beside each other, y_1 ~ g(x), y_t ~ g(x, y_(t-c), ...,
 * y_(t-1)) up to m, with c answers as context. All n are candidates. The verifier picks the best within each
 * chain and of those the best across chains, which is the highest score of all, ties to the lowest chain and
 * there to the earliest; or the answers of all vote. No revision is told its verdict. A lost rollout ends its
 * chain, which keeps what it has.
 */
export const sequentialRevisions: Strategy<typeof PARAMETERS> = {
  name: "sequential-revisions",
  version: 1,
  about: "Chains of revised answers beside each other; the best within a chain, then across chains.",
  paper: "Snell et al. 2024, Scaling LLM Test-Time Compute Optimally, arXiv 2408.03314, section 6",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: true,
  needs: () => ({}),
  costFormula: "chains * revisions rollouts and as many verifications",
  cost: ({ chains, revisions }) => ({ rollouts: chains * revisions, verifications: chains * revisions }),

  *search(prompt, { chains, revisions, context, revise, select }) {
    const candidates: Candidate[] = [];

    function* chain(number: number): Chain {
      const answers: Rollout[] = [];
      for (let t = 0; t < revisions; t++) {
        let path = prompt;
        for (const { text, ask } of answers.slice(-context)) path = path.extend(text, ask).extend(revise);
        const answer = yield* turn(sample(path));
        answers.push(answer);
        yield* propose(answerTo(prompt, { ...answer, index: number * revisions + t }), candidates);
      }
    }

    const lost = yield* inStep(repeat(chains, chain));
    if (select === "majority") return selectBy(select, candidates, lost);
    return selectRevision(candidates, { length: revisions, lost });
  },
};
