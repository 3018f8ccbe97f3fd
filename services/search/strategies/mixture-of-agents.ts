import { answerTo } from "../candidate.ts";
import { inStep, propose, turn } from "../chain.ts";
import type { Chain } from "../chain.ts";
import { gather, sample } from "../operations.ts";
import type { Gathered } from "../operations.ts";
import { LostError } from "../program.ts";
import type { Candidate, Prefix, Program, Rollout } from "../program.ts";
import { outcomeOf, selectHighest } from "../selection.ts";
import type { Parameter, Strategy } from "../strategy.ts";
import { pathFrom } from "../template.ts";

const PARAMETERS = {
  layers: { type: "integer", default: 2, min: 1, max: 100, about: "Layers of proposals, before the fusing." },
  width: { type: "integer", default: 6, min: 1, max: 10_000, about: "k: proposals of a layer." },
  fuse: {
    type: "text",
    default:
      "{prompt}\n\nSeveral answers to this were proposed:\n\n{answers}\n\nSome of them may be wrong. Weigh them and write " +
      "one answer that is better than each.\n\nAnswer:\n",
    about:
      "Asks for an answer given those of the layer before. {prompt}: the problem's prompt; {answers}: those, numbered.",
  },
  select: {
    type: "choice",
    default: "verifier",
    choices: ["verifier", "fused"],
    about: "verifier: the highest score of all proposals and the fused answer; fused: the fused answer.",
  },
} as const satisfies Readonly<Record<string, Parameter>>;

/**
 * Mixture of agents: y_(1,j) ~ g(x); y_(l,j) ~ g(x, y_(l-1,1), ..., y_(l-1,k)) for j = 1..k; at last one
 * answer fuses those of the last layer. The agents are samples of the sweep's model. All answers are
 * candidates: the highest score wins, ties go to the lowest layer and there to the lowest j; with `select:
 * fused` the fused answer is returned whatever its score. A lost proposal is left out of the next layer; the
 * layer that is lost whole ends the mixture, with the best so far.
 */
export const mixtureOfAgents: Strategy<typeof PARAMETERS> = {
  name: "mixture-of-agents",
  version: 1,
  about:
    "Layers of proposals, each layer given the answers of the one before, and a last answer that fuses them.",
  paper: "Wang et al. 2024, Mixture-of-Agents, arXiv 2406.04692",
  parameters: PARAMETERS,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  extendsRollouts: false,
  needs: () => ({}),
  costFormula: "layers * width + 1 rollouts and as many verifications",
  cost: ({ layers, width }) => ({ rollouts: layers * width + 1, verifications: layers * width + 1 }),

  *search(prompt, { layers, width, fuse, select }) {
    const candidates: Candidate[] = [];

    function* mixture(): Chain {
      let answers: readonly string[] = [];
      for (let layer = 0; layer <= layers; layer++) {
        const size = layer === layers ? 1 : width;
        const { values, lost } = yield* turn(propositions(prompt, { fuse, answers, size }));
        for (const [j, rollout] of values.entries()) {
          if (rollout === undefined) continue;
          yield* propose(answerTo(prompt, { ...rollout, index: layer * width + j }), candidates);
        }
        answers = values.flatMap((rollout) => rollout?.text.trim() ?? []);
        if (lost !== null && (lost.reason === "budget" || answers.length === 0)) throw new LostError(lost);
      }
    }

    const lost = yield* inStep([mixture()]);
    const fused = candidates.find(({ index }) => index === layers * width);
    if (select === "fused" && fused !== undefined) return outcomeOf(fused, "last");
    return selectHighest(candidates, lost);
  },
};

/** The answers of one layer, given those of the layer before; the first layer has none. */
function* propositions(
  prompt: Prefix,
  layer: { readonly fuse: string; readonly answers: readonly string[]; readonly size: number },
): Program<Gathered<Rollout>> {
  const answers = layer.answers.map((answer, i) => `${i + 1}. ${answer}`).join("\n\n");
  const from = answers === "" ? prompt : yield* pathFrom(layer.fuse, prompt, { answers });
  return yield* gather(Array.from({ length: layer.size }, () => sample(from)));
}
