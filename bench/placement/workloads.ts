/**
 * The workloads of the placement benchmark: real strategies over synthetic problems, on hosts like an H100
 * with an 8B model. Some have ample KV memory, some so little that the order decides what stays cached.
 */
import { around } from "../../services/planner/lengths.ts";
import type { Answerer, TaskShape } from "../../services/planner/synthetic-task.ts";
import { beamSearch } from "../../services/search/strategies/beam-search.ts";
import { bestOfN } from "../../services/search/strategies/best-of-n.ts";
import { mcts } from "../../services/search/strategies/mcts.ts";
import { selfConsistency } from "../../services/search/strategies/self-consistency.ts";
import { type Strategy, withDefaults } from "../../services/search/strategy.ts";
import { ENGINE_PROFILES } from "../../workers/rollout/drivers/simulated/engine-profile.ts";

export interface Workload {
  readonly name: string;
  readonly about: string;
  /** The problem's place in the sweep -> what its task is like: problems of different kinds take turns. */
  readonly shapes: readonly TaskShape[];
  readonly kvCapacityTokens: number;
  /**
   * What limits it: decoding with ample KV memory, prefilling, or KV memory too small for what a client opens
   * at once.
   */
  readonly limit: "decode" | "prefill" | "kv";
  /**
   * Whether KV memory holds what fills a host: as many searches as have all its sequences together, each with its prompt, the
   * paths that it keeps and a round of steps. Where it does not, hosts are full only at the price of computing again.
   */
  readonly holdsWorkingSet: boolean;
  /** Problems to a host, as a multiple of the usual: more where a problem has few asks at once. */
  readonly problemsFactor: number;
}

const ROOT_TOKENS = 1_024;
const AMPLE_KV_TOKENS = 400_000;
const TIGHT_KV_TOKENS = 60_000;
/** Whether everything is asked at once, so that both clients send the same requests in the same order. */
export function isAskedAtOnce({ shapes }: Workload): boolean {
  return shapes.every(({ strategy, outcome }) => !strategy.extendsRollouts && outcome.at === "elsewhere");
}

/** What a verifier off the hosts takes, and a step sampled by others. */
const ELSEWHERE: Answerer = { at: "elsewhere", ms: 20 };
const SAMPLED_ELSEWHERE: Answerer = { at: "elsewhere", ms: 1_000 };
const SAMPLED: Answerer = { at: "hosts", completionTokens: 0 };
/** A reward model reads, and generates nothing. */
const READ: Answerer = { at: "hosts", completionTokens: 0 };

interface ShapeOptions extends Partial<Omit<TaskShape, "kind" | "strategy" | "parameters">> {
  readonly parameters: Readonly<Record<string, unknown>>;
}

function shape(kind: string, strategy: Strategy, { parameters, ...rest }: ShapeOptions): TaskShape {
  return {
    kind,
    strategy,
    // What is left out is as the strategy declares it.
    parameters: withDefaults(strategy.parameters, parameters as never),
    rootTokens: ROOT_TOKENS,
    problem: around(512),
    answer: around(512),
    step: around(128),
    depth: around(10, { spread: 0.2 }),
    sampling: SAMPLED,
    outcome: ELSEWHERE,
    process: ELSEWHERE,
    passRate: 0.3,
    hasFullTexts: false,
    ...rest,
  };
}

// A Strategy's parameters are checked where it is declared; a table of strategies holds any of them.
const any = (strategy: unknown): Strategy => strategy as Strategy;

const bestOf64 = shape("best-of-64", any(bestOfN), { parameters: { n: 64 } });
const longPrompts = shape("best-of-16 long", any(bestOfN), {
  parameters: { n: 16 },
  rootTokens: 512,
  problem: around(8_192, { spread: 0.3 }),
  answer: around(256),
});
const BEAM = { width: 16, expand: 4, max_steps: 20 };
const beam = shape("beam", any(beamSearch), { parameters: BEAM });
const tree = shape("mcts", any(mcts), {
  parameters: { simulations: 64, parallel: 8, max_steps: 20, stop_when: "never" },
});
const votes = shape("self-consistency", any(selfConsistency), {
  parameters: { n: 32 },
  answer: around(300),
});

/** Of beam searches that decode on the hosts. */
function holdsBeams({ problem, step, depth }: TaskShape, kvCapacityTokens: number): boolean {
  const { width, expand } = BEAM;
  const ofSearch = problem.mean + (width / expand) * depth.mean * step.mean + width * step.mean;
  return (
    ROOT_TOKENS + Math.ceil(ENGINE_PROFILES["8b-h100"].sequencesMax / width) * ofSearch <= kvCapacityTokens
  );
}

const longestBeam = { ...beam, problem: around(16_384, { spread: 0.3 }) };
const longBeam = { ...beam, problem: around(4_096, { spread: 0.3 }) };
const LONG_KV_TOKENS = 150_000;

export const WORKLOADS: readonly Workload[] = [
  {
    name: "best-of-64",
    about: "problem 512, answer 512, KV 400k",
    shapes: [bestOf64],
    kvCapacityTokens: AMPLE_KV_TOKENS,
    limit: "decode",
    holdsWorkingSet: true,
    problemsFactor: 1,
  },
  {
    name: "long prompts",
    about: "best-of-16, problem 8,192, answer 256, KV 400k",
    shapes: [longPrompts],
    kvCapacityTokens: AMPLE_KV_TOKENS,
    limit: "prefill",
    holdsWorkingSet: true,
    problemsFactor: 1,
  },
  {
    name: "beam, ample KV",
    about: "16/4, about 10 steps of 128, problem 512, KV 400k",
    shapes: [beam],
    kvCapacityTokens: AMPLE_KV_TOKENS,
    limit: "decode",
    holdsWorkingSet: holdsBeams(beam, AMPLE_KV_TOKENS),
    problemsFactor: 1,
  },
  {
    name: "beam, tight KV",
    about: "the same, KV 60k",
    shapes: [beam],
    kvCapacityTokens: TIGHT_KV_TOKENS,
    limit: "kv",
    holdsWorkingSet: holdsBeams(beam, TIGHT_KV_TOKENS),
    problemsFactor: 1,
  },
  {
    name: "beam, long, tight KV",
    about: "the same, problem 4,096, KV 150k",
    shapes: [longBeam],
    kvCapacityTokens: LONG_KV_TOKENS,
    limit: "kv",
    holdsWorkingSet: holdsBeams(longBeam, LONG_KV_TOKENS),
    problemsFactor: 1,
  },
  {
    name: "beam, 16k prompts",
    about: "the same, problem 16,384, KV 400k",
    shapes: [longestBeam],
    kvCapacityTokens: AMPLE_KV_TOKENS,
    limit: "kv",
    holdsWorkingSet: holdsBeams(longestBeam, AMPLE_KV_TOKENS),
    problemsFactor: 1,
  },
  {
    name: "MCTS",
    about: "64 simulations, 8 at once, about 10 steps of 128, KV 400k",
    shapes: [tree],
    kvCapacityTokens: AMPLE_KV_TOKENS,
    limit: "decode",
    holdsWorkingSet: true,
    problemsFactor: 1.5,
  },
  {
    name: "process reward, tight KV",
    about: "beam 16/4 sampled elsewhere, hosts only score, KV 60k",
    shapes: [{ ...beam, sampling: SAMPLED_ELSEWHERE, process: READ }],
    kvCapacityTokens: TIGHT_KV_TOKENS,
    limit: "kv",
    holdsWorkingSet: true,
    problemsFactor: 1,
  },
  {
    name: "reward model",
    about: "beam 16/4 and best-of-64, judged on the same hosts, KV 400k",
    shapes: [
      { ...beam, kind: "beam judged", process: READ, outcome: READ },
      { ...bestOf64, kind: "best-of-64 judged", outcome: READ },
    ],
    kvCapacityTokens: AMPLE_KV_TOKENS,
    limit: "decode",
    holdsWorkingSet: true,
    problemsFactor: 1,
  },
  {
    name: "mixed",
    about: "best-of-64, beam, MCTS, votes of 32, KV 200k",
    shapes: [bestOf64, beam, tree, votes],
    kvCapacityTokens: 200_000,
    limit: "decode",
    holdsWorkingSet: true,
    problemsFactor: 1.5,
  },
];
