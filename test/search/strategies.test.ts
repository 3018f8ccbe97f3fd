import { STRATEGIES } from "../../services/search/catalogue.ts";
import { strategyConformance } from "../conformance/strategy.ts";
import type { StrategyCase } from "../conformance/strategy.ts";

const PARAMETERS: Readonly<Record<string, StrategyCase["parameters"]>> = {
  "best-of-n": [{ n: 1 }, { n: 12 }, { n: 12, by: "mean-logprob" }, { n: 12, by: "sum-logprob" }],
  "self-consistency": [
    { n: 12 },
    { n: 12, vote: "weighted" },
    { n: 12, vote: "weighted", weight_by: "outcome" },
  ],
  "universal-self-consistency": [{ n: 6 }, { n: 6, fallback: "majority" }, { n: 1 }],
  "speculative-rejection": [
    { n: 8, rungs: 3, reject: 0.6 },
    { n: 3, rungs: 1 },
  ],
  "noisy-channel": [
    { n: 6, lambda_1: 0.5 },
    { n: 6, lambda_2: 0 },
  ],
  knockout: [{ n: 7, votes: 2 }, { n: 1 }],
  mbr: [
    { n: 6 },
    { n: 6, utility: "edit" },
    { n: 6, utility: "execution", inputs_max: 2 },
    { n: 6, utility: "execution", inputs_as: "expressions", program: "prompt-and-answer" },
  ],
  codet: [{ n: 4, test_samples: 3, template: "{prompt}\nassert " }],
  "adaptive-consistency": [
    { n: 20, parallel: 3, confidence: 0.75 },
    { n: 20, parallel: 1, criterion: "majority", confidence: 0.5 },
    { n: 12, parallel: 20, criterion: "entropy", confidence: 0.5 },
  ],
  "early-stopping-consistency": [
    { n: 20, window: 3 },
    { n: 3, window: 5 },
  ],
  "doubling-consistency": [
    { n: 24, agreement: 0.5 },
    { n: 5, first: 3 },
  ],
  "first-correct": [
    { n: 12, parallel: 3 },
    { n: 5, parallel: 12 },
  ],
  "beam-search": [
    { width: 8, expand: 3, max_steps: 4, step_stop: ["\n"] },
    { width: 2, expand: 4, max_steps: 1, step_stop: ["\n"] },
    { width: 6, expand: 2, max_steps: 3, step_stop: ["\n"], lookahead: 2 },
    { width: 6, expand: 2, max_steps: 3, step_stop: ["\n"], filter_duplicates: "off", aggregate: "prod" },
  ],
  dvts: [
    { width: 8, expand: 3, max_steps: 4, step_stop: ["\n"] },
    { width: 2, expand: 4, max_steps: 3, step_stop: ["\n"], aggregate: "min", select: "weighted-vote" },
  ],
  rebase: [
    { width: 8, max_steps: 4, step_stop: ["\n"], path_tokens: 6 },
    { width: 7, max_steps: 3, step_stop: ["\n"], rounding: "paper", aggregate: "mean" },
    { width: 5, max_steps: 3, step_stop: ["\n"], balance: 0.001, select: "highest-score" },
  ],
  ets: [
    { width: 8, max_steps: 4, step_stop: ["\n"] },
    { width: 8, max_steps: 4, step_stop: ["\n"], sharing: 5, rounding: "paper" },
  ],
  "particle-filtering": [
    { particles: 6, max_steps: 4, step_stop: ["\n"] },
    { particles: 5, max_steps: 3, step_stop: ["\n"], resample: "systematic", select: "drawn" },
    { particles: 5, max_steps: 3, step_stop: ["\n"], aggregate: "prod", select: "highest-weight" },
  ],
  "tot-bfs": [
    { max_steps: 3, generate: "sample", branch: 3, keep: 2, evaluate: "process" },
    { max_steps: 3, generate: "sample", branch: 3, keep: 3, evaluate: "process", select: "sample" },
    {
      max_steps: 2,
      keep: 3,
      evaluations: 2,
      value_words: ["e=3", "d=1"],
      answer_mark: "",
      answer: "highest-value",
    },
    { max_steps: 2, generate: "sample", branch: 2, keep: 2, evaluate: "vote", vote_mark: "", evaluations: 2 },
  ],
  "tot-dfs": [
    { max_steps: 3, generate: "sample", branch: 3, evaluate: "process", visits: 10, threshold: 0.3 },
    {
      max_steps: 2,
      value_words: ["e=3", "d=1"],
      answer_mark: "",
      stop_when: "never",
      visits: 5,
      threshold: 5,
    },
  ],
  "best-first": [
    { max_steps: 3, generate: "sample", branch: 3, evaluate: "process", expansions: 10, parallel: 3 },
    { max_steps: 2, value_words: ["e=3", "d=1"], answer_mark: "", depth_weight: 1, stop_when: "never" },
  ],
  mcts: [
    { simulations: 30, parallel: 6, expand: 3, max_steps: 3, step_stop: ["\n"] },
    { simulations: 25, parallel: 2, expand: 4, max_steps: 2, step_stop: ["\n"], stop_when: "never" },
    { simulations: 25, parallel: 4, max_steps: 3, step_stop: ["\n"], select: "uct", answer: "most-visited" },
    {
      simulations: 25,
      parallel: 4,
      max_steps: 2,
      step_stop: ["\n"],
      select: "puct",
      answer: "vote",
      backup: "max",
    },
  ],
  "prompt-chain": [
    { n: 3 },
    {
      n: 2,
      select: "majority",
      nodes: { a: "{prompt}1", b: "{prompt}1", c: "{a}?", d: "{b}?", end: "{prompt}{c}{d}{a}" },
    },
  ],
  "least-to-most": [{ max_questions: 3 }, { n: 4, max_questions: 2, select: "majority" }],
  "plan-then-solve": [
    { plans: 4, solutions: 3 },
    { plans: 6, solutions: 1, select: "majority" },
  ],
  react: [
    { n: 4, max_turns: 3, action: "a", final: "b" },
    { n: 3, max_turns: 4, action: "a", final: "e", select: "majority", tools: ["python", "a"] },
    { max_turns: 1 },
  ],
  "mixture-of-agents": [
    { layers: 2, width: 3 },
    { layers: 1, width: 4, select: "fused" },
  ],
  "self-refine": [{ ok: "a" }, { chains: 4, attempts: 3, ok: "b" }],
  "self-debug": [{ rounds: 4 }, { chains: 4, rounds: 2, explain: "" }],
  reflexion: [{ trials: 4 }, { chains: 3, trials: 3, memory: 1, signal: "own-tests" }],
  "sequential-revisions": [
    { chains: 3, revisions: 4, context: 2 },
    { chains: 4, revisions: 2, select: "majority" },
  ],
};

for (const [name, strategy] of STRATEGIES)
  strategyConformance({ strategy, parameters: PARAMETERS[name] ?? [{}] });
