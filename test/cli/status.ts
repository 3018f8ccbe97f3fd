/** Statuses and summaries as a coordinator tells them, for tests of what is shown. */
import type {
  Estimates,
  StrategySummary,
  Summary,
  SweepStatus,
  Usage,
} from "../../services/coordinator/status.ts";
import { NO_CEILINGS, NOTHING_CHARGED, NOTHING_SPENT } from "../support/budget.ts";

export const USAGE: Usage = {
  prompt_tokens: 1_000,
  cached_tokens: 750,
  computed_tokens: 250,
  completion_tokens: 2_000,
  verifier_tokens: 0,
  pruned_tokens: 0,
  cancelled_tokens: 0,
  retried_tokens: 0,
  gpu_seconds: 12.5,
  flops: null,
};

export function statusWith(changes: Partial<SweepStatus> = {}): SweepStatus {
  return {
    id: "demo",
    name: "demo",
    state: "running",
    tasks: { total: 144, queued: 100, running: 32, completed: 10, exhausted: 1, failed: 0, cancelled: 1 },
    solved: 7,
    rollouts: 1_234,
    failures_by_reason: {},
    verifications: 1_000,
    usage: USAGE,
    budget: {
      given: NO_CEILINGS,
      spent: { ...NOTHING_SPENT, rollouts: 1_234, completion_tokens: 2_000, wall_ms: 60_000 },
    },
    in_flight: 32,
    failures: 0,
    hosts: [],
    elapsed_ms: 60_000,
    output: "/here/runs/demo",
    ...changes,
  };
}

export const NO_ESTIMATES: Estimates = {
  pass_at_k: {},
  pass_hat_k: {},
  best_of_at_k: {},
  majority_at_k: {},
  weighted_at_k: {},
};

export function strategyWith(changes: Partial<StrategySummary> = {}): StrategySummary {
  return {
    problems: 48,
    solved: 40,
    accuracy: 40 / 48,
    pass_at_k: { "1": 0.28261 },
    estimates: NO_ESTIMATES,
    rollouts: 768,
    mean_rollouts: 16,
    budget: { given: NO_CEILINGS, spent: { ...NOTHING_CHARGED, rollouts: 768 } },
    usage: USAGE,
    tokens_per_solved: 50,
    tasks: { completed: 48, exhausted: 0, failed: 0, cancelled: 0 },
    ...changes,
  };
}

export function summaryWith(changes: Partial<Summary> = {}): Summary {
  return {
    name: "demo",
    version: "0.1.0",
    state: "completed",
    tasks: { total: 144, completed: 144, exhausted: 0, failed: 0, cancelled: 0 },
    strategies: { "best-of-n": strategyWith(), beam: strategyWith({ pass_at_k: {} }), mcts: strategyWith() },
    rollouts: 768,
    failures_by_reason: {},
    hedged: 0,
    undecided: 0,
    usage: USAGE,
    budget: {
      given: NO_CEILINGS,
      spent: { ...NOTHING_SPENT, rollouts: 768, completion_tokens: 2_000, wall_ms: 1 },
    },
    prefix: { prompt_tokens: 0, computed_tokens: 0, unique_tokens: 0, ratio: null },
    wall_ms: 1,
    ...changes,
  };
}
