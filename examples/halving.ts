/**
 * A strategy of one's own: `strategy: ./halving.ts` in a sweep (examples/own-strategy.yaml). It samples `start` beginnings,
 * keeps the better half by the process verifier, goes on with those, and so on until one step is left.
 */
import { type Candidate, finish, gather, judge, type Prefix, type Program, sample } from "coppice/search";
import { scoreOf, selectHighest, type Strategy, topK } from "coppice/search";

interface Beginning {
  readonly index: number;
  readonly prefix: Prefix;
  readonly score: number | null;
}

export const strategy: Strategy = {
  name: "halving",
  version: 1,
  about: "Samples beginnings and keeps the better half of them, step by step.",
  paper: "Karnin et al. 2013, Almost Optimal Exploration in Multi-Armed Bandits (sequential halving)",
  parameters: {
    start: { type: "integer", default: 16, min: 2, max: 1024, about: "Beginnings that are sampled." },
    steps: { type: "integer", default: 2, min: 1, max: 100, about: "Steps after which half is kept." },
    step_stop: { type: "strings", default: ["\n"], about: "Strings that end a step." },
  },
  extendsRollouts: true,
  isIndependentSampling: false,
  isOrderAdaptive: false,
  costFormula: "start * (steps + 1) rollouts at most, and as many verifications",
  needs: () => ({ processVerifier: true }),
  cost: ({ start, steps }) => {
    const rollouts = Number(start) * (Number(steps) + 1);
    return { rollouts, verifications: rollouts };
  },

  *search(prompt, parameters) {
    const stop = parameters["step_stop"] as readonly string[]; // Of the type that `parameters` above declares.
    let kept: readonly Beginning[] = Array.from({ length: Number(parameters["start"]) }, (_, index) => {
      return { index, prefix: prompt, score: null };
    });
    for (let step = 0; step < Number(parameters["steps"]); step++) {
      const { values, lost } = yield* gather(kept.map((beginning) => goOn(beginning, stop)));
      const open = values.filter((value) => value !== undefined);
      if (open.length === 0 || lost?.reason === "budget") return selectHighest([], lost);
      kept = topK(open, Math.max(1, Math.floor(open.length / 2)));
    }
    const { values, lost } = yield* gather(kept.map(solve));
    return selectHighest(
      values.filter((value) => value !== undefined),
      lost,
    );
  },
};

function* goOn({ index, prefix }: Beginning, stop: readonly string[]): Program<Beginning> {
  const rollout = yield* sample(prefix, { stop });
  const longer = prefix.extend(rollout.text, rollout.ask);
  const verdict = yield* judge({ role: "process", prefix: longer, of: rollout.ask });
  return { index, prefix: longer, score: scoreOf(verdict) };
}

function* solve({ index, prefix }: Beginning): Program<Candidate> {
  const { text, ask } = yield* sample(prefix);
  return yield* finish({ index, prefix: prefix.extend(text, ask), ask });
}
