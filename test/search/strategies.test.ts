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
  ],
  mcts: [
    { simulations: 30, parallel: 6, expand: 3, max_steps: 3, step_stop: ["\n"] },
    { simulations: 25, parallel: 2, expand: 4, max_steps: 2, step_stop: ["\n"], stop_when: "never" },
  ],
  "prompt-chain": [
    { n: 3 },
    {
      n: 2,
      select: "majority",
      nodes: { a: "{prompt}1", b: "{prompt}1", c: "{a}?", d: "{b}?", end: "{prompt}{c}{d}{a}" },
    },
  ],
};

for (const [name, strategy] of STRATEGIES)
  strategyConformance({ strategy, parameters: PARAMETERS[name] ?? [{}] });
