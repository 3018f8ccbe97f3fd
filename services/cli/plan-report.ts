/** A plan as a person reads it, and as a program does: what was found, and what was assumed to find it. */
import type { Sweep } from "../coordinator/sweep.ts";
import type { Limit } from "../planner/plan-limit.ts";
import { type Estimate, type Plan, gpusOf } from "../planner/plan.ts";
import type { Assumptions, SweepShapes } from "../planner/sweep-shapes.ts";
import { formatDuration } from "../runtime/duration.ts";
import type { EngineProfile } from "../../workers/rollout/drivers/simulated/engine-profile.ts";
import { formatCount } from "./count-text.ts";
import { alignColumns } from "./summary-table.ts";

export interface PlanFacts {
  readonly sweep: Sweep;
  readonly profile: EngineProfile;
  readonly assumptions: Assumptions;
  readonly shapes: SweepShapes;
  readonly prompts: { readonly rootTokens: number; readonly ownTokens: number };
}

const LIMITS: Readonly<Record<Limit, string>> = {
  decode: "decoding: hosts decode batches that are nearly full",
  prefill: "prefill: hosts spend most of their time on prompts",
  kv: "KV memory: it, not the number of sequences, limits how much decodes at once",
  chain: "the longest chain: steps of one task wait for each other, so that more hosts would hardly help",
  tasks:
    "too few tasks: hosts run out of work that may be done at once, so that more of them would hardly help",
};

/** Lines without their ends. */
export function planLines(plan: Plan, facts: PlanFacts): readonly string[] {
  const { sweep, profile } = facts;
  const hosts = `${formatCount(plan.hosts)} ${plan.hosts === 1 ? "host" : "hosts"}`;
  return [
    `${sweep.name} on ${hosts} like ${profile.name} (${profile.model} on ${profile.gpus}): a model, nothing was run`,
    "",
    ...alignColumns(factRows(plan, facts)).map((line) => line.trimEnd()),
    "",
    ...alignColumns(hostRows(plan)),
    "",
    "This assumes:",
    ...assumptionLines(plan, facts).map((line) => `- ${line}`),
    ...budgetLines(plan, sweep),
  ];
}

function factRows(plan: Plan, { sweep, profile }: PlanFacts): readonly (readonly string[])[] {
  const { runningMean, kvUsageMean } = plan.bottlenecks;
  const toBound = plan.durationMs / plan.leastMs;
  const facts: readonly (readonly [string, string])[] = [
    ["duration", `${formatDuration(plan.durationMs)}, ${toBound.toFixed(2)} of the least that it could be`],
    ["GPU-hours", formatHours(plan.gpuHours)],
    [
      "tasks",
      `${formatCount(plan.tasks)} (${formatCount(plan.problems)} problems x ${sweep.arms.length}), ${formatCount(Math.round(plan.tasksPerHour))} an hour`,
    ],
    [
      "a task takes",
      `${formatDuration(plan.taskMs.p50)} (p99 ${formatDuration(plan.taskMs.p99)}) from its first request on`,
    ],
    ["completion tokens", formatCount(Math.round(plan.completionTokens))],
    [
      "prefill tokens",
      `${formatCount(Math.round(plan.prefillTokens))}, ${(plan.prefillTokens / plan.prefillBound).toFixed(2)} of the least; ${formatCount(Math.round(plan.uniqueTokens))} are unique`,
    ],
    ["limited by", LIMITS[plan.limit]],
    [
      "a host runs",
      `${runningMean.toFixed(0)} of ${profile.sequencesMax} sequences and uses ${(kvUsageMean * 100).toFixed(0)}% of its KV memory, on average`,
    ],
    [
      "open trees a host",
      `${plan.treesMean.toFixed(1)} on average, ${plan.treesMax.toFixed(1)} at most; its KV memory holds ${formatCount(plan.treesByKv)} at their widest`,
    ],
  ];
  // A column of numbers is set to the right; these are sentences.
  const width = Math.max(...facts.map(([, text]) => text.length));
  return facts.map(([name, text]) => [name, text.padEnd(width)]);
}

function hostRows(plan: Plan): readonly (readonly string[])[] {
  const rows = [plan, ...plan.others].toSorted((a, b) => a.hosts - b.hosts);
  return [["hosts", "duration", "GPU-hours"], ...rows.map(estimateRow)];
}

function estimateRow({ hosts, durationMs, gpuHours }: Estimate): readonly string[] {
  return [formatCount(hosts), formatDuration(durationMs), formatHours(gpuHours)];
}

function assumptionLines(
  plan: Plan,
  { profile, assumptions, shapes, prompts }: PlanFacts,
): readonly string[] {
  const { verificationMs, passRate, tokensPerRollout } = assumptions;
  const how =
    tokensPerRollout === null
      ? "half of max_tokens, --tokens-per-rollout says better"
      : "--tokens-per-rollout";
  const arms = shapes.arms.map(({ arm, answerTokens, stepTokens, steps }) => {
    const inSteps = stepTokens === null ? "" : ` in ${steps} steps of ${formatCount(Math.round(stepTokens))}`;
    return `${arm}: ${formatCount(Math.round(answerTokens))} tokens an answer${inSteps} on average (${how})`;
  });
  const shared = `${formatCount(prompts.rootTokens)} tokens that all prompts begin with, ${formatCount(Math.round(prompts.ownTokens))} of their own`;
  const whole = plan.simulatedHosts === plan.hosts && plan.simulatedProblems === plan.problems;
  const scaled = `${formatCount(plan.simulatedProblems)} of ${formatCount(plan.problems)} problems on ${formatCount(plan.simulatedHosts)} of ${formatCount(plan.hosts)} hosts were simulated, and scaled up (--problems)`;
  return [
    ...arms,
    `prompts by their characters, four to a token: ${shared}`,
    `a verification that no host does takes ${formatDuration(verificationMs)} (--verification), and there are workers enough for them`,
    `${(passRate * 100).toFixed(0)}% of the answers are correct (--pass-rate): searches that stop at a correct one are${passRate === 0 ? " counted whole" : " shorter by that"}`,
    `${formatCount(profile.kvCapacityTokens)} tokens of KV memory a host (--kv-tokens), ${gpusOf(profile)} GPU${gpusOf(profile) === 1 ? "" : "s"} each; models of verifiers run on the same hosts`,
    "hosts that share prompts which come at once, as vLLM's do, a network that takes no time, and no failures",
    ...(whole ? [] : [scaled]),
  ];
}

function budgetLines({ durationMs, completionTokens }: Plan, { budget }: Sweep): readonly string[] {
  const lines: string[] = [];
  if (budget.wallMs !== null && durationMs > budget.wallMs)
    lines.push(`the budget allows ${formatDuration(budget.wallMs)}: the sweep would end before it is done`);
  if (budget.completionTokens !== null && completionTokens > budget.completionTokens)
    lines.push(
      `the budget allows ${formatCount(budget.completionTokens)} completion tokens: some tasks would end exhausted`,
    );
  return lines.length === 0 ? [] : ["", ...lines];
}

function formatHours(hours: number): string {
  return hours < 10 ? hours.toFixed(2) : formatCount(Math.round(hours));
}

/** One object, in the words of the run directory's files. */
export function planJson(plan: Plan, { sweep, profile, assumptions, shapes, prompts }: PlanFacts): unknown {
  const estimate = ({ hosts, durationMs, leastMs, gpuHours, ...simulated }: Estimate): object => ({
    hosts,
    duration_ms: Math.round(durationMs),
    least_duration_ms: Math.round(leastMs),
    gpu_hours: gpuHours,
    simulated_hosts: simulated.simulatedHosts,
    simulated_problems: simulated.simulatedProblems,
  });
  const { runningMean, kvUsageMean, bounds } = plan.bottlenecks;
  return {
    sweep: sweep.name,
    host_profile: profile.name,
    kv_tokens: profile.kvCapacityTokens,
    ...estimate(plan),
    problems: plan.problems,
    tasks: plan.tasks,
    tasks_per_hour: plan.tasksPerHour,
    prefill_tokens: Math.round(plan.prefillTokens),
    prefill_tokens_bound: Math.round(plan.prefillBound),
    unique_tokens: Math.round(plan.uniqueTokens),
    completion_tokens: Math.round(plan.completionTokens),
    task_ms: plan.taskMs,
    limited_by: plan.limit,
    sequences_mean: runningMean,
    sequences_max: profile.sequencesMax,
    kv_usage_mean: kvUsageMean,
    open_trees: { by_kv: plan.treesByKv, mean: plan.treesMean, max: plan.treesMax },
    longest_chain_ms: bounds.chainMs,
    other_hosts: plan.others.map(estimate),
    assumes: {
      arms: shapes.arms.map(({ arm, answerTokens, stepTokens, steps }) => ({
        arm,
        answer_tokens: answerTokens,
        step_tokens: stepTokens,
        steps,
      })),
      root_tokens: prompts.rootTokens,
      own_prompt_tokens: prompts.ownTokens,
      verification_ms: assumptions.verificationMs,
      pass_rate: assumptions.passRate,
    },
  };
}
